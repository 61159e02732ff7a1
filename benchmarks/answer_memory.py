"""What a process takes of memory while it answers, beside what `model.hold` reckons with.

usage: python benchmarks/answer_memory.py

Peak resident memory of a process that loads the embedded model and its fine-tune and answers the shipped cases as both,
above what was resident before, less the same figure of a model of a few kB. That difference leaves out the interpreter,
the libraries and what they take to load any model.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from measuring import machine, save
from memory_estimate import tiny_model

from pytest_llmbench.models.memory.architecture import read_architecture
from pytest_llmbench.models.memory.estimate import estimate_answering, estimate_inference, weights_by_class
from pytest_llmbench.models.registry import load_registry

MODEL = "smollm2-135m"
ASKED = (("packed", 4, 4, 8), ("dequantized", 4, 30, 48), ("dequantized", 16, 30, 48))
"""How weights are held, answers at once of each variant, cases, new tokens; packed weights are slow on a CPU."""
SIZES = {"float32": 4, "bfloat16": 2}


def main() -> None:
    """Measure, then write `results/answer_memory.json` and a table."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    with tempfile.TemporaryDirectory() as name:
        tiny = tiny_model(Path(name) / "tiny")
        rows = [_row(*asked, tiny) for asked in ASKED]
    result = {"machine": machine(), "settings": rows}
    save("answer_memory", result, _table(rows))


def _row(hold: str, once: int, cases: int, tokens: int, tiny: Path) -> dict[str, Any]:
    told, least = (_told(model, hold, once, cases, tokens) for model in (MODEL, str(tiny)))
    measured = {
        "loading": told["loading_bytes"] - least["loading_bytes"],
        "answering": told["growth_bytes"] - least["growth_bytes"],
    }
    parts = _parts(told)
    row = {
        **told,
        "cases": cases,
        "tokens": tokens,
        "measured": measured,
        "parts": parts,
        "estimate": sum(parts.values()),
    }
    print(json.dumps(row), flush=True)
    return row


def _parts(told: Mapping[str, Any]) -> Mapping[str, int]:
    architecture = read_architecture(load_registry()[MODEL].architecture, MODEL)
    rows, positions = told["rows"], told["positions"]
    if told["hold"] == "dequantized":
        size = SIZES[told["dtype"]]
        weights = weights_by_class(architecture, "none", size, double_quant=False)
        return {**weights, **estimate_answering(architecture, size, rows=rows, positions=positions)}
    return estimate_inference(architecture, batch_size=rows, context=positions).parts


def _told(*words: object) -> dict[str, Any]:
    contestant = Path(__file__).parent / "contestants/memory_answering.py"
    command = [sys.executable, str(contestant), *map(str, words)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def _table(rows: list[dict[str, Any]]) -> str:
    lines = [
        "| weights | answers at once x tokens | estimate | measured while answering | difference | while loading |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['hold']}, computed in {row['dtype']} | {row['rows']} x {row['positions']} | {_mib(row['estimate'])} "
        f"| {_mib(row['measured']['answering'])} | {row['measured']['answering'] / row['estimate'] - 1:+.1%} "
        f"| {_mib(row['measured']['loading'])} |"
        for row in rows
    ]
    return "\n".join(lines)


def _mib(size: float) -> str:
    return f"{size / 2**20:,.0f} MiB"


if __name__ == "__main__":
    main()
