"""What a session of many cases takes: time and memory at 10^3 to 10^6 cases, both variants, a scripted backend.

usage: python benchmarks/scale.py [--sizes 1000 10000 100000] [--rounds 1] [--keep]

Each session is `pytest -m benchmark` in a process of its own over a suite of one JSONL file, with the journal, without
the cache (a warm one would answer), its reports, its verdict and its figures. Of each: wall and CPU seconds, the most
memory that the process had (peak RSS), what is on disk, and where the seconds went. `--keep` adds to what was measured
before. A million against ten times 100,000 is what must not be more than three.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from measuring import RESULTS, machine, save

SIZES = (1_000, 10_000, 100_000)
_CATEGORIES = 4
_WORDS = ("the lamp", "the radio", "the kitchen light", "the alarm", "the heating", "the door", "the music", "the fan")
_TOOLS = "tools: {turn_on: ['on', start], turn_off: ['off', stop], status: [state, running]}\n"
_FILES = {
    "pytest.ini": "[pytest]\n",
    "prompts/tools.yaml": _TOOLS,
    "test_suite.py": """\
import pytest

@pytest.mark.benchmark
def test_case(llmbench_answers):
    llmbench_answers.check()
""",
    "conftest.py": """\
from pytest_llmbench.api import Completion

class Scripted:
    variants = ("base", "finetuned")

    def identity(self, variant):
        return {"scripted": variant}

    def weight(self, case):
        return len(case.prompt)

    def batch_size(self):
        return 64

    def complete(self, cases, variant):
        for case in cases:
            known = int(case.id) % 10 < (9 if variant == "finetuned" else 7)
            text = f"{case.tool}: {case.prompt}" if known else "I do not know what you mean."
            yield Completion(case.name, case.epoch, variant, text, "stop", prompt_tokens=12, completion_tokens=9,
                             latency_s=0.01)

    def embed(self, pairs):
        return [completion for _, completion in pairs]

    def describe(self):
        return {"base_model": "scripted", "device": "cpu"}

    def close(self):
        pass

def pytest_llmbench_backend(settings):
    return Scripted()
""",
}


def main() -> None:
    """Measure, then write `results/scale.json` and a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--folder", type=Path, help="where the sessions run (default: a temporary folder)")
    parser.add_argument("--options", nargs=argparse.REMAINDER, default=[], help="more options of pytest")
    asked = parser.parse_args()
    path = RESULTS / "scale.json"
    result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if asked.keep and path.exists() else {}
    result["machine"] = machine()
    for size in asked.sizes:
        load = os.getloadavg()[0]
        rounds = [_session(size, asked.folder, asked.options) for _ in range(asked.rounds)]
        result[str(size)] = {**min(rounds, key=lambda one: one["wall_s"]), "rounds": len(rounds), "load_before": load}
        print(size, json.dumps(result[str(size)]), flush=True)
    save("scale", result, "\n".join(_table(result)))


def _session(size: int, folder: Path | None, options: list[str]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(dir=folder) as name:
        project = Path(name)
        for file, text in _FILES.items():
            (project / file).parent.mkdir(exist_ok=True)
            (project / file).write_text(text, encoding="utf-8")
        with (project / "prompts" / "commands.jsonl").open("w", encoding="utf-8") as suite:
            suite.writelines(_rows(size))
        environment = {
            **os.environ,
            "LLMBENCH_CACHE_DIR": str(project / "cache"),
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        }
        command = [sys.executable, "-m", "pytest", "-p", "pytest_llmbench.plugin", "-m", "benchmark", "-q"]
        started = time.monotonic()
        with (project / "output.txt").open("w") as output:
            process = subprocess.Popen(
                [*command, "--llmbench-no-cache", "--durations=0", *options],
                cwd=project,
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit((project / "output.txt").read_text()[-4000:])
        wall = time.monotonic() - started
        report = json.loads((project / "reports" / "benchmark.json").read_text(encoding="utf-8"))
        return {
            "wall_s": round(wall, 1),
            "cpu_s": round(usage.ru_utime + usage.ru_stime, 1),
            "peak_mb": round(usage.ru_maxrss / 1024),
            "answers": sum(one["total"] for one in report["statistics"]["answers"].values()),
            "timings": report["metadata"]["timings"],
            "after_the_last_case_s": round(wall - report["metadata"]["timings"]["total_s"], 1),
            "page_mb": round((project / "reports" / "benchmark.html").stat().st_size / 1e6, 1),
            "disk_mb": round(sum(file.stat().st_size for file in project.rglob("*") if file.is_file()) / 1e6),
            "free_disk_gb": round(shutil.disk_usage(project).free / 1e9),
        }


def _rows(size: int) -> Iterator[str]:
    tools = ("turn_on", "turn_off", "status")
    for number in range(size):
        tool, thing = tools[number % 3], _WORDS[number % len(_WORDS)]
        row = {
            "category": f"commands-{number * _CATEGORIES // size}",
            "id": f"{number:07}",
            "prompt": f"please {tool.replace('_', ' ')} {thing} in room {number % 977} of house {number}",
            "keywords": [thing],
            "tool": tool,
        }
        yield json.dumps(row) + "\n"


def _table(result: Mapping[str, Any]) -> Iterator[str]:
    yield "| cases | wall s | CPU s | CPU ms a case | peak memory MB | page MB | disk MB | load before |"
    yield "|---|---|---|---|---|---|---|---|"
    for size in sorted((key for key in result if key.isdecimal()), key=int):
        one = result[size]
        per_case = 1000 * one["cpu_s"] / int(size)
        yield (
            f"| {int(size):,} | {one['wall_s']} | {one['cpu_s']} | {per_case:.2f} | {one['peak_mb']:,} | "
            f"{one['page_mb']} | {one['disk_mb']:,} | {one['load_before']:.1f} |"
        )
    small, large = result.get("100000"), result.get("1000000")
    if small and large:
        yield ""
        cpu, wall = (large[part] / (10 * small[part]) for part in ("cpu_s", "wall_s"))
        yield f"1,000,000 cases took {cpu:.2f} of the CPU time and {wall:.2f} of the wall time of ten times 100,000."


if __name__ == "__main__":
    main()
