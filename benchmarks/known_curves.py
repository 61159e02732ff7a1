"""Capacity searches on curves that are given, not simulated: how often the interval holds the truth, and the cost.

usage: python benchmarks/known_curves.py [--repeats 100] [--rates 40] [--before COMMIT] [--processes N] [--dry]

Answers are good by chance with the share that the curve has at a level. Where it is not falling (dips, a sawtooth) the
truth is a range: from the last level below the first that is lost, to the last that is held. Cliffs are searched with
the code of another commit too, in the same run. Rates are searched on the open-loop servers of `open_loop.py`.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pytest_llmbench.load.search import SearchPlan, find_capacity
from pytest_llmbench.stats.observation import Observation

SHARE, BUDGET, SURE = 0.95, 2000, 0.95
BEFORE = "f6292ed"
_CLIFF = "cliff"
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Shape:
    """The share of good answers at a level, and the highest level that may be tried."""

    name: str
    share: Callable[[int], float]
    highest: int = 50

    @property
    def truth(self) -> tuple[int, int]:
        """The level before the first that is lost, and the last that is held."""
        held = [self.share(level) >= SHARE - _ROUNDING for level in range(1, self.highest + 1)]
        return held.index(False), len(held) - held[::-1].index(True)


def shapes() -> list[Shape]:
    """What the search is held against."""
    return [
        *(Shape(f"linear {slope:g} a user", _linear(slope), 150 if slope < 0.001 else 50) for slope in _SLOPES),
        *(Shape(f"plateau {share:g} from 11 to 30", _stepped((10, 0.995), (30, share), 0.5)) for share in _PLATEAUS),
        Shape("cliff at 5", _stepped((5, 0.995), 0.6)),
        Shape("cliff at 16", _stepped((16, 0.995), 0.6)),
        Shape("cliff at 40", _stepped((40, 0.995), 0.6)),
        Shape("cliff at 16, stalls 2 %", _stepped((16, 0.98), 0.7)),
        Shape("dip to 0.92 at 8 and 9", lambda level: 0.92 if level in (8, 9) else 0.99 if level <= 20 else 0.6),
        Shape("dip to 0.85 at 12", lambda level: 0.85 if level == 12 else 0.99 if level <= 24 else 0.6),
        Shape("sawtooth 0.985, 0.955", lambda level: (0.955 if level % 4 else 0.985) if level <= 24 else 0.7),
        Shape("sawtooth on a slope", lambda level: max(0.0, 1.0 - 0.002 * level - (0.015 if level % 4 else 0))),
    ]


_SLOPES = (0.002, 0.004, 0.0006)
_PLATEAUS = (0.965, 0.935, 0.92)


def _linear(slope: float) -> Callable[[int], float]:
    return lambda level: max(0.0, 0.995 - slope * level)


def _stepped(*steps: tuple[int, float] | float) -> Callable[[int], float]:
    """(up to this level, this share), ..., the share behind."""

    def share(level: int) -> float:
        for step in steps:
            if not isinstance(step, tuple):
                return step
            if level <= step[0]:
                return step[1]
        raise ValueError(steps)

    return share


def one_search(task: tuple[str, int]) -> dict[str, Any]:
    """The search of this number on the shape of this name."""
    name, repeat = task
    shape = next(one for one in shapes() if one.name == name)
    random, (first, last) = np.random.default_rng([11, repeat]), shape.truth

    async def run(level: int, requests: int) -> Observation:
        messages = -(-requests // level)
        good = random.binomial(messages, shape.share(level), level).tolist()
        groups = tuple((one, messages) for one in good)
        return Observation(level, sum(good), messages * level, groups, messages * level + level)

    found = asyncio.run(find_capacity(run, SearchPlan(SHARE, shape.highest, BUDGET)))
    seen, high = found.capacity, shape.highest if found.capacity.unbounded else found.capacity.high
    return {
        "users": seen.users,
        "covered": seen.low <= last and high >= first,
        "sure above": last < shape.highest and seen.chance_of(last + 1) >= SURE,
        "decided": found.decided,
        "requests": found.sent,
        "told": getattr(found, "contradiction", None) is not None,
    }


def measured(repeats: int, only: str = "", processes: int | None = None) -> list[dict[str, Any]]:
    """One row a shape."""
    chosen = [shape for shape in shapes() if only in shape.name]
    tasks = [(shape.name, repeat) for shape in chosen for repeat in range(repeats)]
    rows = []
    with ProcessPoolExecutor(processes) as pool:
        found = pool.map(one_search, tasks, chunksize=4)
        for shape in chosen:
            rows.append(_row(shape, list(itertools.islice(found, repeats))))
            print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    return rows


def _row(shape: Shape, outcomes: list[dict[str, Any]]) -> dict[str, Any]:
    row: dict[str, Any] = {"shape": shape.name, "truth": list(shape.truth)}
    row["median"] = float(np.median([one["users"] for one in outcomes]))
    row |= {key: float(np.mean([one[key] for one in outcomes])) for key in outcomes[0] if key != "users"}
    return row


def before(commit: str, repeats: int, processes: int | None) -> list[dict[str, Any]]:
    """The rows of cliffs, searched with the code of that commit."""
    root = Path(__file__).resolve().parent.parent
    with tempfile.TemporaryDirectory() as folder:
        archive = subprocess.run(["git", "archive", commit, "src"], cwd=root, check=True, capture_output=True)
        subprocess.run(["tar", "x", "-C", folder], input=archive.stdout, check=True)
        command = [sys.executable, __file__, "--child", "--repeats", str(repeats)]
        command += ["--processes", str(processes)] if processes else []
        environment = {**os.environ, "PYTHONPATH": f"{folder}/src"}
        done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    rows: list[dict[str, Any]] = json.loads(done.stdout)
    return rows


def one_rate(task: tuple[int, int]) -> dict[str, Any]:
    """The search of this number on the open-loop server of this place."""
    import open_loop

    place, repeat = task
    server = open_loop.servers()[place]
    true = open_loop.true_rate(server.slots, server.service_s, server.noise, server.slo)
    found = open_loop.search(server, np.random.default_rng([12, repeat]))
    return {
        "true": true,
        "value": found["value"],
        "covered": found["low"] <= true and (true <= found["high"] or found["unbounded"]),
        "above served": found["value"] > server.most,
        "decided": found["decided"],
        "requests": found["sent"],
    }


def rates(repeats: int, processes: int | None) -> list[dict[str, Any]]:
    """One row an open-loop server."""
    import open_loop

    servers = open_loop.servers()
    tasks = [(place, repeat) for place in range(len(servers)) for repeat in range(repeats)]
    with ProcessPoolExecutor(processes) as pool:
        found = list(pool.map(one_rate, tasks, chunksize=repeats))
    rows = []
    for place, server in enumerate(servers):
        outcomes = found[place * repeats : (place + 1) * repeats]
        row: dict[str, Any] = {"server": server.name, "most": server.most}
        row["value"] = float(np.median([one["value"] for one in outcomes]))
        row |= {key: float(np.mean([one[key] for one in outcomes])) for key in outcomes[0] if key != "value"}
        rows.append(row)
    return rows


def main() -> None:
    """Search, then write `results/known_curves.json` and a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=100)
    parser.add_argument("--rates", type=int, default=40, help="searches of each open-loop server, 0 for none")
    parser.add_argument("--before", default=BEFORE, help="commit whose search is run on the cliffs too")
    parser.add_argument("--processes", type=int, help="as many searches at a time; as many as cores if not given")
    parser.add_argument("--dry", action="store_true", help="show the table, write nothing")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.child:
        print(json.dumps(measured(chosen.repeats, _CLIFF, chosen.processes)))
        return
    result = {"repeats": chosen.repeats, "before": chosen.before, "rates repeats": chosen.rates}
    result["cliffs before"] = before(chosen.before, chosen.repeats, chosen.processes)
    result["shapes"] = measured(chosen.repeats, processes=chosen.processes)
    result["rates"] = rates(chosen.rates, chosen.processes) if chosen.rates else []
    from measuring import machine, save

    result["machine"] = machine()
    print(_table(result)) if chosen.dry else save("known_curves", result, _table(result))


