"""One adapter against four, on one base, and long prompts that share a beginning against prompts that share none.

usage: python benchmarks/several_adapters.py [--rounds 3] [--cases 16]

Time to answer the shipped cases as base and adapters with the embedded NF4 model, in turns:

- adapters: base and one, base and four (copies of the shipped one with other weights). Wanted: at most 1.6 times. Four
  are 2.5 times the rows of one, and cost as much where products, and not the reading of weights, take the time.
- beginnings: prompts of 500 tokens with one system text, against as many tokens with a text of each prompt's own. What
  is shared is read once.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import itertools
import json
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from measuring import machine, save

from pytest_llmbench.benchmark.main_job import open_backend
from pytest_llmbench.cases.suites import Case, load_cases, load_vocabulary
from pytest_llmbench.core.settings import Settings
from pytest_llmbench.generation.backend import AnswersTogether, Backend

ROOT = Path(__file__).parents[1]
ADAPTER = ROOT / "adapters/smollm2-135m-jarvis-fr"
NEW_TOKENS, PROMPT_TOKENS = 24, 500
MANY = 4
SYSTEM = ("tu", "es", "un", "assistant", "qui", "parle", "peu", "et", "bien")


def main() -> None:
    """Measure, then write `results/several_adapters.json` and a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cases", type=int, default=16)
    chosen = parser.parse_args()
    cases = load_cases([ROOT / "prompts"], load_vocabulary(ROOT / "prompts/tools.yaml"))[: chosen.cases]
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        names = _copies(Path(folder))
        opened = {count: stack.enter_context(_opened(names[:count], cases)) for count in (1, MANY)}
        shared, own = _long(cases, opened[1], shared=True), _long(cases, opened[1], shared=False)
        asked: dict[str, tuple[Backend, Sequence[Case]]] = {
            "base and 1 adapter": (opened[1], cases),
            f"base and {MANY} adapters": (opened[MANY], cases),
            "prompts with one system text": (opened[1], shared),
            "prompts with a text each": (opened[1], own),
        }
        rounds: dict[str, list[Mapping[str, float]]] = {name: [] for name in asked}
        numbers = itertools.count()
        for _ in range(chosen.rounds):
            for name, (backend, questions) in asked.items():
                rounds[name].append(_timed(backend, questions, next(numbers)))
                print(name, json.dumps(rounds[name][-1]), flush=True)
    medians = {
        name: {key: statistics.median(run[key] for run in runs) for key in runs[0]} for name, runs in rounds.items()
    }
    seconds = {name: found["seconds"] for name, found in medians.items()}
    ratios = {
        f"{MANY} adapters over 1 (wanted: at most 1.6)": seconds[f"base and {MANY} adapters"]
        / seconds["base and 1 adapter"],
        "a text each over one system text": seconds["prompts with a text each"]
        / seconds["prompts with one system text"],
    }
    result = {"machine": machine(), "cases": len(cases), "medians": medians, "ratios": ratios, "rounds": rounds}
    save("several_adapters", result, _table(result))


def _copies(folder: Path) -> list[Path]:
    """The shipped adapter, and others of its shape with other weights."""
    from safetensors.torch import load_file, save_file

    made = [ADAPTER]
    for number in range(1, MANY):
        copy = folder / f"copy{number}"
        shutil.copytree(ADAPTER, copy)
        weights = load_file(copy / "adapter_model.safetensors")
        save_file(
            {name: weight * (1 - 0.1 * number) for name, weight in weights.items()}, copy / "adapter_model.safetensors"
        )
        made.append(copy)
    return made


@contextlib.contextmanager
def _opened(adapters: Sequence[Path], cases: Sequence[Case]) -> Iterator[Backend]:
    settings = Settings.model_validate(
        {
            "model": {"adapter": tuple(map(str, adapters))},
            "generation": {"max_new_tokens": NEW_TOKENS, "do_sample": False, "timeout": 3600.0, "threads": 2},
        }
    )
    backend = open_backend(settings, cases)
    try:
        yield backend
    finally:
        backend.close()


def _long(cases: Sequence[Case], backend: Backend, *, shared: bool) -> list[Case]:
    """The cases with a system text that makes their prompts some `PROMPT_TOKENS` long."""
    made = []
    for number, case in enumerate(cases):
        begin = "" if shared else f"{number}. "
        words = itertools.cycle(SYSTEM)
        text, known = begin, case
        while backend.weight(known) < PROMPT_TOKENS:
            text += " ".join(itertools.islice(words, 8)) + " "
            questions = [message for message in case.messages if message["role"] != "system"]
            known = dataclasses.replace(
                case,
                id=f"{case.id}-{'one' if shared else 'own'}-{len(text)}",
                messages=({"role": "system", "content": text}, *questions),
            )
        made.append(known)
    return made


def _timed(backend: Backend, cases: Sequence[Case], number: int) -> Mapping[str, float]:
    """Each time the cases have other names, so that nothing is known of them."""
    assert isinstance(backend, AnswersTogether)
    anew = [dataclasses.replace(case, id=f"{case.id}-{number}") for case in cases]
    together = [(case, variant) for case in anew for variant in backend.variants]
    size = backend.batch_size() * len(backend.variants)
    started, cpu = time.perf_counter(), time.process_time()
    done = [
        answer for at in range(0, len(together), size) for answer in backend.complete_together(together[at : at + size])
    ]
    assert not any(one.finish == "error" for one in done)
    seconds = time.perf_counter() - started
    return {
        "seconds": seconds,
        "cpu_s": time.process_time() - cpu,
        "tokens": sum(one.completion_tokens or 0 for one in done),
    }


def _table(result: Mapping[str, Any]) -> str:
    rounds = len(next(iter(result["rounds"].values())))
    lines = [
        f"{result['cases']} cases, at most {NEW_TOKENS} new tokens, NF4, medians of {rounds} rounds.",
        "",
        "| asked | seconds | CPU seconds | tokens |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {name} | {found['seconds']:.1f} | {found['cpu_s']:.1f} | {found['tokens']:.0f} |"
        for name, found in result["medians"].items()
    ]
    lines += ["", "| ratio | measured |", "|---|---|"]
    lines += [f"| {name} | {value:.2f} |" for name, value in result["ratios"].items()]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
