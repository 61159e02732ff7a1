"""Whether any engine must be loaded at all: asked of one machine of the cluster before engines are opened."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llmbench.core.announcing import announce_again
from pytest_llmbench.generation.ray.actor import EngineActor, Recollection, Recollector
from pytest_llmbench.generation.ray.opening import other_versions

if TYPE_CHECKING:
    from pytest_llmbench.generation.backend import Backend
    from pytest_llmbench.generation.ray.cluster import Cluster
    from pytest_llmbench.generation.ray.opening import Opening
    from pytest_llmbench.generation.ray.resources import Division

_PLACE_S = 15.0
"""Where the cluster has no room by then, engines are opened as if nothing were known."""


@dataclasses.dataclass(frozen=True, slots=True)
class Recall:
    """What a machine that has loaded the pair before keeps of it, and what follows from that here.

    `recollect` runs there, and is None of a pair that was never loaded there. `held` makes a backend of what it told
    where every answer is stored, else None.
    """

    recollect: Recollector
    held: Callable[[Mapping[str, Any]], Backend | None]

    def backend(self, cluster: Cluster, division: Division, opening: Opening) -> Backend | None:
        """Who knows every answer; None where engines must be opened, which tells of whatever is wrong."""
        told = self._told(cluster.ray, division, opening)
        if told is None or (backend := self.held(told.kept)) is None:
            return None
        announce_again(told.announced)
        return backend

    def _told(self, ray: Any, division: Division, opening: Opening) -> Recollection | None:
        options = {"num_cpus": division.cpus, "num_gpus": division.gpus}
        actor = ray.remote(EngineActor).options(**options, max_restarts=0, max_task_retries=0).remote()
        try:
            if other_versions(ray.get(actor.where.remote(str(Path.cwd())), timeout=_PLACE_S)):
                return None
            asked: tuple[Any, ...] = (self.recollect, opening.alone(division), opening.cases)
            told: Recollection | None = ray.get(actor.recollected.remote(*asked))
        except ray.exceptions.RayError:
            return None
        finally:
            ray.kill(actor)
        return told