def _table(result: dict[str, Any]) -> str:
    costs = {row["shape"]: row["requests"] for row in result["cliffs before"]}
    about = (
        f"{result['repeats']} searches a line of at most {BUDGET:,} requests for a share of {SHARE}. Covered: the 95 % "
        "interval holds the truth, or meets its range. Surely above: more than the truth is held with a probability of "
        f"0.95 or more. Of before: requests over those of {result['before']}."
    )
    lines = [
        about,
        "",
        "| curve | true | median found | covered | surely above | decided | contradicting | requests | of before |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in result["shapes"]:
        first, last = row["truth"]
        true = f"{first}" if first == last else f"{first} to {last}"
        cost = f"{row['requests'] / costs[row['shape']]:.2f}" if row["shape"] in costs else ""
        shares = [f"{row[key]:.0%}" for key in ("covered", "sure above", "decided", "told")]
        cells = [row["shape"], true, f"{row['median']:g}", *shares, f"{row['requests']:.0f}", cost]
        lines.append(f"| {' | '.join(cells)} |")
    if not result["rates"]:
        return "\n".join(lines)
    lines += [
        "",
        f"Requests a second, {result['rates repeats']} searches a line. Above served: more than it can do.",
        "",
        "| server | can do | true | median found | covered | above served | decided | requests |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in result["rates"]:
        shares = [f"{row[key]:.0%}" for key in ("covered", "above served", "decided")]
        numbers = [f"{row[key]:.2f}" for key in ("most", "true", "value")]
        lines.append(f"| {' | '.join([row['server'], *numbers, *shares])} | {row['requests']:.0f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
