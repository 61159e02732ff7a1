"""Whether any engine must be loaded at all: asked of one machine of the cluster before engines are opened."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llmbench.core.announcing import announce_again
from pytest_llmbench.generation.ray.actor import EngineActor, Recollection, Recollector
from pytest_llmbench.generation.ray.opening import other_versions

if TYPE_CHECKING:
    from pytest_llmbench.cases.suites import Case
    from pytest_llmbench.core.settings import Settings
    from pytest_llmbench.generation.backend import Backend
    from pytest_llmbench.generation.ray.cluster import Cluster
    from pytest_llmbench.generation.ray.opening import Opening
    from pytest_llmbench.generation.ray.resources import Division

_PLACE_S = 15.0
"""Where the cluster has no room by then, engines are opened as if nothing were known."""


@dataclasses.dataclass(frozen=True, slots=True)
class Recall:
    """What a machine that has loaded the pair before keeps of it, and what follows from that here.

    `recollect` runs there, and is None of a pair that was never loaded there. `holds` says of what it told whether
    every answer is stored, and `made` makes a backend of it.
    """

    recollect: Recollector
    holds: Callable[[Mapping[str, Any]], bool]
    made: Callable[[Mapping[str, Any]], Backend | None]

    def backend(self, cluster: Cluster, division: Division, opening: Opening) -> Backend | None:
        """Who knows every answer; None where engines must be opened, which tells of whatever is wrong."""
        ray, options = cluster.ray, {"num_cpus": division.cpus, "num_gpus": division.gpus}
        actor = ray.remote(EngineActor).options(**options, max_restarts=0, max_task_retries=0).remote()
        try:
            if other_versions(ray.get(actor.where.remote(str(Path.cwd())), timeout=_PLACE_S)):
                return None
            told = self._told(ray, actor, opening.alone(division), ())
            if told is None or not self.holds(told.kept):
                return None
            told = self._told(ray, actor, opening.alone(division), opening.cases)  # now with what adapters learnt
        except ray.exceptions.RayError:
            return None
        finally:
            ray.kill(actor)
        if told is None:
            return None
        announce_again(told.announced)
        return self.made(told.kept)

    def _told(self, ray: Any, actor: Any, settings: Settings, cases: Sequence[Case]) -> Recollection | None:
        told: Recollection | None = ray.get(actor.recollected.remote(self.recollect, settings, cases))
        return told
