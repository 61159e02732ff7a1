"""A backend whose answers come from actors on the machines of a Ray cluster."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, overload

from pytest_llmbench.cases.suites import Case
from pytest_llmbench.cases.tools import name_of
from pytest_llmbench.core.errors import UsageError
from pytest_llmbench.core.records import Completion
from pytest_llmbench.generation.ray.assignments import Asked, Assignments
from pytest_llmbench.generation.ray.cluster import Cluster
from pytest_llmbench.generation.ray.engines import Engines, Method
from pytest_llmbench.generation.ray.opening import Opening
from pytest_llmbench.generation.ray.resources import divided

if TYPE_CHECKING:
    from pytest_llmbench.core.settings import Settings
    from pytest_llmbench.generation.backend import Backend
    from pytest_llmbench.generation.ray.actor import Opened, Opener
    from pytest_llmbench.generation.ray.recalling import Recall

_ROUNDS = 32
"""Shares of each actor in one of the planner's batches: actors wait for the slowest only where a batch ends."""


class RayBackend:
    """Answers cases with engines in actors, as `Backend` has it; made by `opened`.

    Args:
        engines: the actors.
        first: what the first of them told; the others are like it.
        cluster: the cluster that they are on.
        attempts: deaths of actors after which a case is given up.
    """

    def __init__(self, engines: Engines, first: Opened, cluster: Cluster, attempts: int) -> None:
        self.variants: tuple[str, ...] = first.variants
        self._engines, self._first, self._cluster, self._attempts = engines, first, cluster, attempts
        self._left_out: dict[tuple[str, ...], str | None] = {}

    @overload
    @classmethod
    def opened(
        cls, settings: Settings, cases: Sequence[Case], opener: Opener, *, most: int | None = None
    ) -> RayBackend: ...

    @overload
    @classmethod
    def opened(
        cls, settings: Settings, cases: Sequence[Case], opener: Opener, *, recall: Recall, most: int | None = None
    ) -> Backend: ...

    @classmethod
    def opened(
        cls,
        settings: Settings,
        cases: Sequence[Case],
        opener: Opener,
        *,
        recall: Recall | None = None,
        most: int | None = None,
    ) -> Backend:
        """Join the cluster, and have each actor open an engine with `opener`, which it imports by its name.

        There are no more than `most` of them, each as large as it would be among others. With `recall` that is done
        only where it finds an answer missing; else who knows them all is returned.

        Raises:
            LLMBenchError: there is no such cluster, no room on it, or an engine cannot be opened.
        """
        if settings.server.url:
            told = "a server is asked from here: ray.address and server.url exclude each other for a benchmark"
            raise UsageError(told, names=("ray.address", "server.url"))
        with contextlib.ExitStack() as undone:
            cluster = Cluster.joined(settings.ray)
            undone.callback(cluster.close)
            division = divided(settings.ray, cluster.nodes(), on_gpus=settings.model.device != "cpu")
            division = dataclasses.replace(division, actors=min(division.actors, most or division.actors))
            opening = Opening(opener, settings, cases)
            if recall and (known := recall.backend(cluster, division, opening)):
                return known
            engines = Engines(cluster, division, opening)
            undone.callback(engines.close)
            first = engines.start()
            undone.pop_all()
        return cls(engines, first, cluster, settings.ray.attempts)

    def identity(self, variant: str) -> Mapping[str, str]:
        """That of any actor: all have the same, or the session would not have begun."""
        return self._first.identity[variant]

    def weight(self, case: Case) -> int:
        """Characters: tokens are counted on other machines."""
        return sum(len(str(message.get("content") or "")) for message in case.messages)

    def batch_size(self) -> int:
        """Many shares of every actor, so that they seldom wait for each other."""
        return self._first.batch_size * self._engines.actors * _ROUNDS

    def complete(self, cases: Sequence[Case], variant: str) -> Iterator[Completion]:
        """Answer each case with whichever actor is free, as `complete_together` does."""
        return self.complete_together([(case, variant) for case in cases])

    def complete_together(self, asked: Sequence[tuple[Case, str]]) -> Iterator[Completion]:
        """Answer cases as several variants. A case at which actor after actor dies is answered by an error.

        Raises:
            LLMBenchError: the engine cannot go on, or no actor is left.
        """
        yield from self._work([Asked(case, variant) for case, variant in asked], "answer")
        for one, why in self._engines.given_up():
            yield Completion(one.case.name, one.case.epoch, one.variant, "", "error", error=why)

    def embed(self, pairs: Sequence[tuple[Case, Completion]]) -> list[Completion]:
        """The same completions with their embeddings; without where every actor died over it."""
        embedded = list(self._work([Asked(case, done.variant, done) for case, done in pairs], "embed"))
        return embedded + [one.done for one, _ in self._engines.given_up() if one.done]

    def tools_left_out(self, case: Case, variant: str) -> str | None:
        """Why the variant is not told of the case's tools; None where it is, or the engine does not know.

        An actor is asked once for all cases of the same tools and roles, as chat templates tell nothing else apart.
        """
        key = variant, *(message["role"] for message in case.messages), *map(name_of, case.tools)
        if key not in self._left_out:
            self._left_out[key] = self._engines.ask_one("tools_left_out", case, variant)
        return self._left_out[key]

    def unmarked(self, texts: Sequence[str]) -> list[str]:
        """Texts as answers are read: without any variant's special tokens, where the engine knows them."""
        told: list[str] = self._engines.ask_one("unmarked", texts)
        return told

    def describe(self) -> Mapping[str, Any]:
        """What the first actor's engine tells, and how many actors there were on how many machines."""
        return {**self._first.about, "ray": dataclasses.asdict(self._engines.tally)}

    def close(self) -> None:
        """End the actors, and the cluster where it was started for them."""
        self._engines.close()
        self._cluster.close()

    def _work(self, asked: Sequence[Asked], method: Method) -> Iterator[Completion]:
        size, actors = self._first.batch_size, self._engines.actors
        book = Assignments(asked, size=size, actors=actors, attempts=self._attempts)
        return self._engines.work(book, method)
