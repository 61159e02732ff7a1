"""Up to which size a cost keeps a limit often enough, by counting the answers that came late: it need not rise.

Sizes that are alike are counted together, and the share that is late is taken never to fall with the size. What is
sure is so by Clopper and Pearson's exact interval: at a size where too many are late, or, because shorter ones are late
no more often, at the shortest of all sizes together where few enough are.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from pytest_llmbench.stats.binomial import at_least
from pytest_llmbench.stats.intervals import CONFIDENCE
from pytest_llmbench.stats.monotone_fit import isotonic

ALIKE = 1.25
"""Times the shortest of them: sizes that are counted together."""

_ROUNDING = 1e-9


@dataclasses.dataclass(frozen=True, slots=True)
class Kept:
    """The limit is kept up to `longest`, and no more from `late` on: 0 and infinite where that is at no size.

    Surely it is kept up to `surely`, and surely not at `surely_late`.
    """

    longest: float
    late: float
    surely: float
    surely_late: float


def kept(points: Sequence[tuple[float, float]], limit: float, quantile: float, confidence: float = CONFIDENCE) -> Kept:
    """Where the share `quantile` of (size, cost) points lies within the limit. Each end errs with half the rest."""
    groups: list[list[tuple[float, bool]]] = []
    for size, cost in sorted(points):
        if not groups or size > ALIKE * groups[-1][0][0]:
            groups.append([])
        groups[-1].append((size, cost > limit))
    asked = [len(group) for group in groups]
    late = [sum(is_late for _, is_late in group) for group in groups]
    shares = isotonic([count - one for count, one in zip(asked, late, strict=True)], asked)
    held = sum(share >= quantile - _ROUNDING for share in shares)
    rest, most = (1 - confidence) / 2, 1 - quantile
    broken = [
        group[-1][0]
        for group, count, one in list(zip(groups, asked, late, strict=True))[held:]
        if at_least(one, count, most) <= rest / len(groups)
    ]
    sure = [
        groups[place][0][0]
        for place in range(held)
        if 1 - at_least(sum(late[place:held]) + 1, sum(asked[place:held]), most) <= rest
    ]
    return Kept(
        longest=groups[held - 1][-1][0] if held else 0.0,
        late=groups[held][0][0] if held < len(groups) else math.inf,
        surely=max(sure, default=0.0),
        surely_late=min(broken, default=math.inf),
    )
