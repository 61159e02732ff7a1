"""The lines of an audit of verdicts, asked of the `pytest_llmbench` that is imported; `verdicts.py` asks two.

usage: verdict_lines.py OUTPUT.json [--gates 2000]

Yes-or-no scores are enumerated: what a gate says depends on how many cases got better and worse, and the chance of that
is known. Other lines are simulated. Everything goes through `compare_runs`, or, where many levels are asked of the same
data, through the p-values beneath it.
"""

from __future__ import annotations

import argparse
import functools
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from pytest_llmbench.gate import compare_runs
from pytest_llmbench.reports.baseline import Comparable
from pytest_llmbench.stats.significance import p_below

Floats = NDArray[np.float64]
Random = np.random.Generator

ALPHA, MARGIN = 0.05, 0.05
MARGIN_SIZES = (5, 10, 20, 30, 50, 100, 200, 300)
CHURNS = (0.005, 0.01, 0.02, 0.04, 0.08, 0.16)
POWER_SIZES = (10, 20, 30, 50, 100)
FALLS = ((0, 0.05), (0, 0.1), (0.02, 0.1), (0.1, 0.1), (0.1, 0.15), (0.3, 0.15), (0.3, 0.3), (0, 0.3))


def main() -> None:
    """Ask every line, and write them to a file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("--gates", type=int, default=2000)
    chosen = parser.parse_args()
    result: dict[str, Any] = {}
    for name, measure in (
        ("margin", at_a_margin),
        ("detectable", detectable),
        ("power, yes-or-no", power_of_yes_or_no),
        ("unequal epochs", lambda: unequal_epochs(chosen.gates)),
        ("power, shares", lambda: power_of_shares(chosen.gates)),
        ("groups", lambda: groups(chosen.gates)),
        ("families", lambda: families(chosen.gates)),
    ):
        started = time.perf_counter()
        result[name] = measure()
        print(name, f"{time.perf_counter() - started:.0f} s", flush=True)
        chosen.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def at_a_margin() -> list[dict[str, Any]]:
    """How often a margin of 5 points is passed, exactly: where a share of the cases is lost, and nothing gained."""
    found = []
    for cases in MARGIN_SIZES:
        passed: list[int] = []
        for lost in range(cases + 1):
            if _yes_or_no(cases, 0, lost, MARGIN)["outcome"] == "pass":
                passed.append(lost)
            elif lost > len(passed) + 2:  # none passes that lost more
                break
        row: dict[str, Any] = {"cases": cases, "most lost that passes": max(passed, default=None)}
        found.append(
            row | {f"{share:.0%} lost": float(stats.binom.pmf(passed, cases, share).sum()) for share in (0.05, 0.01)}
        )
    return found


def detectable() -> list[dict[str, Any]]:
    """The true power of the fall that is called detectable, exactly, where so many of the cases change anyway."""
    found = []
    for cases in (30, 100, 300):
        for churn in CHURNS:
            changed = round(churn * cases)
            better = changed // 2
            told = _yes_or_no(cases, better, changed - better, 0.0)["detectable"]
            power = None if told is None else _power(cases, ALPHA, churn / 2, min(1 - churn / 2, churn / 2 + told))
            found.append({"cases": cases, "churn": churn, "detectable": told, "power": power})
    return found


def power_of_yes_or_no() -> list[dict[str, Any]]:
    """How often falls are found, exactly: (churn, fall), at the level of one question and of one among several."""
    return [
        {
            "cases": cases,
            "level": level,
            "size": max(_power(cases, level, share / 2, share / 2) for share in np.linspace(0.002, 1, 500).tolist()),
            **{f"{churn:.0%} + {fall:.0%}": _power(cases, level, churn / 2, churn / 2 + fall) for churn, fall in FALLS},
        }
        for cases in POWER_SIZES
        for level in (ALPHA, 0.015)
    ]


def unequal_epochs(gates: int) -> list[dict[str, Any]]:
    """Baseline and run asked so often: false fails, false claims of better, and a fall of 20 points found."""
    found = []
    for cases, before, after in ((30, 1, 1), (30, 5, 1), (30, 1, 5), (30, 3, 1), (100, 5, 1)):
        random, told = np.random.default_rng(21), np.zeros(3)
        for _ in range(gates):
            chance = random.uniform(0.85, 1.0, (cases, 1))
            five = (random.random((cases, before)) < chance).astype(float)
            same, worse = ((random.random((cases, after)) < chance - fall).astype(float) for fall in (0.0, 0.2))
            told[0] += _gate(five, same)["outcome"] == "fail"
            told[1] += _gate(five, same, kind="improvement")["outcome"] == "pass"
            told[2] += _gate(five, worse)["outcome"] == "fail"
        row = {"cases": cases, "epochs before": before, "epochs after": after}
        found.append(row | dict(zip(("fail", "better", "found"), (told / gates).tolist(), strict=True)))
    return found


def power_of_shares(gates: int) -> list[dict[str, Any]]:
    """Scores that are thirds, fifths, or means of three yes-or-no epochs: false fails, and falls found, of 30 cases."""
    kinds: Mapping[str, tuple[int, Callable[[Random], Floats], float]] = {
        "thirds, most right": (3, lambda random: random.beta(4, 0.5, 30), 0.12),
        "thirds, few change": (3, lambda random: np.where(random.random(30) < 0.85, 1.0, 0.5), 0.08),
        "fifths": (5, lambda random: random.beta(2, 1, 30), 0.12),
        "three epochs": (3, lambda random: random.beta(0.3, 0.3, 30), 0.12),
    }
    found = []
    for name, (parts, draw, fall) in kinds.items():
        random, told = np.random.default_rng(22), np.zeros(2)
        for _ in range(gates):
            chance = draw(random)
            before, same = (random.binomial(parts, chance) / parts for _ in range(2))
            worse = random.binomial(parts, np.clip(chance - fall, 0, 1)) / parts
            told += [_gate(before[:, None], after[:, None])["outcome"] == "fail" for after in (same, worse)]
        found.append({"scores": name, "fail": told[0] / gates, "found": told[1] / gates})
    return found


def groups(gates: int) -> list[dict[str, Any]]:
    """Ten templates of ten paraphrases, whose answers are alike: false fails, and a fall of 40 points found."""
    found = []
    for alike in (0.0, 0.3, 0.7, 1.0):
        random, told = np.random.default_rng(23), np.zeros(2)
        for _ in range(gates):
            before, same, worse = (_paraphrases(random, alike, chance) for chance in (0.7, 0.7, 0.3))
            told += [_gate(before, after, templates=10)["outcome"] == "fail" for after in (same, worse)]
        found.append({"correlation": alike, "fail": told[0] / gates, "found": told[1] / gates})
    return found


def families(gates: int) -> list[dict[str, Any]]:
    """Two samples of one model, judged in several metrics and categories at once: any false fail, any false better."""
    found = []
    for cases, metrics, categories in ((60, 3, 3), (120, 3, 6)):
        random, told = np.random.default_rng(24), np.zeros(2)
        for _ in range(gates):
            chance = random.beta(0.7, 0.5, cases)
            before, after = (_answers(random, chance) for _ in range(2))
            runs = [_run(dict(list(side.items())[:metrics]), categories) for side in (before, after)]
            asked: Any = {"alpha": ALPHA, "metrics": list(before)[:metrics]}
            told[0] += compare_runs(*runs, kind="regression", **asked)["outcome"] == "fail"
            told[1] += compare_runs(*runs, kind="improvement", **asked)["outcome"] == "pass"
        questions = metrics * (1 + (categories if categories > 1 else 0))
        found.append({"cases": cases, "questions": questions, "fail": told[0] / gates, "better": told[1] / gates})
    return found


def _answers(random: Random, chance: Floats) -> dict[str, Floats]:
    return {
        "tool_accuracy": (random.random((len(chance), 1)) < chance[:, None]).astype(float),
        "keywords": random.binomial(3, chance)[:, None] / 3,
        "relevance": np.clip(random.normal(chance, 0.25), 0, 1)[:, None],
    }


def _paraphrases(random: Random, alike: float, chance: float) -> Floats:
    """(100, 1) answers: so correlated within ten templates."""
    shared = np.repeat(random.random(10), 10)
    own = random.random(100)
    return (np.where(random.random(100) < alike**0.5, shared, own) < chance).astype(float)[:, None]


def _yes_or_no(cases: int, better: int, worse: int, margin: float) -> dict[str, Any]:
    before = np.ones((cases, 1))
    after = before.copy()
    before[worse : worse + better] = 0
    after[:worse] = 0
    verdict: dict[str, Any] = _gate(before, after, margin)["verdicts"][0]
    return verdict


def _power(cases: int, level: float, better: float, worse: float) -> float:
    """The chance that a fall is shown at this level, of yes-or-no scores of which such shares get better and worse."""
    chances = stats.binom.pmf(np.arange(cases + 1), cases, min(1.0, better + worse))
    moved = 1 + np.nonzero(chances[1:] > 1e-8)[0]
    reject, chances = np.array([least_worse(cases, count, level) for count in moved.tolist()]), chances[moved]
    return float(chances @ stats.binom.sf(reject - 1, moved, worse / (better + worse)))


@functools.cache
def least_worse(cases: int, moved: int, level: float) -> int:
    """How many of those that moved must be worse, that a fall is shown; one more than there are where none shows it."""
    low, high = moved // 2, moved + 1
    while high - low > 1:
        worse = (low + high) // 2
        shown = p_below(np.repeat([-1.0, 1.0, 0.0], [worse, moved - worse, cases - moved])).p_value <= level
        low, high = (low, worse) if shown else (worse, high)
    return high


def _gate(
    before: Floats, after: Floats, margin: float = 0.0, kind: Any = "regression", templates: int | None = None
) -> dict[str, Any]:
    sides = (_run({"score": scores}, 1, templates) for scores in (before, after))
    return compare_runs(*sides, kind=kind, alpha=ALPHA, metrics=["score"], margins={"score": margin})


def _run(scores: Mapping[str, Floats], categories: int, templates: int | None = None) -> Comparable:
    """A run with these scores, (cases, epochs) of each metric; with `templates`, cases of one are a group."""
    cases, epochs = next(iter(scores.values())).shape
    lists = {metric: values.tolist() for metric, values in scores.items()}
    rows = [
        {
            "case": f"c{case}",
            "category": f"k{case % categories}",
            "group": None if templates is None else f"t{case * templates // cases}",
            "epoch": epoch,
            "prompt_sha": "",
            "scores": {metric: {"finetuned": values[case][epoch]} for metric, values in lists.items()},
        }
        for case in range(cases)
        for epoch in range(epochs)
    ]
    return Comparable("simulated", {"variants": ["base", "finetuned"]}, rows)  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
