"""What a GPU does: correctness of NF4 and LoRA, speed by batch, memory against its estimate, a training, invariance.

usage: bash benchmarks/gpu.sh [--device cuda|cpu] [--tiny] [--budget 460] [--only STAGE] [--output FOLDER]

Each stage is a process of its own with a limit of time. One that fails or is cut off is told, with what it had by then,
and the others go on; the results are written after each. Models have random weights, and nothing is downloaded.

`--device cpu --tiny` runs every stage on tiny shapes, which shows that the script works and nothing else: it writes to
`--output` alone.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from measuring import RESULTS, machine

STAGE = Path(__file__).parent / "contestants/gpu_stage.py"
LIMITS = {
    "models": 60, "correctness": 50, "memory": 40, "experts": 140, "training": 70, "hold": 110, "invariance": 80,
}  # fmt: skip
"""Seconds, in the order in which stages run. All together is more than the budget: most end sooner."""
LEAST_S = 10


def main() -> None:
    """Run the stages, writing `gpu.json` and `gpu.md` after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--tiny", action="store_true", help="tiny shapes, to see that the script works")
    parser.add_argument("--budget", type=float, default=460, help="seconds for all stages")
    parser.add_argument("--only", choices=LIMITS, help="this stage alone, after `models`")
    parser.add_argument("--output", type=Path, help="folder of the results; benchmarks/results by default")
    chosen = parser.parse_args()
    if chosen.output is None and (chosen.tiny or chosen.device == "cpu"):
        parser.error("tiny shapes and CPUs are no result: give --output")
    output: Path = chosen.output or RESULTS
    result: dict[str, Any] = {"machine": machine(), "gpu": _gpu(), "device": chosen.device, "stages": {}}
    ends = time.monotonic() + chosen.budget
    with tempfile.TemporaryDirectory() as folder:
        for stage in [name for name in LIMITS if chosen.only in (None, name) or name == "models"]:
            limit = min(LIMITS[stage], ends - time.monotonic())
            words = (stage, folder, chosen.device, "tiny" if chosen.tiny else "large")
            result["stages"][stage] = _run(words, limit) if limit > LEAST_S else {"failed": "no time was left"}
            print(stage, json.dumps(result["stages"][stage]), flush=True)
            _write(result, output)
    if any("failed" in found for found in result["stages"].values()):
        sys.exit("some stages failed; the others are written")


def _run(words: tuple[str, ...], limit: float) -> dict[str, Any]:
    """What a stage found, or why it failed beside what it had told by then."""
    started = time.monotonic()
    command = [sys.executable, str(STAGE), *words]
    with tempfile.TemporaryFile("w+") as told, tempfile.TemporaryFile("w+") as complaints:
        try:
            code = subprocess.run(command, stdout=told, stderr=complaints, timeout=limit, check=False).returncode
            why = f"exit code {code}"
        except subprocess.TimeoutExpired:
            code, why = 1, f"cut off after {limit:.0f} s"
        told.seek(0)
        complaints.seek(0)
        lines = [line for line in told.read().splitlines() if line.startswith("{")]
        found: dict[str, Any] = json.loads(lines[-1]) if lines else {}
        if code:
            last = complaints.read().strip().splitlines()[-1:]
            found["failed"] = ": ".join([why, *last])
    return {**found, "stage_s": round(time.monotonic() - started, 1)}


def _gpu() -> str | None:
    import torch

    if not torch.cuda.is_available():
        return None
    about = torch.cuda.get_device_properties(0)
    return f"{about.name}, {about.total_memory / 2**30:.0f} GiB, CUDA {torch.version.cuda}, PyTorch {torch.__version__}"


def _write(result: Mapping[str, Any], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "gpu.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    about = result["machine"]
    where = result["gpu"] or f"no GPU: {about['cpu']['model']}, {about['cores']} cores"
    lines = [f"# gpu\n\n{where}, {about['date']}", *_sections(result["stages"])]
    (folder / "gpu.md").write_text("\n\n".join(lines) + "\n", encoding="utf-8")


def _sections(stages: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for stage, found in stages.items():
        rows = [f"| {name} | {_cell(value)} |" for name, value in found.items()]
        yield "\n".join([f"## {stage}\n", "| | |", "|---|---|", *rows])


def _cell(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_cell(one)}" for name, one in value.items())
    return f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
