"""Whether any engine must be loaded at all: asked of every machine of the cluster before engines are opened."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llmbench.core.announcing import announce_again
from pytest_llmbench.generation.ray.actor import EngineActor, Recollection, Recollector
from pytest_llmbench.generation.ray.opening import other_versions

if TYPE_CHECKING:
    from pytest_llmbench.generation.backend import Backend
    from pytest_llmbench.generation.ray.cluster import Cluster
    from pytest_llmbench.generation.ray.opening import Opening
    from pytest_llmbench.generation.ray.resources import Division, Node

_PLACE_S = 15.0
"""Where the cluster has no room by then, engines are opened as if nothing were known."""


@dataclasses.dataclass(frozen=True, slots=True)
class Recall:
    """What machines that have loaded the pair before keep of it, and what follows from that here.

    `recollect` runs on each, and is None of a pair that was never loaded there. `holds` says of what it told whether
    every answer is stored, and `made` makes a backend of it.
    """

    recollect: Recollector
    holds: Callable[[Mapping[str, Any]], bool]
    made: Callable[[Mapping[str, Any]], Backend]

    def backend(self, cluster: Cluster, division: Division, opening: Opening) -> Backend | None:
        """Who knows every answer; None where engines must be opened, which tells of whatever is wrong.

        That is so, too, where machines that could hold an actor do not all tell of the same pair.
        """
        ray, settings = cluster.ray, opening.alone(division)
        nodes = [node for node in cluster.nodes() if division.fitting([node])]
        actors = [_placed(ray, node, division) for node in nodes]
        try:
            places = ray.get([actor.where.remote(str(Path.cwd())) for actor in actors], timeout=_PLACE_S)
            if not places or any(map(other_versions, places)):
                return None
            found = ray.get([actor.recollected.remote(self.recollect, settings, ()) for actor in actors])
            if not _alike(found) or not self.holds(found[0].kept):
                return None
            told = ray.get(actors[0].recollected.remote(self.recollect, settings, opening.cases))  # and what was learnt
        except ray.exceptions.RayError:
            return None
        finally:
            for actor in actors:
                ray.kill(actor)
        if told is None:
            return None
        announce_again(told.announced)
        return self.made(told.kept)


def _placed(ray: Any, node: Node, division: Division) -> Any:
    """An actor on just this machine."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    options = {"num_cpus": division.cpus, "num_gpus": division.gpus, "max_restarts": 0, "max_task_retries": 0}
    there = NodeAffinitySchedulingStrategy(node.id, soft=False)
    return ray.remote(EngineActor).options(**options, scheduling_strategy=there).remote()


def _alike(found: Sequence[Recollection | None]) -> bool:
    """Whether all machines tell of a pair, and of the same one: one of them may have an adapter of yesterday."""
    identities = [one.kept["identity"] if one else None for one in found]
    return all(one is not None and one == identities[0] for one in identities)
