"""What rows of one adapter begin with alike (a system text, tools): what of it is worth reading once, and was read."""

from __future__ import annotations

import collections
import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pytest_llmbench.generation.local.layout import READ
from pytest_llmbench.models.memory.estimate import REMEMBERED

if TYPE_CHECKING:
    from pytest_llmbench.generation.local.slots import Snapshot


class Beginnings:
    """Keys and values of beginnings by adapter, those read last up to so many tokens in all."""

    def __init__(self) -> None:
        self._kept: collections.OrderedDict[tuple[str | None, tuple[int, ...]], Snapshot] = collections.OrderedDict()

    def shared(self, prompts: Sequence[tuple[str | None, Sequence[int]]]) -> list[int]:
        """How many tokens at each prompt's beginning are worth reading once for several, or were read before."""
        chains = [_chain(adapter, tokens) for adapter, tokens in prompts]
        counts = collections.Counter(told for chain in chains for told in chain)
        return [
            max(_worth(chain, counts), self.known(adapter, tokens[: len(chain)])[0])
            for chain, (adapter, tokens) in zip(chains, prompts, strict=True)
        ]

    def known(self, adapter: str | None, tokens: Sequence[int]) -> tuple[int, Snapshot | None]:
        """How many of the tokens were read before, and what was kept of them."""
        best: tuple[int, Snapshot | None] = 0, None
        for (whose, told), snapshot in self._kept.items():
            if whose == adapter:
                same = sum(1 for _ in itertools.takewhile(_equal, zip(told, tokens, strict=False)))
                best = max(best, (same, snapshot), key=lambda found: found[0])
        return best if best[0] else (0, None)

    def keep(self, adapter: str | None, tokens: tuple[int, ...], snapshot: Snapshot) -> None:
        """Keep what was read, and no more than a few thousand tokens of what was read before."""
        self._kept[adapter, tokens] = snapshot
        while sum(len(told) for _, told in self._kept) > REMEMBERED and len(self._kept) > 1:
            self._kept.popitem(last=False)

    def forget(self) -> None:
        """Let go of all."""
        self._kept.clear()


def _chain(adapter: str | None, tokens: Sequence[int]) -> list[int]:
    """One number for each beginning that leaves at least the last token to be read."""
    chain, told = [], hash(adapter)
    for token in tokens[:-1]:
        told = hash((told, token))
        chain.append(told)
    return chain


def _worth(chain: Sequence[int], counts: Mapping[int, int]) -> int:
    """The longest beginning each of whose parts saves more tokens than the tile costs that it is read in alone."""
    worth, end = 0, len(chain)
    counted = [counts[told] for told in chain]
    for place, count in enumerate(counted, start=1):
        last = place == end or counted[place] < count
        if last and (count - 1) * (place - worth) > READ:
            worth = place
    return worth


def _equal(pair: tuple[int, int]) -> bool:
    return pair[0] == pair[1]
