"""The actors of one session: placed, opened, handed their shares, missed when they die, and replaced."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pytest_llmbench.core.announcing import announce_again
from pytest_llmbench.core.errors import NotReadyError, error_of, naming
from pytest_llmbench.core.locale import N_
from pytest_llmbench.generation.backend import ALONE
from pytest_llmbench.generation.ray.actor import EngineActor, Fault, Opened, Told, Whereabouts
from pytest_llmbench.generation.ray.opening import other_answers, other_versions, reason

if TYPE_CHECKING:
    from pytest_llmbench.core.announcing import Announcement
    from pytest_llmbench.core.records import Completion
    from pytest_llmbench.core.setting_sections import RaySettings
    from pytest_llmbench.generation.ray.assignments import Asked, Assignments, Share
    from pytest_llmbench.generation.ray.cluster import Cluster
    from pytest_llmbench.generation.ray.opening import Opening
    from pytest_llmbench.generation.ray.resources import Division

_log = logging.getLogger("pytest_llmbench")
_LOOK_S = 1.0
Method = Literal["answer", "embed"]


@dataclasses.dataclass(eq=False)
class _Engine:
    """One actor, as this process sees it."""

    handle: Any
    at: Whereabouts | None = None
    task: _Task | None = None

    @property
    def place(self) -> str:
        return self.at.address if self.at else "a machine that is not known yet"


@dataclasses.dataclass(frozen=True, slots=True)
class _Task:
    """A share in flight, and the book that it is noted in."""

    share: Share
    book: Assignments


@dataclasses.dataclass
class Tally:
    """What a report tells of a session's actors."""

    actors: int = 0
    nodes: int = 0
    deaths: int = 0
    batches_asked_again: int = 0
    answers_given_up: int = 0


