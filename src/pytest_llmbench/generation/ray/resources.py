"""How a cluster is divided among actors: how many there are, and the CPUs and GPUs of each."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_llmbench.core.setting_sections import RaySettings

_FINEST = 10_000
"""Ray divides a CPU or GPU into so many parts."""


@dataclass(frozen=True, slots=True)
class Node:
    """A machine of the cluster: its address, the CPUs and GPUs that it offers in all, and Ray's own name of it."""

    address: str
    cpus: float
    gpus: float
    id: str = ""


@dataclass(frozen=True, slots=True)
class Division:
    """So many actors, with so many CPUs and GPUs each."""

    actors: int
    cpus: float
    gpus: float

    def fitting(self, nodes: Sequence[Node]) -> int:
        """How many of them the nodes hold when nothing else runs there."""
        return sum(self._fitting(node) for node in nodes)

    def _fitting(self, node: Node) -> int:
        by_cpus = _times(node.cpus, self.cpus) if self.cpus else math.inf
        by_gpus = _times(node.gpus, self.gpus) if self.gpus else math.inf
        held = min(by_cpus, by_gpus)
        return self.actors if math.isinf(held) else int(held)

    def __str__(self) -> str:
        return f"{self.cpus:g} CPUs and {self.gpus:g} GPUs"


def divided(settings: RaySettings, nodes: Sequence[Node], *, on_gpus: bool) -> Division:
    """How many actors there will be, and of what: as the settings say, and for their "auto" as the nodes suggest.

    With GPUs (`on_gpus`, and the nodes have some) one actor a GPU. Without, one a node with all its CPUs, or, where the
    number of actors is given, the largest share of CPUs with which all of them find a place.
    """
    gpus = settings.gpus if settings.gpus != "auto" else float(on_gpus and any(node.gpus >= 1 for node in nodes))
    if settings.cpus != "auto":
        cpus = settings.cpus
    elif gpus:
        cpus = 1.0
    else:
        cpus = _share(
            [node.cpus for node in nodes if node.cpus], None if settings.actors == "auto" else settings.actors
        )
    if settings.actors != "auto":
        return Division(settings.actors, cpus, gpus)
    one = Division(1, cpus, gpus)
    return Division(max(1, one.fitting(nodes)), cpus, gpus)


def _share(cpus: Sequence[float], actors: int | None) -> float:
    """The CPUs of one actor: a whole node's of the smallest, or with a number the most with which so many fit."""
    if not cpus:
        return 1.0
    if actors is None:
        return _whole(min(cpus))
    return max(share for share in _candidates(cpus, actors) if sum(_times(one, share) for one in cpus) >= actors)


def _candidates(cpus: Sequence[float], actors: int) -> Iterator[float]:
    for one in set(cpus):
        for parts in range(1, actors + 1):
            yield _whole(one / parts)


def _whole(share: float) -> float:
    """Ray takes whole CPUs, or a part of one."""
    return float(math.floor(share)) if share >= 1 else math.floor(share * _FINEST) / _FINEST


def _times(there: float, each: float) -> int:
    return math.floor(there / each + 1e-6) if each else 0
