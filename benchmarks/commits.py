"""Many commits against one baseline: false alarms and power of gates that are asked again and again.

Every commit of a sequence asks one model, yes-or-no scores, the same cases once; the chances of the cases are easy or
hard, few in between. Everything is judged by the shipped statistics, at alpha 0.05 and margin 0. The lines:

- one fixed baseline over 50 commits: any gate that fails (naive), any that fails and again on fresh answers of both
  sides (confirmed), any at alpha / 50 (Bonferroni), any alarm of the monitor
- a baseline that was the best of five tries, at its first gate, as measured and asked again
- a fall of 15 points, found by one gate of each kind, and by the monitor within 20 commits
- a category that fell whole, and how often categories in doubt keep a gate of equal models from passing

Run it with `python benchmarks/commits.py`; 2,000 sequences take some minutes of one core.
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from measuring import machine, save
from numpy.typing import NDArray

from pytest_llmbench.runs.lost_answers import in_doubt
from pytest_llmbench.stats import Hypothesis, Outcome, judge
from pytest_llmbench.stats.confidence_sequence import drifts
from pytest_llmbench.stats.significance import p_below

ALPHA, COMMITS, TRIES = 0.05, 50, 5
CASES = (100, 300)
FALL = 0.15
WATCHED = 20

Floats = NDArray[np.float64]
Random = np.random.Generator


def main() -> None:
    """Simulate, then write `results/commits.json` and a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sequences", type=int, default=2000)
    chosen = parser.parse_args()
    result: dict[str, Any] = {"machine": machine(), "alpha": ALPHA, "commits": COMMITS}
    for name, measure in (
        ("fixed baseline", fixed),
        ("best of five", luck),
        ("fall", fall),
        ("categories", categories),
    ):
        result[name] = measure(chosen.sequences)
        print(name, result[name], flush=True)
    save("commits", result, "\n".join(_lines(result)))


def fixed(sequences: int) -> list[dict[str, float]]:
    """Any false alarm over all commits."""
    found = []
    for cases in CASES:
        random, alarms = np.random.default_rng(1), dict.fromkeys(("naive", "confirmed", "Bonferroni", "monitor"), 0)
        for _ in range(sequences):
            chances = _chances(random, cases)
            before, *commits = (_asked(random, chances) for _ in range(COMMITS + 1))
            p_values = [_p_worse(before, after) for after in commits]
            failed = [p for p in p_values if p <= ALPHA]
            alarms["naive"] += bool(failed)
            alarms["confirmed"] += any(_fails_again(random, chances, chances) for _ in failed)
            alarms["Bonferroni"] += any(p <= ALPHA / COMMITS for p in p_values)
            alarms["monitor"] += any(one.high < 0 for one in drifts(before, commits, ALPHA))
        found.append(
            {"sequences": sequences, "cases": cases, **{name: count / sequences for name, count in alarms.items()}}
        )
    return found


def luck(sequences: int) -> list[dict[str, float]]:
    """The first gate against the best of five runs of one model."""
    found = []
    for cases in CASES:
        random, as_measured, again = np.random.default_rng(2), 0, 0
        for _ in range(sequences):
            chances = _chances(random, cases)
            best = max((_asked(random, chances) for _ in range(TRIES)), key=lambda run: float(run.mean()))
            after, fresh = _asked(random, chances), _asked(random, chances)
            as_measured += _p_worse(best, after) <= ALPHA
            again += _p_worse(fresh, after) <= ALPHA
        found.append(
            {
                "sequences": sequences,
                "cases": cases,
                "as measured": as_measured / sequences,
                "asked again": again / sequences,
            }
        )
    return found


def fall(sequences: int) -> list[dict[str, float]]:
    """One model that lost `FALL` of all answers: what finds it."""
    found = []
    for cases in CASES:
        random, caught = np.random.default_rng(3), dict.fromkeys(("naive", "confirmed", "Bonferroni", "monitor"), 0)
        for _ in range(sequences):
            chances = _chances(random, cases)
            worse = np.clip(chances - FALL * chances / chances.mean(), 0, 1)
            before, after = _asked(random, chances), _asked(random, worse)
            p_value = _p_worse(before, after)
            caught["naive"] += p_value <= ALPHA
            caught["confirmed"] += p_value <= ALPHA and _fails_again(random, chances, worse)
            caught["Bonferroni"] += p_value <= ALPHA / COMMITS
            since = [after, *(_asked(random, worse) for _ in range(WATCHED - 1))]
            caught["monitor"] += any(one.high < 0 for one in drifts(before, since, ALPHA))
        found.append(
            {"sequences": sequences, "cases": cases, **{name: count / sequences for name, count in caught.items()}}
        )
    return found


