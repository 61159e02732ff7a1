"""How good the context test is: servers whose limits and laws are known, beside servebench's `find-context-limit`.

usage: python benchmarks/context_search.py [--repeats 40] [--prompts 1000] [--seed 1] [--envs FOLDER] [--dry]

The searches ask servers in simulated time (`tests/support/known_context.py`), so that thousands of prompts take
seconds. Five parts: the longest prompt accepted, to the token; the longest in time, under noise of 10 %; the exponent
of the fitted law; how often the interval of the share of facts found holds the truth; and prompts of exactly as many
tokens as were asked for, with two real tokenizers. The peer and our test then ask the same servers over HTTP.
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

from measuring import machine, save
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
from pytest_llmbench.core.settings import Settings
from pytest_llmbench.runs.context_document import PromiseDocument
from pytest_llmbench.stats.share_interval import share_interval

SHORTEST, LONGEST = 256, 131_072
NOISE, PROMISE_S, QUANTILE, PRECISION = 0.1, 3.0, 0.95, 0.015
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
    parser.add_argument("--dry", action="store_true", help="show the table, write nothing")
    chosen = parser.parse_args()
    result = {"machine": machine(), "repeats": chosen.repeats, "prompts": chosen.prompts}
    for name, part in (
        ("accepted", accepted_rows),
        ("in_time", in_time_rows),
        ("exponents", exponent_rows),
        ("coverage", coverage_rows),
    ):
        result[name] = [_shown(row) for row in part(chosen.repeats, chosen.seed)]
    result["exact"] = [_shown(row) for row in exact_rows(chosen.prompts, chosen.seed)]
    result["over_http"] = [_shown(row) for row in http_rows(chosen.envs)]
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
    """The longest prompt of which 95 % come in 3 s, where each takes its law times noise."""
    promise = PromiseDocument(latency_s=PROMISE_S, quantile=QUANTILE)
    for place, (name, server) in enumerate(SERVERS.items()):
        for noise, most in ((NOISE, 600), (0.02, 60)):
            errors, held, decided, probes = [], 0, 0, []
            for repeat in range(repeats):
                known = KnownContext(limit=LONGEST, noise=noise, seed=1000 * (seed + place) + repeat, **server)
                truth = known.in_time(PROMISE_S, QUANTILE)
                search = InTimeSearch(
                    SimulatedContext(known), PLAIN, promise, (SHORTEST, LONGEST), Effort(most, PRECISION, 1)
                )
                found = asyncio.run(search.find())
                assert found is not None
                errors.append(abs(found.tokens / truth - 1))
                held += found.low <= truth <= (found.high or LONGEST)
                decided += found.decided
                probes.append(found.probes)
            yield {
                "server": name,
                "noise": noise,
                "truth": truth,
                "within_2_percent": sum(error <= 0.02 for error in errors) / repeats,
                "worst_error": round(max(errors), 4),
                "covered": held / repeats,
                "decided": decided / repeats,
                "probes": statistics.median(probes),
            }


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
    parts = [
        (
            f"The longest prompt accepted, {result['repeats']} random limits a line. Bound: 2 log2 of the range.",
            result["accepted"],
        ),
        (
            f"The longest prompt of which {QUANTILE:.0%} come in {PROMISE_S:g} s, to {PRECISION:.1%}.",
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
    if name in ("covered", "decided", "exact", "within_2_percent", "within_10_percent") and isinstance(value, float):
        return f"{value:.1%}"
    return f"{value:,}" if isinstance(value, int) else str(value)


if __name__ == "__main__":
    main()
