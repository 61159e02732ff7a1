"""How many sampled answers are the same, token for token, however they were asked.

usage: python benchmarks/reproducibility.py [--cases 12] [--new-tokens 48]

Alone, in small batches and in a large one, in another order, with one thread and with two; and of whole sessions, by
one process and by two (pytest-xdist).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from contestants.prompts import ROOT
from measuring import machine, save

from pytest_llmbench.benchmark.main_job import open_backend
from pytest_llmbench.cases.suites import Case, load_cases, load_vocabulary
from pytest_llmbench.core.settings import load_settings
from pytest_llmbench.generation.backend import Backend


class Way(NamedTuple):
    """How answers are asked for: so many cases at once, in this shuffled order, with so many threads."""

    size: int
    order: int
    threads: int


def main() -> None:
    """Measure, then write `results/reproducibility.json` and a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=12)
    parser.add_argument("--new-tokens", type=int, default=48)
    chosen = parser.parse_args()
    cases = load_cases([ROOT / "prompts"], load_vocabulary(ROOT / "prompts/tools.yaml"))
    cases = cases[:: len(cases) // chosen.cases][: chosen.cases]
    equal = {}
    for quantization in ("none", "nf4"):
        for name, same, asked in _compared(cases, quantization, chosen.new_tokens):
            equal[f"{quantization}, {name}"] = f"{same} of {asked}"
            print(f"{quantization}, {name}: {same} of {asked}", flush=True)
    rows = [f"| {what} | {count} |" for what, count in equal.items()]
    result = {"machine": machine(), "new_tokens": chosen.new_tokens, "equal_answers": equal}
    save("reproducibility", result, "\n".join(["| weights and batches | equal answers |", "|---|---|", *rows]))


def _compared(cases: Sequence[Case], quantization: str, new_tokens: int) -> Iterator[tuple[str, int, int]]:
    """Each comparison with how many answers were the same, of how many."""
    given = {
        "quantization": quantization,
        "generation.max_new_tokens": str(new_tokens),
        "generation.timeout": "600",
    }
    backend = open_backend(load_settings(None, {name: (value, "benchmark") for name, value in given.items()}))
    together = _texts(backend, cases, Way(len(cases), 0, 2))
    ways = [Way(1, 1, 2), Way(3, 2, 2), *(Way(size, order, 1) for order, size in enumerate((1, 3, 5, len(cases)), 3))]
    ways += [Way(5, 7, 2), Way(len(cases), 8, 2), Way(7, 9, 2)] if quantization == "nf4" else []
    for way in ways:
        same = sum(one == other for one, other in zip(together, _texts(backend, cases, way), strict=True))
        about = f"batches of {way.size}, order {way.order}, {way.threads} thread{'s' * (way.threads > 1)}"
        yield f"{about} against one of {len(cases)}, 2 threads", same, len(together)
    backend.close()
    alone, shared = (_session(len(cases), given, *options) for options in ((), ("-n", "2")))
    yield (
        "a session of two processes against one of one",
        sum(alone[name] == shared[name] for name in alone),
        len(alone),
    )


def _texts(backend: Backend, cases: Sequence[Case], way: Way) -> list[str]:
    """Every variant's answers, in the cases' order."""
    order = random.Random(way.order).sample(cases, len(cases))  # noqa: S311
    torch.set_num_threads(way.threads)
    found = {
        (done.variant, done.case): done.text
        for variant in backend.variants
        for at in range(0, len(order), way.size)
        for done in backend.complete(order[at : at + way.size], variant)
    }
    return [found[variant, case.name] for variant in backend.variants for case in cases]


def _session(cases: int, given: Mapping[str, str], *options: str) -> dict[tuple[str, str], Any]:
    """The answers of `pytest -m benchmark` in a process of its own, by case and variant."""
    names = {"quantization": "MODEL__QUANTIZATION"}
    settings = {f"LLMBENCH_{names.get(name, name.upper().replace('.', '__'))}": value for name, value in given.items()}
    off = {f"LLMBENCH_OUTPUT__{kind}": "false" for kind in ("PNG", "HTML", "TEXT", "MARKDOWN")}
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            [
                *(sys.executable, "-m", "pytest", "-q", "-m", "benchmark", "tests/suites/test_benchmark.py", *options),
                *("--llmbench-no-cache", f"--llmbench-limit={cases}", f"--llmbench-report-dir={folder}"),
            ],
            cwd=ROOT,
            env={**os.environ, **settings, **off},
            check=True,
            stdout=subprocess.DEVNULL,
        )
        document = json.loads((Path(folder) / "benchmark.json").read_text(encoding="utf-8"))
    return {
        (row["prompt_id"], variant): said["text"]
        for row in document["results"]
        for variant, said in row["completions"].items()
    }


if __name__ == "__main__":
    main()
