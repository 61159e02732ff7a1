"""Our estimate of a training's memory beside the measured peak and `accelerate estimate-memory`.

usage: python benchmarks/memory_estimate.py [--only N] [--new]

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

from measuring import RESULTS, machine, save

from pytest_llmbench.models.memory.architecture import Architecture, read_architecture
from pytest_llmbench.models.memory.estimate import TrainingPlan, estimate_inference, estimate_training
from pytest_llmbench.models.registry import load_registry

MODEL = "smollm2-135m"
TINY = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 1}
CONTESTANTS = Path(__file__).parent / "contestants"

NOTES = """\
Resident memory of a real LoRA training of the embedded model, less that of a model of a few kB. `accelerate
estimate-memory` counts full training with Adam at a batch of 1 and knows neither adapter nor length, nor gradient
checkpointing. The last column is the same training where glibc keeps freed blocks, as it does unless memory is tight.

Qwen3-30B-A3B in NF4 answering 4,096 tokens on a GPU, about 18 GB in the reference (arithmetic only, no such model was
loaded):"""


class Setting(NamedTuple):
    """One training: every row is `max_length` tokens long, of which `answer` are the completion's."""

    batch_size: int
    max_length: int
    answer: int
    quantization: str
    precision: str
    activations: str = "kept"


RECOMPUTED = "recomputed"  # with gradient checkpointing
SETTINGS = (
    Setting(4, 128, 32, "none", "float32"),
    Setting(8, 256, 64, "none", "float32"),
    Setting(4, 128, 32, "nf4", "bfloat16"),
    Setting(16, 128, 32, "nf4", "bfloat16"),
    Setting(8, 256, 64, "nf4", "bfloat16"),
    Setting(8, 256, 240, "nf4", "bfloat16"),
    Setting(8, 256, 64, "none", "bfloat16"),
    Setting(8, 256, 64, "nf4", "float32"),
    Setting(4, 128, 32, "nf4", "bfloat16", RECOMPUTED),
    Setting(4, 128, 32, "none", "float32", RECOMPUTED),
    Setting(8, 128, 32, "none", "bfloat16", RECOMPUTED),
    Setting(8, 256, 8, "nf4", "bfloat16", RECOMPUTED),  # at its fullest in a layer, the others at the loss
)
TIMED = (
    Setting(4, 128, 32, "nf4", "bfloat16"),
    Setting(8, 128, 32, "nf4", "bfloat16"),
    Setting(4, 128, 32, "none", "bfloat16"),
)
PAIRS = 4
TIMES = f"""\
Core seconds of a step that keeps its activations, and of one with gradient checkpointing. The two take turns in one
training; medians of {PAIRS} pairs."""


