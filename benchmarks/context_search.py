"""How good the context test is: servers whose limits and laws are known, beside servebench's `find-context-limit`.

usage: python benchmarks/context_search.py [--repeats 40] [--prompts 1000] [--seed 1] [--envs FOLDER] [--only PART]
    [--dry]

The searches ask servers in simulated time (`tests/support/known_context.py`), so that thousands of prompts take
seconds. Five parts: the longest prompt accepted, to the token; the longest in time, under noise, after the sweep of all
questions and with the prompts that default settings have; the exponent of the fitted law; how often the interval of the
share of facts found holds the truth; and prompts of exactly as many tokens as were asked for, with two real tokenizers.
The peer and our test then ask the same servers over HTTP.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import random
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

from measuring import RESULTS, machine, save
from peers import NotInstalledError, program
from real_tokenizers import Encode, real_tokenizers

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from support.context_server import TEMPLATE, ContextServer, context_server
from support.known_context import LAWS, KnownContext, SimulatedContext

from pytest_llmbench.context.accepted import AcceptedSearch
from pytest_llmbench.context.analysis import first_token_law
from pytest_llmbench.context.context_run import ContextRun, Target
from pytest_llmbench.context.in_time import Effort, InTimeSearch
from pytest_llmbench.context.needles import KINDS, needle, needles
from pytest_llmbench.context.prompt_building import Draft, exact_prompt
from pytest_llmbench.context.questions import ContextQuestion
from pytest_llmbench.core.setting_sections import ContextSettings
from pytest_llmbench.core.settings import Settings
from pytest_llmbench.runs.context_document import LimitDocument, PromiseDocument
from pytest_llmbench.stats.share_interval import share_interval

SHORTEST, LONGEST = 256, 131_072
NOISE, PROMISE_S, QUANTILE = 0.1, 3.0, 0.95
_SHARES = ("covered", "decided", "decided_and_wrong", "exact", "within_2_percent", "within_10_percent")
PLAIN = needle("one", "en", 0.5, "1")
SERVERS: dict[str, dict[str, Any]] = {
    "linear": {"law": LAWS["linear"]},
    "quadratic": {"law": LAWS["quadratic"]},
    "chunked prefill": {"law": LAWS["chunked"]},
    "prefix cache": {"law": LAWS["linear"], "prefix_cache": True},
    "truncates silently": {"law": LAWS["linear"], "beyond": "cut"},
}


def main() -> None:
    """Measure, then write `results/context_search.json` and a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=40)
    parser.add_argument("--prompts", type=int, default=1000, help="random targets a tokenizer")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--envs", type=Path, default=Path(tempfile.gettempdir()) / "llmbench-peers")
    parser.add_argument("--only", help="the part to measure again; the others stay as they are")
    parser.add_argument("--dry", action="store_true", help="show the table, write nothing")
    chosen = parser.parse_args()
    parts: dict[str, Callable[[], Iterator[dict[str, Any]]]] = {
        "accepted": lambda: accepted_rows(chosen.repeats, chosen.seed),
        "in_time": lambda: in_time_rows(chosen.repeats, chosen.seed),
        "exponents": lambda: exponent_rows(chosen.repeats, chosen.seed),
        "coverage": lambda: coverage_rows(chosen.repeats, chosen.seed),
        "exact": lambda: exact_rows(chosen.prompts, chosen.seed),
        "over_http": lambda: http_rows(chosen.envs),
    }
    kept = json.loads((RESULTS / "context_search.json").read_text(encoding="utf-8")) if chosen.only else {}
    result = {**kept, "machine": machine(), "repeats": chosen.repeats, "prompts": chosen.prompts}
    for name, part in parts.items():
        if chosen.only in (None, name):
            result[name] = [_shown(row) for row in part()]
    if chosen.dry:
        print(table(result))
    else:
        save("context_search", result, table(result))


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    print(json.dumps(row), flush=True)
    return row


def accepted_rows(repeats: int, seed: int) -> Iterator[dict[str, Any]]:
    """Random limits of every kind of server, with and without a word of what the limit is."""
    draw, bound = random.Random(seed), 2 * math.log2(LONGEST - SHORTEST)  # noqa: S311  # limits, not secrets
    for name, server in SERVERS.items():
        for says_limit in (False, True):
            probes, exact = [], 0
            for _ in range(repeats):
                limit = round(math.exp(draw.uniform(math.log(SHORTEST), math.log(LONGEST - 1))))
                asker = SimulatedContext(KnownContext(limit=limit, says_limit=says_limit, **server))
                found = asyncio.run(AcceptedSearch(asker, PLAIN, SHORTEST, LONGEST).find())
                exact += found.tokens == limit and found.decided
                probes.append(asker.asked)
            named = "named in refusals" if says_limit else "not named"
            yield {
                "server": f"{name}, limit {named}",
                "exact": exact / repeats,
                "probes": statistics.median(probes),
                "most_probes": max(probes),
                "bound": round(bound, 1),
            }


