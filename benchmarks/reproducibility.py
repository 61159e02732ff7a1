"""How many sampled answers are the same, token for token, alone, in a small batch and in a large one.

usage: python benchmarks/reproducibility.py [--cases 12] [--new-tokens 48]
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from contestants.prompts import ROOT
from measuring import machine, save

from pytest_llmbench.benchmark.main_job import open_backend
from pytest_llmbench.cases.suites import Case, load_cases, load_vocabulary
from pytest_llmbench.core.settings import load_settings
from pytest_llmbench.generation.backend import Backend


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
        given = {
            "quantization": (quantization, "benchmark"),
            "generation.max_new_tokens": (str(chosen.new_tokens), "benchmark"),
            "generation.timeout": ("600", "benchmark"),
        }
        backend = open_backend(load_settings(None, given))
        together = _texts(backend, cases, len(cases))
        for size in (1, 3):
            same = sum(one == other for one, other in zip(together, _texts(backend, cases, size), strict=True))
            equal[f"{quantization}, batches of {size} against one of {len(cases)}"] = f"{same} of {len(together)}"
        backend.close()
    rows = [f"| {what} | {count} |" for what, count in equal.items()]
    result = {"machine": machine(), "new_tokens": chosen.new_tokens, "equal_answers": equal}
    save("reproducibility", result, "\n".join(["| weights and batches | equal answers |", "|---|---|", *rows]))


def _texts(backend: Backend, cases: Sequence[Case], size: int) -> list[str]:
    """Every variant's answers, in the cases' order, asked in batches of `size`, the last case first."""
    order = list(reversed(cases))
    found = {
        (done.variant, done.case): done.text
        for variant in backend.variants
        for at in range(0, len(order), size)
        for done in backend.complete(order[at : at + size], variant)
    }
    return [found[variant, case.name] for variant in backend.variants for case in cases]


if __name__ == "__main__":
    main()