def main() -> None:
    """Measure, then write `results/memory_estimate.json` and a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", type=int, default=len(SETTINGS), help="the first N settings")
    parser.add_argument("--new", action="store_true", help="keep what results/memory_estimate.json has measured")
    chosen = parser.parse_args()
    settings, known = SETTINGS[: chosen.only], _known() if chosen.new else {}
    architecture = read_architecture(load_registry()[MODEL].architecture, MODEL)
    with tempfile.TemporaryDirectory() as name:
        tiny = tiny_model(Path(name) / "tiny")
        rows = [_row(setting, architecture, known.get(setting) or _measured(setting, tiny)) for setting in settings]
        accelerate = _accelerate(Path(name) / "config")
    times = [_time(setting) for setting in TIMED]
    large = read_architecture(load_registry()["qwen3-30b-a3b"].architecture, "qwen3-30b-a3b")
    answering = estimate_inference(large, batch_size=1, context=4096, device="cuda")
    result: dict[str, Any] = {
        "machine": machine(),
        "counted": " ".join(str(__doc__).split("What is counted: ")[1].split()),
        "largest_error (wanted: at most 0.15)": max(abs(row["estimate"] / row["measured"] - 1) for row in rows),
        "accelerate_estimate_memory_bytes": accelerate,
        "qwen3-30b-a3b answering in nf4, GiB (the reference: about 18; arithmetic only)": answering.total / 2**30,
        "settings": rows,
        "seconds of a step with and without gradient checkpointing": times,
    }
    save("memory_estimate", result, f"{_table(rows, accelerate, answering.total)}\n\n{_times(times)}")


def _known() -> Mapping[Setting, Mapping[str, int]]:
    """What was measured before, by the setting."""
    rows = json.loads((RESULTS / "memory_estimate.json").read_text(encoding="utf-8"))["settings"]
    return {
        Setting(**{field: row[field] for field in Setting._fields if field in row}): {
            name: size for name, size in row.items() if name.startswith("measured")
        }
        for row in rows
    }


def _measured(setting: Setting, tiny: Path) -> Mapping[str, int]:
    small = setting._replace(batch_size=1, max_length=32, answer=8, activations="kept")
    return {
        "measured": _growth(MODEL, setting, "spare") - _growth(tiny, small, "spare"),
        "measured_with_the_default_heap": _growth(MODEL, setting, "plain") - _growth(tiny, small, "plain"),
    }


def _row(setting: Setting, architecture: Architecture, measured: Mapping[str, int]) -> dict[str, Any]:
    plan = TrainingPlan(
        setting.batch_size,
        setting.max_length,
        quantization=setting.quantization,  # type: ignore[arg-type]  # one of its words
        precision=setting.precision,  # type: ignore[arg-type]  # one of its words
        gradient_checkpointing=setting.activations == RECOMPUTED,
        answer_tokens=setting.answer,
    )
    estimate = estimate_training(architecture, plan)
    row = {**setting._asdict(), "estimate": estimate.total, "parts": dict(estimate.parts), **measured}
    print(json.dumps(row), flush=True)
    return row


@functools.cache
def _growth(model: object, setting: Setting, allocator: str) -> int:
    return int(_told("memory_training.py", model, *setting, allocator)["growth_bytes"])


def _time(setting: Setting) -> dict[str, Any]:
    """How much longer a step takes that recomputes its activations."""
    row = setting._asdict() | _told("checkpointing_time.py", MODEL, *setting[:-1], PAIRS)
    del row["activations"]
    print(json.dumps(row), flush=True)
    return row


def _told(contestant: str, *words: object) -> dict[str, Any]:
    command = [sys.executable, CONTESTANTS / contestant, *words]
    done = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{command}: exit {done.returncode}")
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def tiny_model(folder: Path) -> Path:
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
    lines += [
        f"| {_named(row)} | {_mib(row['estimate'])} | {_mib(row['measured'])} "
        f"| {row['estimate'] / row['measured'] - 1:+.1%} | {_theirs(row, accelerate)} "
        f"| {_mib(row['measured_with_the_default_heap'])} |"
        for row in rows
    ]
    return "\n".join([*lines, "", f"{NOTES} {answering / 2**30:.1f} GiB."])


def _times(times: Sequence[Mapping[str, Any]]) -> str:
    """What gradient checkpointing costs."""
    told = [
        f"| {_named(row)} | {row['kept_s']:.2f} | {row['recomputed_s']:.2f} | {row['ratio']:.2f} |" for row in times
    ]
    return "\n".join([TIMES, "", "| | kept | gradient checkpointing | ratio |", "|---|---|---|---|", *told])


def _named(row: Mapping[str, Any]) -> str:
    checkpointing = ", gradient checkpointing" if row.get("activations") == RECOMPUTED else ""
    shape = f"{row['batch_size']} x {row['max_length']} ({row['answer']})"
    return f"{shape}, {row['quantization']}, {row['precision']}{checkpointing}"


def _theirs(row: Mapping[str, Any], accelerate: Mapping[str, float]) -> str:
    """Training where it says so; of 4 bits it only gives the loading."""
    if row["quantization"] == "none":
        return _mib(accelerate["float32 training"])
    return f"{_mib(accelerate['int4 loading'])} to load, no training"


def _mib(size: float) -> str:
    return f"{size / 2**20:,.0f} MiB"


if __name__ == "__main__":
    main()