def in_time_rows(repeats: int, seed: int) -> Iterator[dict[str, Any]]:
    """The longest prompt of which 95 % come in 3 s, where each takes its law times noise: as default settings ask."""
    promise = PromiseDocument(latency_s=PROMISE_S, quantile=QUANTILE)
    for place, (name, server) in enumerate(SERVERS.items()):
        for noise in (0.02, 0.1, 0.2):
            errors, held, decided, wrong, probes = [], 0, 0, 0, []
            for repeat in range(repeats):
                known = KnownContext(limit=LONGEST, noise=noise, seed=1000 * (seed + place) + repeat, **server)
                truth = known.in_time(PROMISE_S, QUANTILE)
                found = asyncio.run(_in_time(SimulatedContext(known), promise))
                holds = found.low <= truth <= (found.high or LONGEST)
                errors.append(abs(found.tokens / truth - 1))
                held += holds
                decided += found.decided
                wrong += found.decided and not holds
                probes.append(found.probes)
            yield {
                "server": name,
                "noise": noise,
                "truth": truth,
                "within_2_percent": sum(error <= 0.02 for error in errors) / repeats,
                "median_error": round(statistics.median(errors), 4),
                "worst_error": round(max(errors), 4),
                "covered": held / repeats,
                "decided": decided / repeats,
                "decided_and_wrong": wrong / repeats,
                "probes": statistics.median(probes),
            }


async def _in_time(asker: SimulatedContext, promise: PromiseDocument) -> LimitDocument:
    """Every question at every length, then the search."""
    given = ContextSettings()
    asked = needles(given.depths, given.kinds, given.asked_languages, given.repeats, 1)
    lengths = [SHORTEST << power for power in range(1 + int(math.log2(LONGEST / SHORTEST)))]
    swept = await _answers(asker, [ContextQuestion("sweep", length, one, 1) for length in lengths for one in asked])
    effort = Effort(given.probes, given.precision, 1)
    found = await InTimeSearch(asker, PLAIN, promise, (SHORTEST, LONGEST), effort).find(swept)
    assert found is not None
    return found


def exponent_rows(repeats: int, seed: int) -> Iterator[dict[str, Any]]:
    """Laws that are a constant and one power, as every prompt of a sweep shows them at noise of 10 %."""
    laws: dict[str, tuple[float, Callable[[int], float]]] = {
        "linear": (1.0, LAWS["linear"]),
        "quadratic": (2.0, lambda tokens: 0.1 + (tokens / 6000) ** 2),
        "power 1.5": (1.5, lambda tokens: 0.1 + (tokens / 5000) ** 1.5),
    }
    lengths = [SHORTEST << power for power in range(8)]
    for name, (truth, law) in laws.items():
        found, held = [], 0
        for repeat in range(repeats):
            asker = SimulatedContext(KnownContext(limit=LONGEST, law=law, noise=NOISE, seed=1000 * seed + repeat))
            asked = needles((0.0, 0.25, 0.5, 0.75, 1.0), KINDS, ("en", "fr"), 1, 1)
            questions = [ContextQuestion("sweep", length, one, 1) for length in lengths for one in asked]
            fitted = first_token_law(asyncio.run(_answers(asker, questions)))
            if fitted is not None and fitted.exponent is not None:
                found.append(fitted.exponent.value)
                held += fitted.exponent.low <= truth <= fitted.exponent.high
        yield {
            "law": name,
            "exponent": truth,
            "median": round(statistics.median(found), 4),
            "within_10_percent": sum(abs(one / truth - 1) <= 0.1 for one in found) / repeats,
            "covered": held / repeats,
        }


def coverage_rows(repeats: int, seed: int) -> Iterator[dict[str, Any]]:
    """Facts are found with a known chance by depth and length: how often the interval of a cell holds it."""
    truths: dict[str, Callable[[float, int], float]] = {
        "lost in the middle": lambda depth, length: 1 - (0.1 + 0.5 * (1 - abs(2 * depth - 1))) * length / 8192,
        "fading with length": lambda _depth, length: 0.98 * math.exp(-length / 9000),
        "nearly always": lambda _depth, _length: 0.97,
    }
    lengths, depths = (512, 2048, 8192), (0.0, 0.25, 0.5, 0.75, 1.0)
    for name, truth in truths.items():
        held = cells = 0
        for repeat in range(repeats):
            asker = SimulatedContext(KnownContext(limit=LONGEST, right=truth, seed=1000 * seed + repeat))
            for length in lengths:
                asked = needles(depths, KINDS, ("en", "fr"), 4, repeat)
                probes = asyncio.run(_answers(asker, [ContextQuestion("sweep", length, one, 1) for one in asked]))
                for depth in depths:
                    there = [probe for probe in probes if probe.depth == depth]
                    share = share_interval([probe.found for probe in there], [probe.facts for probe in there])
                    held += share.low <= truth(depth, length) <= share.high
                    cells += 1
        yield {"truth": name, "cells": cells, "questions_a_cell": len(there), "covered": round(held / cells, 4)}


