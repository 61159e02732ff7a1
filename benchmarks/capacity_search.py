"""How good the capacity search is: simulated servers whose true capacity is known, beside plain bisection.

usage: python benchmarks/capacity_search.py [--repeats 40] [--truth 200000] [--drawn 100] [--only TEXT] [--dry]

The servers are those of `queueing.py`, simulated event by event, so that 40 searches take seconds. The truth is the
long-run share of good answers with the same arrivals. Contestants ask the same servers: the shipped search; bisection
that gives a level up at the first late answer (the reference's scripts V2 and V3); bisection and a linear sweep that
judge the wanted share by one look of 3 messages a user. Servers drawn at random, whose curves may come close to the
wanted share over many levels, show how far the result can be believed off the beaten track.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import statistics
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from loaded_servers import MOST_DRAWN, Scenario, drawn, roughly, scenarios
from measuring import machine, save
from queueing import Answers, Promise, Random, long_run_share, simulate, warm_up

from pytest_llmbench.load.search import Found, SearchPlan, find_capacity
from pytest_llmbench.load.sequential_test import FEWEST_ANSWERS, decision, design_effect
from pytest_llmbench.load.trial import TrialLimits
from pytest_llmbench.stats.observation import Observation

HIGHEST = 50
LOOK = 3  # messages of a user, in the reference's scripts
_EVERY = 4  # answers between two looks at a trial


@dataclass(frozen=True)
class Outcome:
    """What one search came to."""

    users: int
    requests: int
    covered: bool | None = None
    decided: bool | None = None


def main() -> None:
    """Simulate, then write `results/capacity_search.json` and a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=40)
    parser.add_argument("--truth", type=int, default=200_000, help="simulated answers a level")
    parser.add_argument("--drawn", type=int, default=100, help="servers drawn at random")
    parser.add_argument("--only", default="", help="scenarios whose name has this")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--dry", action="store_true", help="show the table, write nothing")
    chosen = parser.parse_args()
    rows = []
    for scenario in scenarios():
        if chosen.only in scenario.name:
            rows.append(measure(scenario, chosen.repeats, chosen.truth, chosen.seed))
            print(json.dumps(rows[-1]), flush=True)
    result = {"machine": machine(), "repeats": chosen.repeats, "rows": rows}
    result["drawn"] = drawn_servers(chosen.drawn, chosen.seed)
    if chosen.dry:
        print(_table(result))
    else:
        save("capacity_search", result, _table(result))


def measure(scenario: Scenario, repeats: int, truth: int, seed: int) -> dict[str, Any]:
    """The truth around the capacity, and what every contestant makes of the server."""
    near = range(max(1, scenario.capacity - 1), scenario.capacity + 3)
    shares = {users: long_run_share(scenario.server, scenario.promise, users, truth) for users in near}
    held = max(users for users, share in shares.items() if share >= scenario.promise.share)
    assert held == scenario.capacity, f"{scenario.name} holds {held}: {shares}"
    row: dict[str, Any] = {"scenario": scenario.name, "capacity": scenario.capacity, "share": scenario.promise.share}
    row |= {"budget": scenario.budget, "true shares": shares}
    for name, contestant in CONTESTANTS.items():
        started = time.process_time()
        outcomes = [contestant(scenario, np.random.default_rng([seed, repeat])) for repeat in range(repeats)]
        row[name] = _summary(scenario, outcomes) | {"CPU s a search": (time.process_time() - started) / repeats}
    return row


