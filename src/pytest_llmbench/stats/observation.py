"""What one load level showed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Observation:
    """One valid trial: of `total` answers at `level`, `good` kept the limit. `groups` has (good, total) of each user.

    For the strict preset, where a whole trial passes or fails, a trial is one answer. `sent` counts all requests it
    cost, warm-up included; 0 means `total`. `detail` is whatever else is kept with it, and tells the fit nothing.

    Raises:
        ValueError: no such counts are possible.
    """

    level: int
    good: int
    total: int
    groups: tuple[tuple[int, int], ...] = ()
    sent: int = 0
    detail: Mapping[str, Any] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        if self.level < 1 or not 0 <= self.good <= self.total or self.total < 1:
            raise ValueError(f"{self.good} good of {self.total} answers at level {self.level}")

    @property
    def judged(self) -> int:
        """Answers that its groups hold; 0 where it has none."""
        return sum(total for _, total in self.groups)

    @property
    def cost(self) -> int:
        """Requests that the server was sent for it."""
        return self.sent or self.total