async def _answers(asker: SimulatedContext, questions: list[ContextQuestion]) -> list[Any]:
    return [await asker.ask(question) for question in questions]


def exact_rows(prompts: int, seed: int) -> Iterator[dict[str, Any]]:
    """Random targets, kinds, languages and depths: each built prompt is counted once more, by itself."""
    for name, encode in real_tokenizers().items():
        draw, off, counts = random.Random(seed), [], []  # noqa: S311
        for place in range(prompts):
            target = round(math.exp(draw.uniform(math.log(400), math.log(4000))))
            asked = needle(draw.choice(KINDS), draw.choice(("en", "fr")), draw.random(), str(place))
            count = _counted(encode)
            made = asyncio.run(exact_prompt(Draft(asked, f"{seed} {place}"), target, count))
            off.append(encode(_templated(made.text)) - target)
            counts.append(count.calls)
        yield {
            "tokenizer": name,
            "prompts": prompts,
            "off_by_one_or_more": sum(map(bool, off)),
            "counts_a_prompt": round(statistics.mean(counts), 1),
        }


class _counted:  # noqa: N801  # a function that knows how often it was called
    def __init__(self, encode: Encode) -> None:
        self._encode, self.calls = encode, 0

    def __call__(self, text: str) -> Awaitable[int]:
        self.calls += 1
        return _told(self._encode(_templated(text)))


async def _told(tokens: int) -> int:
    return tokens


def _templated(text: str) -> str:
    return f"<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n"


def http_rows(envs: Path) -> Iterator[dict[str, Any]]:
    """The same servers over HTTP, 1,000 times as fast as their law: what the peer says, and what our test does."""
    limit = 6000
    for name, server in SERVERS.items():
        with context_server(KnownContext(limit=limit, **server)) as running:
            ours, theirs = _ours(running), _theirs(running, envs)
        yield {"server": name, "limit": limit, "ours": ours, "servebench": theirs}


def _ours(server: ContextServer) -> int:
    with tempfile.TemporaryDirectory() as folder:
        asked = {"depths": [0.5], "kinds": ["one"], "languages": "en", "probes": 5, "answer_tokens": 4}
        load = {"latency": 1.0, "measured": "first_token", "scrape": False}
        settings = Settings.model_validate(
            {"context": {**asked, "max_context": 32_768}, "load": load, "output": {"report_dir": folder}}
        )
        found = asyncio.run(ContextRun(settings, Target(server.url)).measure())
    return found.limits.accepted.tokens if found.limits.accepted else 0


def _theirs(server: ContextServer, envs: Path) -> str:
    """What it prints, with the prompt's tokens as the server counted them: its template has TEMPLATE more."""
    try:
        command = program("servebench", envs)
    except NotInstalledError as error:
        return str(error)
    told = subprocess.run(
        [command, "find-context-limit", "--url", server.url, "--model", "known"],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    found = re.search(r"Maximum context supported: (.*)", told.stdout)
    words = found[1].strip() if found else (told.stdout + told.stderr).strip()[-200:]
    return f"{words} (+{TEMPLATE} of the template)"


def table(result: dict[str, Any]) -> str:
    """Every part as Markdown."""
    given = ContextSettings()
    parts = [
        (
            f"The longest prompt accepted, {result['repeats']} random limits a line. Bound: 2 log2 of the range.",
            result["accepted"],
        ),
        (
            f"The longest prompt of which {QUANTILE:.0%} come in {PROMISE_S:g} s, to {given.precision:.0%}.",
            result["in_time"],
        ),
        (f"The exponent of the fitted law, noise {NOISE:.0%}, {result['repeats']} fits a line.", result["exponents"]),
        ("The 95 % interval of the share of facts found, by depth and length.", result["coverage"]),
        ("Prompts of exactly so many tokens, 400 to 4,000.", result["exact"]),
        ("The same servers over HTTP, beside servebench 1.1.3 `find-context-limit`.", result["over_http"]),
    ]
    return "\n\n".join(f"{heading}\n\n{_markdown(rows)}" for heading, rows in parts)


def _markdown(rows: list[dict[str, Any]]) -> str:
    head = [name.replace("_", " ") for name in rows[0]]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    lines += [f"| {' | '.join(_cell(name, value) for name, value in row.items())} |" for row in rows]
    return "\n".join(lines)


def _cell(name: str, value: Any) -> str:
    if name in _SHARES and isinstance(value, float):
        return f"{value:.1%}"
    return f"{value:,}" if isinstance(value, int) else str(value)


if __name__ == "__main__":
    main()