def categories(sequences: int) -> list[dict[str, float]]:
    """Gates of equal models that pass over all cases, and the share of them that a category in doubt holds back.

    `by effect` is the share that any fall beyond the margin would hold back.
    """
    found = []
    for cases, count, margin in ((300, 3, 0.05), (300, 10, 0.1), (300, 30, 0.1), (1000, 10, 0.05)):
        random, passed, doubted, fell = np.random.default_rng(4), 0, 0, 0
        for _ in range(sequences):
            chances = _chances(random, cases)
            gains = (_asked(random, chances) - _asked(random, chances))[:, 0]
            if _verdict(*_counts(gains), margin).outcome is not Outcome.PASS:
                continue
            passed += 1
            parts = [gains[place::count] for place in range(count)]
            doubted += any(_in_doubt(*_counts(part), margin) for part in parts)
            fell += any(part.mean() < -margin for part in parts)
        shares = {"passes": passed / sequences, "held back": doubted / passed, "by effect": fell / passed}
        found.append({"sequences": sequences, "cases": cases, "categories": count, "margin": margin, **shares})
    return found


def _chances(random: Random, cases: int) -> Floats:
    """Each case's chance of a right answer."""
    return random.beta(0.7, 0.5, cases)


def _asked(random: Random, chances: Floats) -> Floats:
    return (random.random((len(chances), 1)) < chances[:, None]).astype(float)


def _fails_again(random: Random, before: Floats, after: Floats) -> bool:
    return _p_worse(_asked(random, before), _asked(random, after)) <= ALPHA


def _p_worse(before: Floats, after: Floats) -> float:
    better, worse, cases = _counts((after - before)[:, 0])
    return 1.0 if worse <= better else _p_of_a_fall(better, worse, cases)


def _counts(gains: Floats) -> tuple[int, int, int]:
    return int((gains > 0).sum()), int((gains < 0).sum()), len(gains)


@functools.cache
def _p_of_a_fall(better: int, worse: int, cases: int) -> float:
    return float(p_below(_gains(better, worse, cases)).p_value)


@functools.cache
def _hypothesis(better: int, worse: int, cases: int, margin: float) -> Hypothesis:
    """Yes-or-no scores, asked once: the counts are all there is to know."""
    gains = _gains(better, worse, cases)
    return Hypothesis.once((gains < 0).astype(float), (gains > 0).astype(float), margin)


def _gains(better: int, worse: int, cases: int) -> Floats:
    return np.repeat([1.0, -1.0, 0.0], [better, worse, cases - better - worse])


@functools.cache
def _verdict(better: int, worse: int, cases: int, margin: float) -> Any:
    return judge([_hypothesis(better, worse, cases, margin)], "regression", ALPHA)[0]


@functools.cache
def _in_doubt(better: int, worse: int, cases: int, margin: float) -> bool:
    hypothesis, verdict = (make(better, worse, cases, margin) for make in (_hypothesis, _verdict))
    return in_doubt(_gains(better, worse, cases), hypothesis, verdict, "regression")


def _lines(result: Mapping[str, Any]) -> Iterator[str]:
    yield f"Simulated sequences of commits, alpha {result['alpha']}, yes-or-no scores, margin 0 unless told.\n"
    yield f"## One fixed baseline over {COMMITS} commits of one model: any false alarm\n"
    yield from _table(result["fixed baseline"])
    yield "\n## A baseline that was the best of five tries: false alarms of its first gate\n"
    yield from _table(result["best of five"])
    yield f"\n## A fall of {100 * FALL:g} points: found by one gate, and by the monitor within {WATCHED} commits\n"
    yield from _table(result["fall"])
    yield "\n## Equal models that pass over all cases: held back by a category in doubt\n"
    yield from _table(result["categories"])


def _table(rows: list[dict[str, float]]) -> Iterator[str]:
    counted = ("sequences", "cases", "categories", "margin")
    yield f"| {' | '.join(rows[0])} |\n|{'---|' * len(rows[0])}"
    for row in rows:
        cells = (f"{value:g}" if name in counted else f"{value:.1%}" for name, value in row.items())
        yield f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