def drawn_servers(count: int, seed: int) -> dict[str, Any]:
    """One search on each of so many random servers that hold fewer than `MOST_DRAWN` users."""
    random, found = np.random.default_rng([seed, 1]), list[tuple[Scenario, Outcome]]()
    while len(found) < count:
        scenario = drawn(random)
        if scenario.capacity < MOST_DRAWN:
            found.append((scenario, ours_stopping(scenario, random)))
    right = [abs(outcome.users - scenario.capacity) <= scenario.room for scenario, outcome in found]
    decided = [is_right for is_right, (_, outcome) in zip(right, found, strict=True) if outcome.decided]
    return {
        "servers": count,
        "within": float(np.mean(right)),
        "covered": float(np.mean([outcome.covered for _, outcome in found])),
        "decided": len(decided) / max(1, count),
        "within, of those decided": float(np.mean(decided)),
        "requests": float(np.mean([outcome.requests for _, outcome in found])),
        "wrong": [
            {
                "true": scenario.capacity,
                "found": outcome.users,
                "decided": outcome.decided,
                "share": scenario.promise.share,
                "true shares": [roughly(scenario, max(1, users)) for users in (scenario.capacity, outcome.users)],
            }
            for is_right, (scenario, outcome) in zip(right, found, strict=True)
            if not is_right
        ],
    }


def ours(scenario: Scenario, random: Random) -> Outcome:
    """The shipped search, each trial held until all its requests are made."""
    return _search(scenario, random, _whole)


def ours_stopping(scenario: Scenario, random: Random) -> Outcome:
    """The shipped search with the shipped trial's early end, once the promise is surely held or broken there."""
    return _search(scenario, random, _until_sure)


def _search(scenario: Scenario, random: Random, held: Callable[[Answers, Promise], tuple[Answers, int]]) -> Outcome:
    promise = scenario.promise

    async def run_trial(level: int, requests: int) -> Observation:
        messages = math.ceil(requests / level) + warm_up(promise)
        counted, sent = held(simulate(scenario.server, promise, level, messages, random), promise)
        return _observed(counted, level, sent)

    plan = SearchPlan(promise.share, HIGHEST, scenario.budget, promise.messages)
    found: Found = asyncio.run(find_capacity(run_trial, plan))
    seen = found.capacity
    return Outcome(seen.users, found.sent, seen.low <= scenario.capacity <= seen.high, found.decided)


def _whole(answers: Answers, promise: Promise) -> tuple[Answers, int]:
    return answers.only(answers.message >= warm_up(promise)), len(answers.good)


def _until_sure(answers: Answers, promise: Promise) -> tuple[Answers, int]:
    """The answers up to where the share is decided, and the requests sent by then."""
    counted, sent = _whole(answers, promise)
    goods = np.cumsum(counted.good).tolist()
    for count in range(FEWEST_ANSWERS, len(goods), _EVERY):
        effect = design_effect(counted.good[:count].tolist(), counted.user[:count].tolist())
        good, bad = goods[count - 1] / effect, (count - goods[count - 1]) / effect
        if decision(good, bad, promise.share, TrialLimits().error_rate):
            known_s = counted.seen_s[:count].max()
            return counted.only(np.arange(len(goods)) < count), int((answers.sent_s <= known_s).sum())
    return counted, sent


def bisection_first_late(scenario: Scenario, random: Random) -> Outcome:
    """The reference's V2 and V3: a level is lost with its first late answer; requests sent until then count."""
    return _bisect(lambda level: _until_first_late(scenario, level, random))


def bisection_one_look(scenario: Scenario, random: Random) -> Outcome:
    """Bisection on the share of one look."""
    return _bisect(lambda level: _one_look(scenario, level, random))


def linear_sweep(scenario: Scenario, random: Random) -> Outcome:
    """One user more each time, until the share of one look is too low."""
    requests = 0
    for level in range(1, HIGHEST + 1):
        held, cost = _one_look(scenario, level, random)
        requests += cost
        if not held:
            return Outcome(level - 1, requests)
    return Outcome(HIGHEST, requests)


CONTESTANTS: dict[str, Callable[[Scenario, Random], Outcome]] = {
    "ours": ours,
    "ours, trials end when sure": ours_stopping,
    "bisection, first late answer": bisection_first_late,
    "bisection, one look": bisection_one_look,
    "linear sweep, one look": linear_sweep,
}


