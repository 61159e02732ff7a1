"""Our estimate of a training's memory beside the measured peak and `accelerate estimate-memory`.

usage: python benchmarks/memory_estimate.py [--only N]

What is counted: the peak resident memory of a real LoRA training of the embedded model on the CPU, above what was
resident before the model was loaded, less the same figure of a model of a few kB. That difference leaves out the
interpreter, the libraries and what the trainer itself takes, which are the same for every model.
"""

from __future__ import annotations

import argparse
import functools
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

from measuring import machine, save

from pytest_llmbench.models.architecture import Architecture, read_architecture
from pytest_llmbench.models.memory_estimate import TrainingPlan, estimate_inference, estimate_training
from pytest_llmbench.models.registry import load_registry

MODEL = "smollm2-135m"
TINY = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 1}
CONTESTANT = Path(__file__).parent / "contestants/memory_training.py"


NOTES = """\
Resident memory of a real LoRA training of the embedded model, less that of a model of a few kB. `accelerate
estimate-memory` counts full training with Adam at a batch of 1 and knows neither adapter nor length. The last column is
the same training where glibc keeps freed blocks, as it does unless memory is tight.

Qwen3-30B-A3B in NF4 answering 4,096 tokens on a GPU, about 18 GB in the reference (arithmetic only, no such model was
loaded):"""


class Setting(NamedTuple):
    """One training: every row is `max_length` tokens long, of which `answer` are the completion's."""

    batch_size: int
    max_length: int
    answer: int
    quantization: str
    precision: str


SETTINGS = (
    Setting(4, 128, 32, "none", "float32"),
    Setting(8, 256, 64, "none", "float32"),
    Setting(4, 128, 32, "nf4", "bfloat16"),
    Setting(16, 128, 32, "nf4", "bfloat16"),
    Setting(8, 256, 64, "nf4", "bfloat16"),
    Setting(8, 256, 240, "nf4", "bfloat16"),
    Setting(8, 256, 64, "none", "bfloat16"),
    Setting(8, 256, 64, "nf4", "float32"),
)


def main() -> None:
    """Measure, then write `results/memory_estimate.json` and a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", type=int, default=len(SETTINGS), help="the first N settings")
    settings = SETTINGS[: parser.parse_args().only]
    architecture = read_architecture(load_registry()[MODEL].architecture, MODEL)
    with tempfile.TemporaryDirectory() as name:
        tiny = _tiny_model(Path(name) / "tiny")
        rows = [_row(setting, architecture, tiny) for setting in settings]
        accelerate = _accelerate(Path(name) / "config")
    large = read_architecture(load_registry()["qwen3-30b-a3b"].architecture, "qwen3-30b-a3b")
    answering = estimate_inference(large, batch_size=1, context=4096, device="cuda")
    result: dict[str, Any] = {
        "machine": machine(),
        "counted": " ".join(str(__doc__).split("What is counted: ")[1].split()),
        "largest_error (wanted: at most 0.15)": max(abs(row["estimate"] / row["measured"] - 1) for row in rows),
        "accelerate_estimate_memory_bytes": accelerate,
        "qwen3-30b-a3b answering in nf4, GiB (the reference: about 18; arithmetic only)": answering.total / 2**30,
        "settings": rows,
    }
    save("memory_estimate", result, _table(rows, accelerate, answering.total))


def _row(setting: Setting, architecture: Architecture, tiny: Path) -> dict[str, Any]:
    plan = TrainingPlan(
        setting.batch_size,
        setting.max_length,
        quantization=setting.quantization,  # type: ignore[arg-type]  # one of its words
        precision=setting.precision,  # type: ignore[arg-type]  # one of its words
        answer_tokens=setting.answer,
    )
    estimate = estimate_training(architecture, plan)
    small = setting._replace(batch_size=1, max_length=32, answer=8)
    row = {
        **setting._asdict(),
        "estimate": estimate.total,
        "parts": dict(estimate.parts),
        "measured": _growth(MODEL, setting, "spare") - _growth(tiny, small, "spare"),
        "measured_with_the_default_heap": _growth(MODEL, setting, "plain") - _growth(tiny, small, "plain"),
    }
    print(json.dumps(row), flush=True)
    return row


@functools.cache
def _growth(model: object, setting: Setting, allocator: str) -> int:
    command = [sys.executable, CONTESTANT, model, *setting, allocator]
    done = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{command}: exit {done.returncode}")
    return int(json.loads(done.stdout.splitlines()[-1])["growth_bytes"])


def _tiny_model(folder: Path) -> Path:
    """A model of a few kB besides its vocabulary, with the embedded model's tokenizer."""
    from transformers import AutoConfig, AutoModelForCausalLM

    from pytest_llmbench.models.sources import resolve

    source = Path(resolve(MODEL).path)
    fields = {**load_registry()[MODEL].architecture, **TINY, "num_key_value_heads": 1}
    AutoModelForCausalLM.from_config(AutoConfig.for_model(**fields)).save_pretrained(folder)
    for file in source.glob("*"):
        if "token" in file.name or "template" in file.name:
            shutil.copy(file, folder)
    return folder


def _accelerate(folder: Path) -> Mapping[str, float]:
    """What `accelerate estimate-memory` computes for the same model, in bytes by dtype: to load it, and to train it.

    The command asks the hub whether the model exists; that question alone is answered here, the rest is its own code.
    """
    from accelerate.commands import estimate
    from transformers import AutoConfig

    AutoConfig.for_model(**load_registry()[MODEL].architecture).save_pretrained(folder)
    known = argparse.Namespace(config={}, library_name="transformers")
    asked = argparse.Namespace(
        model_name=str(folder), library_name="transformers", trust_remote_code=False, dtypes=["float32", "int4"]
    )
    with mock.patch.object(estimate, "verify_on_hub", return_value=known):
        return {
            key: float(value)
            for dtype, _, loading, training in estimate.gather_data(asked)
            for key, value in ((f"{dtype} loading", loading), (f"{dtype} training", training["step"]))
        }


def _table(rows: Sequence[Mapping[str, Any]], accelerate: Mapping[str, float], answering: int) -> str:
    lines = [
        "| batch x length (answer), base, computed in | estimate | measured | error | accelerate | default heap |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        shape = f"{row['batch_size']} x {row['max_length']} ({row['answer']})"
        lines.append(
            f"| {shape}, {row['quantization']}, {row['precision']} | {_mib(row['estimate'])} | {_mib(row['measured'])} "
            f"| {row['estimate'] / row['measured'] - 1:+.1%} | {_theirs(row, accelerate)} "
            f"| {_mib(row['measured_with_the_default_heap'])} |"
        )
    return "\n".join([*lines, "", f"{NOTES} {answering / 2**30:.1f} GiB."])


def _theirs(row: Mapping[str, Any], accelerate: Mapping[str, float]) -> str:
    """Training where it says so; of 4 bits it only gives the loading."""
    if row["quantization"] == "none":
        return _mib(accelerate["float32 training"])
    return f"{_mib(accelerate['int4 loading'])} to load, no training"


def _mib(size: float) -> str:
    return f"{size / 2**20:,.0f} MiB"


if __name__ == "__main__":
    main()
