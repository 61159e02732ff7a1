"""The analysis of a context run on servers that are known: laws of the first token, and shares of facts found.

usage: python benchmarks/context_analysis.py [--repeats 100] [--processes N] [--dry]

Times have noise in proportion to themselves. A law is right where its exponent is within a tenth of the truth; an
interval covers where it holds the truth. Facts are found by chance, with a share that length and depth give.
"""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from measuring import machine, save

from pytest_llmbench.stats.cost_law import CostLaw, Estimated, cost_law
from pytest_llmbench.stats.share_interval import share_interval

DOUBLED = (256, 512, 1024, 2048, 4096, 8192, 16384)
UNEVEN = (300, 700, 1500, 3000, 5000, 9000, 15000)
LENGTHS = {"doubled": DOUBLED, "uneven": UNEVEN}
PROMPTS = (6, 30)
"""At each length: few, and as many as a test sends by default (five depths, three kinds of question, two languages)."""


@dataclass(frozen=True)
class Known:
    """A law `constant + per_token * n + per_pair * n ** 2`, in whole pieces of `step` tokens where there is one."""

    name: str
    constant: float
    per_token: float
    per_pair: float
    step: int | None
    exponent: float | None

    def seconds(self, tokens: float) -> float:
        """The time to the first token."""
        read = math.ceil(tokens / self.step) * self.step if self.step else tokens
        return self.constant + self.per_token * read + self.per_pair * read**2


LAWS = (
    Known("constant", 0.05, 0, 0, None, None),
    Known("linear", 0.02, 1e-4, 0, None, 1),
    Known("linear, no constant", 0, 1e-4, 0, None, 1),
    Known("quadratic", 0.05, 0, 3e-8, None, 2),
    Known("linear and quadratic, knee at 4,000", 0.05, 1e-4, 2.5e-8, None, None),
    Known("pieces of 512", 0.02, 1e-4, 0, 512, 1),
    Known("pieces of 2,048", 0.02, 1e-4, 0, 2048, 1),
)


@dataclass(frozen=True)
class Setup:
    """A line of the table."""

    law: Known
    lengths: str
    prompts: int
    noise: float

    def fitted(self, seed: int) -> CostLaw:
        """The law of one simulated run."""
        sizes = np.repeat(np.array(LENGTHS[self.lengths], dtype=float), self.prompts)
        noise = np.random.default_rng(seed).normal(0, self.noise, len(sizes))
        found = cost_law(sizes, np.array([self.law.seconds(size) for size in sizes]) * np.exp(noise))
        assert found is not None
        return found


def law_row(setup: Setup, found: Sequence[CostLaw]) -> dict[str, Any]:
    """How often the parts, the exponent, the knee and the step were what they are."""
    law = setup.law
    knee = law.per_token / law.per_pair if law.per_token and law.per_pair else None
    row: dict[str, Any] = {"law": law.name, "lengths": setup.lengths, "prompts": setup.prompts, "noise": setup.noise}
    if law.exponent is not None:
        off = [None if one.exponent is None else abs(one.exponent.value / law.exponent - 1) for one in found]
        row["exponent within 10 %"] = share(one is not None and one <= _NEAR for one in off)
        row["exponent covered"] = share(_holds(one.exponent, law.exponent) for one in found)
    row["constant"] = share(_holds(one.constant, law.constant) for one in found)
    row["linear"] = share(_holds(one.per_unit, law.per_token) for one in found)
    row["quadratic"] = share(_holds(one.per_unit_squared, law.per_pair) for one in found)
    if knee is None:
        row["knee told"] = share(one.knee is not None for one in found)
    else:
        row["knee covered"] = share(_holds(one.knee, knee) for one in found)
    return row | {"step": share(one.step == law.step for one in found)}


def _holds(one: Estimated | None, truth: float) -> bool:
    return one is not None and one.low <= truth <= one.high


def share(flags: Iterable[bool]) -> float:
    """Of those that are true."""
    return float(np.mean([bool(flag) for flag in flags]))


def shares_row(repeats: int, prompts: int, facts: int, alike: float) -> dict[str, Any]:
    """How often the interval of a length and depth held the share that was true there."""
    draw, held = np.random.default_rng(3), []
    for length, depth in [(length, depth) for length in _ENDS for depth in _ENDS] * repeats:
        truth = falling(length, depth)
        together = draw.random(prompts) < alike
        found = np.where(together, facts * (draw.random(prompts) < truth), draw.binomial(facts, truth, prompts))
        one = share_interval(found.tolist(), [facts] * prompts)
        held.append(one.low <= truth <= one.high)
    return {"prompts a cell": prompts, "facts a prompt": facts, "alike": alike, "covered": share(held)}


_NEAR = 0.1
_ENDS = (0.0, 0.5, 1.0)


def falling(length: float, depth: float) -> float:
    """Less in the middle of long prompts."""
    return 0.97 - 0.6 * length * (1 - abs(2 * depth - 1))


def main() -> None:
    """Simulate, and write the tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=100)
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--dry", action="store_true")
    given = parser.parse_args()
    setups = [Setup(law, lengths, prompts, 0.1) for prompts in PROMPTS for law in LAWS for lengths in LENGTHS]
    with ProcessPoolExecutor(given.processes) as pool:
        laws = [law_row(setup, list(pool.map(setup.fitted, range(given.repeats)))) for setup in setups]
    cells = [(prompts, *of) for prompts in (6, 12, 24) for of in ((1, 0.0), (3, 0.0), (3, 0.5))]
    shares = [shares_row(5 * given.repeats, *cell) for cell in cells]
    result = {"machine": machine(), "repeats": given.repeats, "laws": laws, "shares": shares}
    table = _table(result)
    if given.dry:
        print(table)
    else:
        save("context_analysis", result, table)


def _table(result: Mapping[str, Any]) -> str:
    about_laws = (
        f"{result['repeats']} simulated runs a line, so many prompts at each of 7 lengths up to about 16,000 tokens "
        "(30 are what a test sends by default), noise in proportion. Constant, linear, quadratic, covered: how often "
        "the 95 % interval held the truth. Knee told: how often there seemed to be one where there is none. Step: "
        "how often the size of a piece, or that there is none, was found."
    )
    about_shares = (
        f"Shares of facts found: 9 cells of length and depth in each of {5 * result['repeats']} runs. Alike: the share "
        "of prompts whose facts are found together or not at all."
    )
    return "\n".join([about_laws, "", *_rows(result["laws"]), "", about_shares, "", *_rows(result["shares"])])


def _rows(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    columns = list(dict.fromkeys(key for row in rows for key in row))
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    return lines + [f"| {' | '.join(_cell(row.get(column)) for column in columns)} |" for row in rows]


def _cell(value: object) -> str:
    return "" if value is None else f"{value:.0%}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
