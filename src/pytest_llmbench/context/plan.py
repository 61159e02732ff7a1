"""Which lengths are tried: as the settings say, checked against what is known of the server before a prompt is sent."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

from pytest_llmbench.core.errors import UsageError

if TYPE_CHECKING:
    from pytest_llmbench.context.announced import Announced
    from pytest_llmbench.core.settings import ContextSettings

_SHORTEST = 256
_STEP = 64  # lengths that are chosen here are multiples of this
_SILENT = 131_072  # the longest prompt tried where neither server nor settings say one
_ROOM = 32  # tokens that a shortest prompt has for text of its own


@dataclasses.dataclass(frozen=True, slots=True)
class LengthPlan:
    """The lengths that were asked for, None for those that follow from what is found; and the longest prompt tried.

    What is accepted is tried with as many tokens more as an answer has room for: so many does that prompt need itself.
    """

    wanted: tuple[int, ...] | None
    longest: int

    def shortest(self, least: int) -> int:
        """The shortest length at which every question is asked, where the longest of them alone has `least` tokens."""
        return self.wanted[0] if self.wanted is not None else _roomy(least)

    def lowest(self, least: int) -> int:
        """The shortest prompt tried: limits may lie below all lengths that were asked for."""
        return min(self.shortest(least), _roomy(least))

    def reaches(self, accepted: int, answer_tokens: int) -> bool:
        """Whether the lengths go up to what the server takes."""
        return self.wanted is None or self.wanted[-1] > accepted + 1 - answer_tokens

    def swept(self, shortest: int, accepted: int, answer_tokens: int) -> tuple[int, ...]:
        """The lengths at which every question is asked, none beyond what the server takes beside an answer.

        Where that is less than what was asked for, the longest that it takes is the last.
        """
        last = accepted + 1 - answer_tokens
        if self.wanted is not None:
            kept = [length for length in self.wanted if length <= last]
            return tuple(kept if len(kept) == len(self.wanted) or last < shortest else dict.fromkeys([*kept, last]))
        doubled = [shortest << power for power in range(1, 32) if shortest << power < last / math.sqrt(2)]
        return tuple(dict.fromkeys([shortest, *doubled, max(shortest, last)])) if accepted else ()


def _roomy(least: int) -> int:
    return max(_SHORTEST, math.ceil((least + _ROOM) / _STEP) * _STEP)


def planned(context: ContextSettings, announced: Announced, native: int | None = None) -> LengthPlan:
    """The plan of the settings. `native` is how long a context the model of the settings reads.

    Raises:
        UsageError: a length is beyond what the server, or the model, says that it holds.
    """
    wanted = None if context.lengths == "auto" else context.lengths
    reads = max(announced.trained or 0, native or 0) or None  # a model that is stretched holds more than it learnt
    held = (announced.context, "that the server announces") if announced.context else (reads, "that the model reads")
    last = wanted[-1] if wanted else 0
    most, who = held
    if most is not None and last > most:
        raise UsageError(
            f"context.lengths: {last} is beyond the {most} tokens {who}; leave it out, or start the server "
            "with more context",
            names=("context.lengths",),
        )
    longest = context.max_context
    if longest is None:
        longest = 2 * most if most else _SILENT
    if longest < last:
        raise UsageError(
            f"context.max_context is {longest}, and context.lengths has {last}; raise it, or leave that out",
            names=("context.max_context", "context.lengths"),
        )
    if longest < _SHORTEST and wanted is None:
        raise UsageError(
            f"context.max_context is {longest}, and no question fits in less than {_SHORTEST} tokens; raise it",
            names=("context.max_context",),
        )
    return LengthPlan(wanted, longest)
