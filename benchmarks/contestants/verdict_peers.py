"""From how many worse cases on two peers call a regression, of yes-or-no scores; in an environment that has them.

usage: verdict_peers.py OUTPUT.json CASES...    (evalsig, evalstats and pandas installed)

For each number of cases that moved at all, the least that must have become worse; one more than there are where none
is enough. evalsig is asked as its own gate asks (one-sided), evalstats as `compare_models` answers (two-sided,
McNemar).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import evalsig
import evalstats
import numpy as np
import pandas

ALPHA = 0.05


def scores(cases: int, moved: int, worse: int) -> tuple[np.ndarray, np.ndarray]:
    """Before and after: half of those that did not move are right."""
    before, after = np.zeros((2, cases))
    before[:worse], after[worse:moved] = 1, 1
    before[moved::2] = after[moved::2] = 1
    return before, after


def by_evalsig(before: np.ndarray, after: np.ndarray) -> bool:
    """Whether the earlier answers are better, asked one-sided."""
    runs = [
        evalsig.RunFrame(
            name, name, "task", "right", [evalsig.ItemResult(f"c{n}", float(x)) for n, x in enumerate(side)]
        )
        for name, side in (("after", after), ("before", before))
    ]
    return evalsig.compare(*runs, one_sided=True, alpha=ALPHA).p_value <= ALPHA


def by_evalstats(before: np.ndarray, after: np.ndarray) -> bool:
    """Whether its table of pairs shows a difference, and the later answers are worse."""
    rows = [
        {"model": name, "item": f"c{number}", "score": float(score)}
        for name, side in (("before", before), ("after", after))
        for number, score in enumerate(side)
    ]
    compared = evalstats.compare_models(evalstats.load_from(pandas.DataFrame(rows)), alpha=ALPHA, omnibus=False)
    pair = next(iter(compared.pairwise.results.values()))
    return bool(pair.p_value <= ALPHA and after.sum() < before.sum())


def least_worse(judge: Callable[[np.ndarray, np.ndarray], bool], cases: int, moved: int) -> int:
    """Found by halving: more worse cases are never less of a regression."""
    low, high = moved // 2, moved + 1
    while high - low > 1:
        worse = (low + high) // 2
        low, high = (low, worse) if judge(*scores(cases, moved, worse)) else (worse, high)
    return high


found = {
    name: {str(cases): [least_worse(judge, cases, moved) for moved in range(1, min(cases, 60) + 1)] for cases in sizes}
    for sizes in [[int(size) for size in sys.argv[2:]]]
    for name, judge in (("evalsig", by_evalsig), ("evalstats", by_evalstats))
}
Path(sys.argv[1]).write_text(json.dumps(found), encoding="utf-8")