def _observed(counted: Answers, level: int, sent: int) -> Observation:
    total = np.bincount(counted.user, minlength=level)
    good = np.bincount(counted.user, counted.good, level).astype(int)
    groups = tuple(zip(good[total > 0].tolist(), total[total > 0].tolist(), strict=True))
    return Observation(level, int(good.sum()), int(total.sum()), groups, sent)


def _bisect(look: Callable[[int], tuple[bool, int]]) -> Outcome:
    lowest, highest, requests = 1, HIGHEST, 0
    while lowest <= highest:
        level = (lowest + highest) // 2
        held, cost = look(level)
        requests += cost
        lowest, highest = (level + 1, highest) if held else (lowest, level - 1)
    return Outcome(highest, requests)


def _until_first_late(scenario: Scenario, level: int, random: Random) -> tuple[bool, int]:
    answers = simulate(scenario.server, scenario.promise, level, LOOK, random)
    if answers.good.all():
        return True, len(answers.good)
    seen_late_s = answers.sent_s[~answers.good].min() + scenario.promise.limit_s
    return False, int((answers.sent_s < seen_late_s).sum())


def _one_look(scenario: Scenario, level: int, random: Random) -> tuple[bool, int]:
    answers = simulate(scenario.server, scenario.promise, level, LOOK, random)
    return bool(answers.good.mean() >= scenario.promise.share), len(answers.good)


def _summary(scenario: Scenario, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    errors = [outcome.users - scenario.capacity for outcome in outcomes]
    found: dict[str, Any] = {
        "within": statistics.fmean(abs(error) <= scenario.room for error in errors),
        "exact": statistics.fmean(error == 0 for error in errors),
        "requests": statistics.fmean(outcome.requests for outcome in outcomes),
        "most requests": max(outcome.requests for outcome in outcomes),
        "errors": dict(sorted(Counter(errors).items())),
    }
    if outcomes[0].covered is not None:
        found["covered"] = statistics.fmean(bool(outcome.covered) for outcome in outcomes)
        found["decided"] = statistics.fmean(bool(outcome.decided) for outcome in outcomes)
    return found


_HEADINGS = (
    *("server", "true", "share good there, one above", "ours right", "covered", "requests"),
    *("ours, trials end when sure: right", "covered", "requests"),
    *("bisection, first late answer: right", "requests", "bisection, one look: right", "requests"),
    *("linear sweep: right", "requests"),
)


def _table(result: dict[str, Any]) -> str:
    lines = [
        f"{result['repeats']} searches a line, 1 to {HIGHEST} users. Right: within 1 user of the truth (5 % above 20).",
        "Covered: the 95 % interval holds the truth. Requests include warm-up; the most of any search in brackets.",
        "",
        f"| {' | '.join(_HEADINGS)} |",
        f"|{'---|' * len(_HEADINGS)}",
    ]
    for row in result["rows"]:
        true = row["capacity"]
        cells = [row["scenario"], str(true), f"{row['true shares'][true]:.3f}, {row['true shares'][true + 1]:.3f}"]
        for name in CONTESTANTS:
            one = row[name]
            cells.append(f"{one['within']:.1%}")
            cells += [f"{one['covered']:.1%}"] if "covered" in one else []
            cells.append(f"{one['requests']:.0f}" + (f" ({one['most requests']})" if "covered" in one else ""))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", _drawn_sentence(result["drawn"])])


def _drawn_sentence(found: dict[str, Any]) -> str:
    wrong = "; ".join(
        f"{one['found']} for {one['true']} ({one['true shares'][1]:.3f} and {one['true shares'][0]:.3f} good, "
        f"{one['share']} wanted, {'decided' if one['decided'] else 'undecided'})"
        for one in found["wrong"]
    )
    return (
        f"{found['servers']} servers drawn at random, one search each of up to 2,000 requests ({found['requests']:.0f} "
        f"on average), trials end when sure: right {found['within']:.0%}, interval covers {found['covered']:.0%}, "
        f"decided {found['decided']:.0%}, and of those right {found['within, of those decided']:.1%}. "
        f"Wrong: {wrong or 'none'}."
    )


if __name__ == "__main__":
    main()