class Engines:
    """Actors that answer, each with an engine of its own.

    An actor that dies is replaced, as long as answers come between the deaths: where the replacement itself dies, or
    finds no place, those that are left do the work.
    """

    def __init__(self, cluster: Cluster, division: Division, opening: Opening) -> None:
        self._cluster, self._ray, self._division, self._opening = cluster, cluster.ray, division, opening
        self._settings: RaySettings = opening.settings.ray
        options = {"num_cpus": division.cpus, "num_gpus": division.gpus, "scheduling_strategy": "SPREAD"}
        self._actor = self._ray.remote(EngineActor).options(**options, max_restarts=0, max_task_retries=0)
        self._placing: dict[Any, _Engine] = {}
        self._loading: dict[Any, _Engine] = {}
        self._idle: deque[_Engine] = deque()
        self._streams: dict[Any, _Engine] = {}
        self._first: Opened | None = None
        self._cases_told = False
        self._deaths_in_a_row = 0
        self._placed_since = time.monotonic()
        self._seen: set[str] = set()
        self._announced: set[Announcement] = set()
        self._given_up: list[tuple[Asked, str]] = []
        self.tally = Tally()

    def start(self) -> Opened:
        """Place the actors, have each open its engine, and return what the first one tells of it.

        Raises:
            NotReadyError: no actor finds a place, an engine cannot be opened, or the engines are not alike.
            LLMBenchError: as the engine's opener raises it.
        """
        for _ in range(self._division.actors):
            self._place()
        self._await_places()
        while self._loading:
            self._take_newcomers()
        if self._first is None:
            raise NotReadyError("no actor of Ray has opened an engine")
        return self._first

    @property
    def actors(self) -> int:
        """How many there are, or will be once they find a place."""
        return self._division.actors

    def work(self, book: Assignments, method: Method) -> Iterator[Completion]:
        """Have every question of the book answered, by whichever actor is free.

        Raises:
            NotReadyError: actors die one after another without an answer between, or none finds a place any more.
            LLMBenchError: as the engine raises it.
        """
        while not book.finished:
            self._hand_out(book, method)
            yield from self._turn(book)

    def given_up(self) -> list[tuple[Asked, str]]:
        """The questions that nobody answered since the last look, each with the reason."""
        told, self._given_up = self._given_up, []
        return told

    def ask_one(self, method: str, *arguments: Any) -> Any:
        """What one actor returns of a method; the next one is asked where it dies, which is missed when it has work.

        Raises:
            NotReadyError: all of them have died.
        """
        why = ""
        for engine in (*self._idle, *self._streams.values()):
            try:
                return self._ray.get(getattr(engine.handle, method).remote(*arguments))
            except self._ray.exceptions.RayActorError as error:
                why = f": {reason(error)}"
        raise NotReadyError(f"no actor is left that could answer{why}; start again")

    def close(self) -> None:
        """End all actors."""
        for engine in (*self._placing.values(), *self._loading.values(), *self._idle, *self._streams.values()):
            self._ray.kill(engine.handle)
        self._placing, self._loading, self._streams = {}, {}, {}
        self._idle.clear()

    def _place(self) -> None:
        engine = _Engine(self._actor.remote())
        self._placing[engine.handle.where.remote(str(Path.cwd()))] = engine
        self._placed_since = time.monotonic()

    def _await_places(self) -> None:
        """Wait until all that the cluster can hold have a place; tell of those that it cannot."""
        expected = min(self._division.actors, self._division.fitting(self._cluster.nodes()))
        if not expected and self._cluster.own:
            raise self._no_place()
        deadline = time.monotonic() + self._settings.start_timeout
        while self._division.actors - len(self._placing) < max(1, expected) and time.monotonic() < deadline:
            self._take_newcomers()
        if len(self._placing) == self._division.actors:
            raise self._no_place()
        if self._placing:
            _log.warning(
                N_("%d of %d actors have no place yet (each takes %s; the cluster has %s): they join later"),
                len(self._placing),
                self._division.actors,
                self._division,
                self._cluster.told(),
                extra=naming("ray.actors"),
            )

    def _take_newcomers(self) -> None:
        for ready in self._ready():
            self._take_newcomer(ready, strict=True)

    def _no_place(self) -> NotReadyError:
        asked = f"no actor finds a place: each takes {self._division}, and the cluster has {self._cluster.told()}"
        message = f"{asked}, other work on it included; lower ray.cpus or ray.gpus, or add machines"
        return NotReadyError(message, names=("ray.cpus", "ray.gpus"))

    def _hand_out(self, book: Assignments, method: Method) -> None:
        while self._idle and (share := book.take()):
            engine = self._idle.popleft()
            engine.task = _Task(share, book)
            stream = getattr(engine.handle, method).options(num_returns="streaming").remote(share.asked)
            self._streams[stream] = engine

    def _turn(self, book: Assignments) -> Iterator[Completion]:
        """Take in what has happened since the last turn, or wait for the next thing to happen."""
        for ready in self._ready():
            if ready in self._streams:
                yield from self._heard(ready, book)
            else:
                self._take_newcomer(ready, strict=False)

    def _take_newcomer(self, ready: Any, *, strict: bool) -> None:
        """An actor has found a place or opened its engine, or has failed to.

        While the session starts (`strict`), every fault ends it; later one actor less is no reason to.
        """
        if ready in self._placing:
            self._take_place(self._placing.pop(ready), ready, strict=strict)
        else:
            self._take_in(self._loading.pop(ready), ready, strict=strict)

    def _ready(self) -> list[Any]:
        waiting = [*self._streams, *self._loading, *self._placing]
        if not waiting:
            raise NotReadyError(
                "no actor is left that could answer; start again, a run that is kept can be resumed", names=("resume",)
            )
        ready, _ = self._ray.wait(waiting, num_returns=len(waiting), timeout=0, fetch_local=False)
        if not ready:
            ready, _ = self._ray.wait(waiting, num_returns=1, timeout=_LOOK_S, fetch_local=False)
        placing_alone = len(self._placing) == len(waiting) and not self._idle
        if not ready and placing_alone and time.monotonic() - self._placed_since > self._settings.start_timeout:
            raise self._no_place()
        return list(ready)

    def _take_place(self, engine: _Engine, ready: Any, *, strict: bool) -> None:
        try:
            engine.at = at = self._ray.get(ready)
        except self._ray.exceptions.RayError as error:
            self._died(engine, error, strict=strict)
            return
        if fault := other_versions(at):
            self._refuse(engine, fault, strict=strict)
            return
        cases = self._opening.cases if self._opening.told_to_all or not self._cases_told else ()
        self._cases_told = True
        settings = self._opening.alone(self._division)
        self._loading[engine.handle.open.remote(self._opening.opener, settings, cases)] = engine

    def _take_in(self, engine: _Engine, ready: Any, *, strict: bool) -> None:
        try:
            opened: Opened | Fault = self._ray.get(ready)
        except self._ray.exceptions.RayTaskError as error:
            if not isinstance(error.cause, self._ray.exceptions.RaySystemError):
                raise  # a bug of the engine, with its own traceback
            told = f"it cannot read what it was sent, and may lack a module: {reason(error)}"
            self._refuse(engine, Fault(NotReadyError.code, told, ()), strict=strict)
            return
        except self._ray.exceptions.RayError as error:
            self._died(engine, error, strict=strict)
            return
        if isinstance(opened, Fault):
            self._refuse(engine, opened, strict=strict)
        elif self._first and (unlike := other_answers(opened, self._first)):
            self._refuse(engine, unlike, strict=strict)
        else:
            self._join(engine, opened)

    def _join(self, engine: _Engine, opened: Opened) -> None:
        self._first = self._first or opened
        self._announce(opened.announced)
        self._idle.append(engine)
        if engine.at:
            self._seen.add(engine.at.node)
        self.tally.nodes = len(self._seen)
        self.tally.actors = max(self.tally.actors, len(self._idle) + len(self._streams))

    def _refuse(self, engine: _Engine, fault: Fault, *, strict: bool) -> None:
        self._ray.kill(engine.handle)
        where = f"on the machine {engine.place}"
        if engine.at and not engine.at.shares_folder:
            where += f", which does not have the folder {Path.cwd()}"
        error = error_of(fault.code, f"{fault.message} ({where})", fault.names)
        if strict or not (self._idle or self._streams or self._loading or self._placing):
            raise error
        _log.warning(N_("one actor less: %s"), error)

    def _heard(self, stream: Any, book: Assignments) -> Iterator[Completion]:
        """What came of a share; the actor is free again when its stream has ended."""
        engine = self._streams[stream]
        task = engine.task
        if task is None:
            raise RuntimeError("a stream of no share")
        try:
            told: Told = self._ray.get(next(stream))
        except StopIteration:
            self._free(stream, task.book.ended(task.share), "the backend ended without an answer")
            return
        except self._ray.exceptions.RayTaskError:
            raise  # a bug of the engine, with its own traceback
        except self._ray.exceptions.RayError as error:
            del self._streams[stream]
            self._lost(engine, task, error)
            return
        answers = [one for one in told.completions if task.book.answered(task.share, one)]
        if answers:
            self._deaths_in_a_row = 0
        if task.book is book:  # else of a call that nobody listens to any more
            yield from answers
        self._note(stream, task, told)

    def _note(self, stream: Any, task: _Task, told: Told) -> None:
        """What an actor tells beside answers."""
        self._announce(told.announced)
        if told.fault:
            raise error_of(told.fault.code, told.fault.message, told.fault.names)
        if told.out_of_memory:
            count = len(task.share.asked)
            if count > 1 and told.at_once != 1:  # else it is looked for that does not fit alone
                sentence = N_("out of memory with %d prompts at once: they are asked again in two halves")
                _log.warning(sentence, told.at_once or count)
            self._free(stream, task.book.too_large(task.share), ALONE)

    def _free(self, stream: Any, unanswered: Sequence[Asked], why: str) -> None:
        engine = self._streams.pop(stream)
        engine.task = None
        self._idle.append(engine)
        self._given_up += [(one, why) for one in unanswered]

    def _lost(self, engine: _Engine, task: _Task, error: Exception) -> None:
        again, given_up = task.book.lost(task.share)
        self.tally.batches_asked_again += bool(again)
        self.tally.answers_given_up += len(given_up)
        why = f"{self._settings.attempts} actors died while they were asked this, the last of them: {reason(error)}"
        self._given_up += [(one, why) for one in given_up]
        if given_up:
            self._deaths_in_a_row = 0  # a case that kills is found: that is progress too
        self._died(engine, error, strict=False)

    def _died(self, engine: _Engine, error: Exception, *, strict: bool) -> None:
        """Count a death, and place another actor instead."""
        self._ray.kill(engine.handle)  # unreachable is not dead, and must not hold its GPU
        self.tally.deaths += 1
        self._deaths_in_a_row += 1
        told = f"an actor on {engine.place} died: {reason(error)}"
        if strict:
            raise NotReadyError(f"{told}; it had not begun to answer")
        if self._deaths_in_a_row > self._settings.attempts + self._division.actors:
            raise NotReadyError(f"{self._deaths_in_a_row} actors died without an answer between; the last: {told}")
        _log.warning(
            N_("an actor on %s died: %s; what it had not answered is asked again"), engine.place, reason(error)
        )
        self._place()

    def _announce(self, announced: Sequence[Announcement]) -> None:
        """Say once what engines say, however many of them say it."""
        fresh = [one for one in dict.fromkeys(announced) if one not in self._announced]
        self._announced.update(fresh)
        announce_again(fresh)
