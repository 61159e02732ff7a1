"""The lines of an audit of verdicts, asked of the `pytest_llmbench` that is imported; `verdicts.py` asks two.

usage: verdict_lines.py OUTPUT.json [--gates 2000]

Yes-or-no scores are enumerated: what a gate says depends on how many cases got better and worse, and the chance of that
is known, through `compare_runs` or the p-values beneath it. Other lines are simulated, and judged by those p-values.
"""

from __future__ import annotations

import argparse
import functools
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from pytest_llmbench.runs.baseline import Comparable
from pytest_llmbench.runs.gate import compare_runs
from pytest_llmbench.stats.significance import p_above, p_below

try:
    from pytest_llmbench.stats.answers import SideScores, paired
except ImportError:  # the source before the audit asks means of cases
    paired = None  # type: ignore[assignment]

Floats = NDArray[np.float64]
Random = np.random.Generator

ALPHA, MARGIN = 0.05, 0.05
MARGIN_SIZES = (5, 10, 20, 30, 50, 100, 200, 300)
DETECTABLE_SIZES = (30, 50, 100, 200, 300)
ROUNDING = 1e-5
UNLIKELY = 1e-3  # of how many cases change
CHURNS = (0.005, 0.01, 0.02, 0.04, 0.08, 0.16)
POWER_SIZES = (10, 20, 30, 50, 100)
FALLS = ((0, 0.05), (0, 0.1), (0.02, 0.1), (0.1, 0.1), (0.1, 0.15), (0.3, 0.15), (0.3, 0.3), (0, 0.3))


