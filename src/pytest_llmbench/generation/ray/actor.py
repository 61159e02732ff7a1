"""What runs inside an actor: one engine, opened from the session's settings, that answers share after share."""

from __future__ import annotations

import importlib.metadata
import logging
import os
import platform
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llmbench import __version__
from pytest_llmbench.core.announcing import Announcement
from pytest_llmbench.core.errors import LLMBenchError
from pytest_llmbench.core.provenance import provenance
from pytest_llmbench.generation.backend import AnswersTogether, KnowsMarks, KnowsTools, OutOfMemoryError

if TYPE_CHECKING:
    from pytest_llmbench.cases.suites import Case
    from pytest_llmbench.core.records import Completion
    from pytest_llmbench.core.settings import Settings
    from pytest_llmbench.generation.backend import Backend
    from pytest_llmbench.generation.ray.assignments import Asked

Opener = Callable[["Settings", Sequence["Case"]], "Backend"]
"""Opens an engine; a function of a module that every machine has, or a partial of one: it goes there by its name."""

Recollector = Callable[["Settings", Sequence["Case"]], Mapping[str, Any] | None]
"""What the last loading found on the machine where it runs; it travels as an `Opener` does."""

_log = logging.getLogger("pytest_llmbench")
_TOLD_EVERY_S = 0.02


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """On which machine an actor is, and with what; `shares_folder` where the session's folder is there too."""

    node: str
    address: str
    versions: Mapping[str, str]
    shares_folder: bool


@dataclass(frozen=True, slots=True)
class Fault:
    """A mistake that a user can mend, as it travels: exceptions of other machines do not keep their kind."""

    code: str
    message: str
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Opened:
    """What an engine says of itself once it is loaded."""

    variants: tuple[str, ...]
    identity: Mapping[str, Mapping[str, str]]
    batch_size: int
    about: Mapping[str, Any]
    announced: tuple[Announcement, ...]


@dataclass(frozen=True, slots=True)
class Recollection:
    """What a machine keeps of the pair's last loading, and what was announced while it was looked up."""

    kept: Mapping[str, Any]
    announced: tuple[Announcement, ...]


@dataclass(frozen=True, slots=True)
class Told:
    """What an actor tells while it answers: completions, warnings, and why it stopped where it did."""

    completions: tuple[Completion, ...] = ()
    announced: tuple[Announcement, ...] = ()
    fault: Fault | None = None
    out_of_memory: bool = False
    at_once: int | None = None
    """How many answers did not fit, where they were fewer than the share."""


class EngineActor:
    """An engine on some machine of the cluster."""

    def __init__(self) -> None:
        self._heard = _Heard()
        _log.addHandler(self._heard)
        self._engine: Backend | None = None

    def where(self, folder: str) -> Whereabouts:
        """Where this is. Paths of settings count from the session's folder, where this machine has it."""
        import ray

        shared = Path(folder).is_dir()
        if shared:
            os.chdir(folder)
        node = ray.get_runtime_context().get_node_id()
        return Whereabouts(node, f"{ray.util.get_node_ip_address()} ({socket.gethostname()})", versions(), shared)

    def recollected(self, recollect: Recollector, settings: Settings, cases: Sequence[Case]) -> Recollection | None:
        """What is kept here of the pair; None where nothing is, or where opening it will tell what is wrong."""
        try:
            kept = recollect(settings, cases)
        except LLMBenchError:
            return None
        if kept is None:
            return None
        return Recollection({**kept, "about": {**kept["about"], "machine": _machine()}}, self._heard.drained())

    def open(self, opener: Opener, settings: Settings, cases: Sequence[Case]) -> Opened | Fault:
        """Load the engine."""
        try:
            self._engine = engine = opener(settings, cases)
            identity = {variant: dict(engine.identity(variant)) for variant in engine.variants}
            about, size = {**engine.describe(), "machine": _machine()}, engine.batch_size()
        except LLMBenchError as error:
            return _fault(error)
        return Opened(engine.variants, identity, size, about, self._heard.drained())

    def answer(self, asked: Sequence[Asked]) -> Iterator[Told]:
        """Answer a share; what is answered is told every few milliseconds."""
        yield from self._telling(self._answers(asked))

    def embed(self, asked: Sequence[Asked]) -> Iterator[Told]:
        """The share's completions with their embeddings."""
        yield from self._telling(self._embedded(asked))

    def tools_left_out(self, case: Case, variant: str) -> str | None:
        """Why the variant is not told of the case's tools; None where it is, or the engine does not know."""
        return self._opened.tools_left_out(case, variant) if isinstance(self._opened, KnowsTools) else None

    def unmarked(self, texts: Sequence[str]) -> list[str]:
        """The texts without special tokens, as answers are read; as they are where the engine does not know them."""
        return self._opened.unmarked(texts) if isinstance(self._opened, KnowsMarks) else list(texts)

    @property
    def _opened(self) -> Backend:
        if self._engine is None:
            raise RuntimeError("an engine is asked before it was opened")
        return self._engine

    def _answers(self, asked: Sequence[Asked]) -> Iterator[Completion]:
        if isinstance(self._opened, AnswersTogether):
            yield from self._opened.complete_together([(one.case, one.variant) for one in asked])
            return
        for variant in dict.fromkeys(one.variant for one in asked):
            yield from self._opened.complete([one.case for one in asked if one.variant == variant], variant)

    def _embedded(self, asked: Sequence[Asked]) -> Iterator[Completion]:
        """A generator, so that what is raised is raised where it is told of and not before."""
        yield from self._opened.embed([(one.case, one.done) for one in asked if one.done])

    def _telling(self, completions: Iterator[Completion]) -> Iterator[Told]:
        """Completions by the handful: a message for each would be most of the work where answers come fast."""
        held: list[Completion] = []
        told_at = 0.0
        fault, out_of_memory, at_once = None, False, None
        try:
            for completion in completions:
                held.append(completion)
                if (now := time.monotonic()) - told_at >= _TOLD_EVERY_S:
                    yield Told(tuple(held))
                    held, told_at = [], now
        except OutOfMemoryError as error:
            out_of_memory, at_once = True, error.at_once
        except LLMBenchError as error:
            fault = _fault(error)
        yield Told(tuple(held), self._heard.drained(), fault, out_of_memory, at_once)


def versions() -> dict[str, str]:
    """What must be the same on every machine, since cases and settings travel as objects."""
    return {
        "Python": ".".join(platform.python_version_tuple()[:2]),
        "Ray": importlib.metadata.version("ray"),
        "pytest-llmbench": __version__,
    }


class _Heard(logging.Handler):
    """The warnings of this machine's engine, until they are told to the session."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._messages: list[Announcement] = []

    def emit(self, record: logging.LogRecord) -> None:
        self._messages.append(Announcement.of(record))

    def drained(self) -> tuple[Announcement, ...]:
        """What was said since the last look."""
        told, self._messages = tuple(self._messages), []
        return told


def _machine() -> dict[str, Any]:
    """What the answers were made on and with, which is not the machine that reports are written on."""
    known = provenance(Path("/"))
    return {key: known[key] for key in ("cpu", "memory_bytes", "gpus", "versions")}


def _fault(error: LLMBenchError) -> Fault:
    return Fault(error.code, str(error), error.names)
