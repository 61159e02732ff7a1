"""Load from several machines: each process of the load generator belongs to an actor of a Ray cluster.

The actor hands on orders and reports and does nothing else. The users live in a process of their own beside it, the
very same as on one machine, so that Ray's threads do not disturb the loop that takes the times.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any, Self, cast

from pytest_llmbench.core.errors import NotReadyError
from pytest_llmbench.generation.ray.actor import versions
from pytest_llmbench.generation.ray.cluster import Cluster
from pytest_llmbench.generation.ray.resources import Division, divided
from pytest_llmbench.load.clocks import ClockOffset, Reading, compared, order_there, reading, report_here
from pytest_llmbench.load.records import Clocks
from pytest_llmbench.load.worker_process import Worker

if TYPE_CHECKING:
    from pytest_llmbench.core.setting_sections import RaySettings
    from pytest_llmbench.load.conversations import Conversations
    from pytest_llmbench.load.worker import WorkerReport

_CLOSE_S = 5.0


class LoadActor:
    """A process of the load generator on some machine, and the way to it."""

    def __init__(self) -> None:
        self._worker: Worker | None = None

    async def where(self) -> tuple[str, dict[str, str]]:
        """The machine, and what it has installed."""
        import ray

        return ray.get_runtime_context().get_node_id(), versions()

    async def clock(self) -> Reading:
        """What the clocks of its machine show."""
        return reading()

    async def start(self, conversations: Conversations) -> None:
        """Start the process."""
        self._worker = await Worker.started(conversations)

    async def send(self, order: object) -> None:
        """Hand on an order."""
        self._started.send(order)

    async def reports(self) -> AsyncIterator[WorkerReport]:
        """Everything that the process reports, until it is gone."""
        while True:
            try:
                yield await self._started.report()
            except EOFError:
                return

    async def close(self) -> None:
        """Let the process end."""
        await self._started.close()

    @property
    def _started(self) -> Worker:
        if self._worker is None:
            raise RuntimeError("the process was not started")
        return self._worker


@dataclasses.dataclass
class RayWorker:
    """A process on another machine as this one sees it, with all its times in this one's; as `Worker` has it."""

    _ray: Any
    _handle: Any
    _reports: Any
    node: str
    offset: ClockOffset
    alive: bool = True

    def send(self, order: object) -> None:
        """Give an order; an actor that is gone does not get it, which its reports tell."""
        self._handle.send.remote(order_there(order, self.offset))

    async def report(self) -> WorkerReport:
        """What it tells next.

        Raises:
            EOFError: it is gone.
        """
        try:
            told = await (await anext(self._reports))
        except (StopAsyncIteration, self._ray.exceptions.RayError) as error:
            self.alive = False
            raise EOFError(str(error)) from error
        return report_here(cast("WorkerReport", told), self.offset)

    async def compare(self) -> None:
        """Compare the clocks again: they drift apart. One that is gone keeps what was known of it."""
        try:
            self.offset = await compared(self._handle.clock.remote)
        except self._ray.exceptions.RayError:
            self.alive = False

    def kill(self) -> None:
        """End it at once."""
        self._ray.kill(self._handle)
        self.alive = False

    async def close(self) -> None:
        """Let it end, and see that it does."""
        if self.alive:
            closing = asyncio.ensure_future(self._handle.close.remote())
            done, _ = await asyncio.wait([closing], timeout=_CLOSE_S)
            for one in done:
                one.exception()  # that it died meanwhile is an end, too
        self.kill()


class RayMachines:
    """Where the load generator's processes are: actors of a cluster. `close` ends what was started for them."""

    lead_s = 0.5

    def __init__(self, cluster: Cluster, division: Division, settings: RaySettings) -> None:
        self._cluster, self._division, self._settings = cluster, division, settings
        self.count = division.actors

    @classmethod
    def joined(cls, settings: RaySettings) -> Self:
        """Join the cluster; its actors take no GPU.

        Raises:
            NotReadyError: there is no such cluster.
        """
        told = settings.model_copy(update={"address": settings.address or "auto", "gpus": 0.0})
        cluster = Cluster.joined(told)
        nodes = cluster.nodes()
        alone = told.actors == "auto" and told.cpus == "auto"  # one a machine, however large
        if alone:
            told = told.model_copy(update={"actors": max(1, sum(node.cpus > 0 for node in nodes)), "cpus": 1.0})
        return cls(cluster, divided(told, nodes, on_gpus=False), told)

    async def started(self, conversations: Conversations) -> RayWorker:
        """One more process, with these conversations.

        Raises:
            NotReadyError: it finds no place, dies at once, or its machine has other versions.
        """
        ray, division = self._cluster.ray, self._division
        options = {"num_cpus": division.cpus, "num_gpus": 0, "scheduling_strategy": "SPREAD"}
        handle = ray.remote(LoadActor).options(**options, max_restarts=0, max_task_retries=0).remote()
        try:
            async with asyncio.timeout(self._settings.start_timeout):
                node, has = await handle.where.remote()
                if has != versions():
                    raise NotReadyError(f"a machine of the cluster has {has}, this one {versions()}")
                await handle.start.remote(conversations)
                offset = await compared(handle.clock.remote)
        except (TimeoutError, ray.exceptions.RayError) as error:
            ray.kill(handle)
            asked = f"each takes {division}; the cluster has {self._cluster.told()}"
            why = str(error) or f"no place within {self._settings.start_timeout:g} s"
            message = f"an actor of the load generator did not start ({why}): {asked}"
            raise NotReadyError(message, names=("ray.actors", "ray.cpus")) from error
        stream = handle.reports.options(num_returns="streaming").remote()
        return RayWorker(ray, handle, stream, node, offset)

    async def compared(self, workers: Sequence[RayWorker]) -> Clocks:
        """Compare their clocks with this one's, which the times of their next trial are translated by."""
        for worker in workers:  # one after another: they would make each other's answers late
            await worker.compare()
        return Clocks(
            machines=len({worker.node for worker in workers}),
            skew_s=max(abs(worker.offset.skew_s) for worker in workers),
            error_s=max(worker.offset.error_s for worker in workers),
        )

    def close(self) -> None:
        """Leave the cluster."""
        self._cluster.close()