def main() -> None:
    """Ask every line, and write them to a file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("--gates", type=int, default=2000)
    parser.add_argument("--lines", nargs="*", help="those whose names begin so")
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
        if chosen.lines and not name.startswith(tuple(chosen.lines)):
            continue
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
    """The true power of the fall that is called detectable, exactly, where so many of the cases change anyway.

    `power` is of the fall that is told where as many change as are expected, `on average` over all that may change.
    """
    found = []
    for cases in DETECTABLE_SIZES:
        for churn in CHURNS:
            likely = stats.binom.pmf(np.arange(cases + 1), cases, churn)
            powers = {
                changed: _power_of_told(cases, churn, changed)
                for changed in {round(churn * cases), *np.nonzero(likely > UNLIKELY)[0].tolist()}
            }
            told, power = powers[round(churn * cases)]
            known = [(likely[changed], one) for changed, (_, one) in powers.items() if one is not None]
            average = sum(chance * one for chance, one in known) / sum(chance for chance, _ in known)
            found.append(
                {"cases": cases, "churn": churn, "detectable": told, "power": power, "on average": float(average)}
            )
    return found


def _power_of_told(cases: int, churn: float, changed: int) -> tuple[float | None, float | None]:
    """The fall that is called detectable where so many changed, and its true power where a share of `churn` does."""
    told = _detectable(cases, changed)
    if told is None:
        return None, None
    return told, _power(cases, ALPHA, churn / 2, min(1 - churn / 2, churn / 2 + told))


@functools.cache
def _detectable(cases: int, changed: int) -> float | None:
    told: float | None = _yes_or_no(cases, changed // 2, changed - changed // 2, 0.0)["detectable"]
    return told


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
    """Baseline and run asked so often: false fails and false claims of better of equal models, and falls found.

    With a margin the fall is the margin itself, and what is told is how often it passes.
    """
    equal: Mapping[str, Callable[[Random, int], Floats]] = {
        "most hard: 0.04": lambda _, cases: np.full((cases, 1), 0.04),
        "most easy: 0.96": lambda _, cases: np.full((cases, 1), 0.96),
        "0.85 to 1": lambda random, cases: random.uniform(0.85, 1.0, (cases, 1)),
        "beta(0.7, 0.5)": lambda random, cases: random.beta(0.7, 0.5, (cases, 1)),
    }
    found = []
    for epochs in ((30, 5, 1), (100, 5, 1)):
        for name, draw in equal.items():
            found.append(_of_epochs(name, epochs) | _told_of_epochs(gates, epochs, draw, 0.0, ("fail", "better")))
    for epochs in ((30, 1, 1), (30, 5, 1), (30, 1, 5)):
        told = _told_of_epochs(gates, epochs, lambda _, cases: np.full((cases, 1), 0.8), 0.15, ("fail",))
        found.append(_of_epochs("0.80 to 0.65", epochs) | {"found": told["fail"]})
    for chance, epochs in ((0.99, (30, 5, 1)), (0.9, (30, 5, 1)), (0.9, (30, 1, 5))):
        at = np.full((epochs[0], 1), chance)
        told = _told_of_epochs(gates, epochs, lambda *_, at=at: at, MARGIN, ("passes",))
        found.append(_of_epochs(f"{chance:.2f}, margin lost", epochs) | told)
    return found


def _of_epochs(name: str, epochs: tuple[int, int, int]) -> dict[str, Any]:
    row: dict[str, Any] = dict(zip(("cases", "epochs before", "epochs after"), epochs, strict=True))
    return {"chances": name} | row | dict.fromkeys(("fail", "better", "found", "passes"))


def _told_of_epochs(
    gates: int,
    epochs: tuple[int, int, int],
    draw: Callable[[Random, int], Floats],
    fall: float,
    asked: Sequence[str],
) -> dict[str, float]:
    """How often each is told; `passes` is of a gate with the margin, the others of gates without."""
    cases, before, after = epochs
    random, told = np.random.default_rng(21), dict.fromkeys(asked, 0)
    for _ in range(gates):
        chance = draw(random, cases)
        earlier = (random.random((cases, before)) < chance).astype(float)
        later = (random.random((cases, after)) < chance - fall).astype(float)
        for one in asked:
            sides = (later, earlier) if one == "fail" else (earlier, later)
            told[one] += _shown(*sides, null=-MARGIN if one == "passes" else 0.0)
    return {one: count / gates for one, count in told.items()}


def _changes(before: Floats, after: Floats, groups: Any = None) -> Any:
    """The changes of (cases, epochs) scores, as the source judges them."""
    if paired is None:
        return after.mean(axis=1) - before.mean(axis=1)
    return paired(SideScores.of_table(before), SideScores.of_table(after), groups).changes


def _shown(before: Floats, after: Floats, groups: Any = None, null: float = 0.0, level: float = ALPHA) -> bool:
    """Whether "the mean change is above `null`" is shown at this level.

    Both sources ask Student's test too, unless all changes are of one size, and are never surer than that: where it
    does not show it, they are not asked.
    """
    means = after.mean(axis=1) - before.mean(axis=1)
    sizes = np.abs(means[np.abs(means) > ROUNDING])
    if groups is None and len(sizes) and np.ptp(sizes) > ROUNDING:
        error = means.std(ddof=1) / len(means) ** 0.5
        if error > 0 and special.stdtr(len(means) - 1, -(means.mean() - null) / error) > level:
            return False
    return bool(p_above(_changes(before, after, groups), null).p_value <= level)


def _worse(before: Floats, after: Floats, groups: Any = None, level: float = ALPHA) -> bool:
    return _shown(after, before, groups, level=level)


def power_of_shares(gates: int) -> list[dict[str, Any]]:
    """Scores that are thirds, fifths, or means of three yes-or-no epochs: false fails, and falls found, of 30 cases."""
    kinds: Mapping[str, tuple[int, Callable[[Random], Floats], float]] = {
        "thirds, most right": (3, lambda random: random.beta(4, 0.5, 30), 0.12),
        "thirds, few change": (3, lambda random: np.where(random.random(30) < 0.85, 1.0, 0.5), 0.08),
        "fifths": (5, lambda random: random.beta(2, 1, 30), 0.12),
        "three epochs": (3, lambda random: random.beta(0.3, 0.3, 30), 0.12),
    }
    found = [_all_change(gates, cases) for cases in (12, 20, 30)]
    for name, (parts, draw, fall) in kinds.items():
        random, told = np.random.default_rng(22), np.zeros(2)
        for _ in range(gates):
            chance = draw(random)
            before, same = (random.binomial(parts, chance) / parts for _ in range(2))
            worse = random.binomial(parts, np.clip(chance - fall, 0, 1)) / parts
            told += [_worse(before[:, None], after[:, None]) for after in (same, worse)]
        found.append({"scores": name, "fail": float(told[0] / gates), "found": float(told[1] / gates)})
    return found


def _all_change(gates: int, cases: int) -> dict[str, Any]:
    """Every case changes by a fifth, every second one by two, either way as likely."""
    random, told = np.random.default_rng(25), 0
    before = np.full((cases, 1), 0.4)
    for _ in range(gates):
        change = np.resize([0.2, 0.4], (cases, 1)) * random.choice([-1.0, 1.0], (cases, 1))
        told += _worse(before, np.round(before + change, 6))
    return {"scores": f"fifths, all of {cases} change", "fail": told / gates, "found": None}


def groups(gates: int) -> list[dict[str, Any]]:
    """Ten templates of ten paraphrases, whose answers are alike: false fails, and a fall of 40 points found."""
    found = []
    for alike in (0.0, 0.3, 0.7, 1.0):
        random, told = np.random.default_rng(23), np.zeros(2)
        for _ in range(gates):
            before, same, worse = (_paraphrases(random, alike, chance) for chance in (0.7, 0.7, 0.3))
            told += [_worse(before, after, np.repeat(np.arange(10), 10)) for after in (same, worse)]
        found.append({"correlation": alike, "fail": float(told[0] / gates), "found": float(told[1] / gates)})
    return found


def families(gates: int) -> list[dict[str, Any]]:
    """Two samples of one model, judged in three metrics and several categories at once: any false fail."""
    found = []
    for cases, categories in ((60, 3), (120, 6)):
        random, told = np.random.default_rng(24), 0
        for _ in range(gates):
            chance = random.beta(0.7, 0.5, cases)
            before, after = (_answers(random, chance) for _ in range(2))
            told += _any_fails(before, after, categories)
        found.append({"cases": cases, "questions": len(before) * (1 + categories), "fail": told / gates})
    return found


def _any_fails(before: Mapping[str, Floats], after: Mapping[str, Floats], categories: int) -> bool:
    """Whether Holm's procedure rejects any: nine tenths of alpha are of the metrics, the rest of their categories."""
    wholes = ALPHA * 0.9 / len(before)
    parts = ALPHA * 0.1 / len(before) / categories
    return any(
        _worse(before[metric], after[metric], level=wholes)
        or any(
            _worse(before[metric][one::categories], after[metric][one::categories], level=parts)
            for one in range(categories)
        )
        for metric in before
    )


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
    guesses = iter(_guesses(moved, level))
    while high - low > 1:
        guess = next(guesses, 0)
        worse = guess if low < guess < high else (low + high) // 2
        shown = p_below(np.repeat([-1.0, 1.0, 0.0], [worse, moved - worse, cases - moved])).p_value <= level
        low, high = (low, worse) if shown else (worse, high)
    return high


def _guesses(moved: int, level: float) -> tuple[int, int, int]:
    """About where the least is: one that is not enough, one that is, and one more."""
    middle = round(moved / 2 + stats.norm.isf(level) * moved**0.5 / 2)
    return middle, middle + 1, middle - 1


def _gate(before: Floats, after: Floats, margin: float) -> dict[str, Any]:
    sides = (_run(scores) for scores in (before, after))
    return compare_runs(*sides, kind="regression", alpha=ALPHA, metrics=["score"], margins={"score": margin})


def _run(scores: Floats) -> Comparable:
    """A run with these scores, one of each case."""
    rows = [
        {
            "case": f"c{case}",
            "category": "one",
            "group": None,
            "epoch": 0,
            "prompt_sha": "",
            "scores": {"score": {"finetuned": score}},
        }
        for case, score in enumerate(scores[:, 0].tolist())
    ]
    return Comparable("simulated", {"variants": ["base", "finetuned"]}, rows)  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
