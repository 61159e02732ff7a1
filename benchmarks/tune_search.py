"""The search for launch settings on calibrated servers whose best settings are known, beside a random search.

usage: python benchmarks/tune_search.py [--repeats 40] [--confirmations 400] [--processes N] [--dry]

1,296 choices of six settings, one of which holds most users; the next best holds a tenth less. A measurement is off by
3 % (one standard deviation). The random search starts no choice twice, and needs no measurement: it is done when it
starts the best one. Half of its median number of trials is what the search may take, and it is given less. Its winner
is what it measured to be best. The confirmation is repeated on pairs of a known factor, on a machine that drifts.
"""

from __future__ import annotations

import argparse
import random
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from measuring import machine, save

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from support.calibrated_launcher import BEST, CalibratedLauncher, calibrated_space, true_users

from pytest_llmbench.context.tuning.search import winner
from pytest_llmbench.context.tuning.study import study_in_memory
from pytest_llmbench.stats.paired_ratio import Measurement, paired_ratio

TRIALS = 100
_FACTORS = (1.0, 1.3, 2.0)
_ROUNDS = (3, 4, 6)


def main() -> None:
    """Search, and save what came out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=40)
    parser.add_argument("--confirmations", type=int, default=400, help="of each factor and number of rounds")
    parser.add_argument("--processes", type=int, help="as many searches at a time; as many as cores if not given")
    parser.add_argument("--dry", action="store_true", help="show the table, write nothing")
    chosen = parser.parse_args()
    searches = []
    with ProcessPoolExecutor(chosen.processes) as pool:
        for found in pool.map(_search, range(chosen.repeats)):
            searches.append(found)
            print(found, file=sys.stderr, flush=True)
    by_chance = [_by_chance(seed) for seed in range(1000)]
    result = {
        "machine": machine(),
        "trials": TRIALS,
        "random_median": float(np.median(by_chance)),
        "random_within": float(np.mean([taken <= TRIALS for taken in by_chance])),
        "searches": searches,
        "confirmations": [
            _confirmed(factor, rounds, chosen.confirmations) for factor in _FACTORS for rounds in _ROUNDS
        ],
    }
    print(_table(result)) if chosen.dry else save("tune_search", result, _table(result))


def _search(seed: int) -> dict[str, Any]:
    """One search; `found` is the trial that started the best settings, None where none did."""
    launcher = CalibratedLauncher(seed=seed)
    study, best = study_in_memory(launcher.space, TRIALS, seed), dict(BEST)
    launcher.tuner().search(study, TRIALS, None)
    won = winner(study.trials).settings
    return {
        "found": next((one.number for one in study.trials if one.settings == best), None),
        "won": won == best,
        "ended_early": sum(one.outcome == "surely_worse" for one in study.trials),
        "users": true_users(launcher.space.candidate(won)),
    }


def _by_chance(seed: int) -> int:
    """After how many trials a random search has started the best settings."""
    size = calibrated_space().size
    return random.Random(seed).sample(range(size), size).index(0) + 1  # noqa: S311  # an order, not a secret


def _confirmed(factor: float, rounds: int, repeats: int) -> dict[str, Any]:
    draw = np.random.default_rng([7, rounds, round(10 * factor)])
    found = [paired_ratio(_pairs(draw, factor, rounds)) for _ in range(repeats)]
    return {
        "factor": factor,
        "rounds": rounds,
        "covered": float(np.mean([one.low <= factor <= one.high for one in found])),
        "called_better": float(np.mean([one.low > 1 for one in found])),
        "width": float(np.median([one.high / one.low for one in found])),
    }


def _pairs(draw: np.random.Generator, factor: float, rounds: int) -> list[tuple[Measurement, Measurement]]:
    """What both hold while the machine drifts by 20 %, each measured within 8 %, half of which the search knows of."""
    pairs = []
    for _ in range(rounds):
        drift = 10 * float(np.exp(0.2 * draw.standard_normal()))
        before, after = (mean * float(np.exp(0.08 * draw.standard_normal())) for mean in (drift, factor * drift))
        pairs.append((Measurement(before, 0.04 * before), Measurement(after, 0.04 * after)))
    return pairs


def _table(result: dict[str, Any]) -> str:
    searches = result["searches"]
    taken = [one["found"] or result["trials"] + 1 for one in searches]
    won = sum(one["won"] for one in searches)
    lines = [
        f"1,296 choices, measurements off by 3 %; {len(searches)} searches of {result['trials']} trials.",
        "",
        "| search | trials until the best was started: median | most | found, and told as the winner |",
        "|---|---|---|---|",
        f"| llmbench tune | {np.median(taken):g} | {max(taken)} | {won} of {len(searches)} |",
        (
            f"| random | {result['random_median']:g} | | started within {result['trials']} trials: "
            f"{result['random_within']:.0%} |"
        ),
        "",
        f"Trials ended early, as surely worse: {np.mean([one['ended_early'] for one in searches]):.0f} on average.",
        "",
        "The confirmation, on a machine that drifts by 20 % between rounds:",
        "",
        "| true factor | rounds | interval holds it | called better | upper end over lower end |",
        "|---|---|---|---|---|",
    ]
    for one in result["confirmations"]:
        shares = f"{one['covered']:.1%} | {one['called_better']:.1%}"
        lines.append(f"| {one['factor']:g} | {one['rounds']} | {shares} | {one['width']:.2f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
