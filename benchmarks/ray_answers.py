"""Whether NF4 answers are the same from one process and from three actors of Ray, one of which is killed in the middle.

usage: python benchmarks/ray_answers.py [--cases 12] [--new-tokens 16]
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence

import psutil
from contestants.prompts import ROOT
from measuring import machine, save

from pytest_llmbench.benchmark.main_job import open_backend
from pytest_llmbench.cases.suites import Case, load_cases, load_vocabulary
from pytest_llmbench.core.records import Completion
from pytest_llmbench.core.settings import load_settings
from pytest_llmbench.generation.ray.backend import RayBackend

_AT_WORK = "ray::EngineActor.answer"


def main() -> None:
    """Measure, then write `results/ray_answers.json` and a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=12)
    parser.add_argument("--new-tokens", type=int, default=16)
    chosen = parser.parse_args()
    cases = load_cases([ROOT / "prompts"], load_vocabulary(ROOT / "prompts/tools.yaml"))
    cases = cases[:: len(cases) // chosen.cases][: chosen.cases]
    given = {"generation.max_new_tokens": str(chosen.new_tokens), "generation.timeout": "600", "batch-size": "2"}
    here = {key: (value, "benchmark") for key, value in given.items()}
    alone = open_backend(load_settings(None, here))
    wanted = [done for variant in alone.variants for done in alone.complete(cases, variant)]
    alone.close()
    actors = open_backend(load_settings(None, {**here, "ray": ("local", "b"), "ray.actors": ("3", "b")}))
    if not isinstance(actors, RayBackend):
        raise TypeError("ray.address opened something else")
    told = list(_killing_one(actors, cases))
    about = actors.describe()
    actors.close()
    same = len(_texts(wanted) & _texts(told))
    rows = [
        f"| answers equal to those of one process, token for token | {same} of {len(wanted)} |",
        f"| actors, and those that died | {about['ray']['actors']}, {about['ray']['deaths']} |",
        f"| shares asked again elsewhere | {about['ray']['batches_asked_again']} |",
        f"| weights in memory | {about['quantization']}, {about['hold']} |",
    ]
    result = {"machine": machine(), "equal": same, "answers": len(wanted), "ray": about["ray"], "hold": about["hold"]}
    save("ray_answers", result, "\n".join(["| three actors, one killed | |", "|---|---|", *rows]))


def _killing_one(backend: RayBackend, cases: Sequence[Case]) -> Iterator[Completion]:
    """Every variant's answers; with the first of them one actor that is at work is killed."""
    alive = True
    for done in backend.complete_together([(case, variant) for variant in backend.variants for case in cases]):
        yield done
        if alive:
            at_work = [one for one in psutil.Process().children(recursive=True) if _AT_WORK in one.name()]
            at_work[-1].kill()
            alive = False


def _texts(completions: Sequence[Completion]) -> set[tuple[str, str, str]]:
    return {(done.case, done.variant, done.text) for done in completions}


if __name__ == "__main__":
    main()
