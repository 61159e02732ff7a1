"""How long a context one server really holds: the test of it, from its settings to its part of the document."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llmbench.autotune.questions import promise
from pytest_llmbench.autotune.targets import Target, chat_server
from pytest_llmbench.context.course import Course, Step, Tell
from pytest_llmbench.context.live_server import LiveServer
from pytest_llmbench.context.local_tokenizer import local_ways
from pytest_llmbench.context.plan import planned
from pytest_llmbench.context.probe_journal import ProbeJournal
from pytest_llmbench.context.serving.family import find_member, longest_of
from pytest_llmbench.context.side_checks import findings_in
from pytest_llmbench.core.errors import ServerError, UsageError, naming
from pytest_llmbench.load.search_journal import claimed, discard
from pytest_llmbench.runs.context_document import ContextTarget, CountingDocument, FindingDocument, ServerDocument

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_llmbench.context.announced import Announced
    from pytest_llmbench.core.settings import Settings

__all__ = ["ContextRun", "Step", "Target"]

_log = logging.getLogger("pytest_llmbench")
_DIGEST_CHARS = 8
_NO_MATTER = {"probes", "precision", "margin", "require", "time_limit"}  # settings that no probe depends on


class ContextRun:
    """The test of one server and model.

    Args:
        settings: what is asked (`context`), with which promise (`load`), of whom (`server`).
        target: the server and model.
        folder: where the journal lies; None for `context` in the report folder.
        resume: go on from the journal there; else it is replaced.
        tell: told of each probe as it comes.
    """

    def __init__(
        self,
        settings: Settings,
        target: Target,
        *,
        folder: Path | None = None,
        resume: bool = False,
        tell: Tell = lambda _step: None,
    ) -> None:
        self._settings, self._target = _greedy(settings), target
        self._folder = folder or settings.output.report_dir / "context"
        self._resume, self._tell = resume, tell

    async def measure(self) -> ContextTarget:
        """Test the server. One that goes away for good ends the test early: what was found until then is returned.

        Raises:
            UsageError: lengths that cannot be; a journal that is another test's, or in use.
            ServerError: nobody answers to begin with, nothing counts tokens, or plain questions are refused.
        """
        settings = self._settings
        if settings.load.measured == "first_token" and not settings.server.stream:
            raise UsageError(
                "load.measured is first_token, which needs streamed answers; set server.stream, or measure the total"
            )
        server = dataclasses.replace(chat_server(settings, self._target), timeout_s=settings.context.timeout)
        native, ways, retries = _longest_read(settings), local_ways(settings), settings.server.retries
        async with LiveServer(server, ways, retries=retries, scrape=settings.load.scrape) as live:
            announced = await live.announced()
            plan = planned(settings.context, announced, native)
            path = self._folder / f"{self._journal_name(live)}.jsonl"
            with claimed(path):
                journal = self._journal(path, live)
                course = Course(settings, live, announced, journal, self._tell)
                await live.prepare()
                shortest = await course.check_shortest(plan)
                try:
                    await course.measure(plan, shortest)
                    if not course.ran_out_of_time:
                        journal.finish()
                except ServerError as error:
                    _log.warning("%s", error, extra=naming(*error.names))
                return self._target_document(course, live, announced)

    def _journal_name(self, live: LiveServer) -> str:
        """The model's; where another target may serve one of that name, the server is in it too."""
        name = _slug(live.model)
        namesakes = [one for one in self._settings.load.targets if one.model is None or _slug(one.model) == name]
        if len(namesakes) <= 1:
            return name
        return f"{name}-{hashlib.sha256(f'{live.url} {live.model}'.encode()).hexdigest()[:_DIGEST_CHARS]}"

    def _journal(self, path: Path, live: LiveServer) -> ProbeJournal:
        if not self._resume and (lost := discard(path)):
            told = "%s: %d prompts of an earlier test are dropped; resuming goes on from one with the same settings"
            _log.warning(told, path, lost, extra=naming("resume"))
        journal = ProbeJournal(path, self._identity(live))
        if journal.resumed:
            _log.warning("%s: going on after %d probes", path, journal.resumed)
        return journal

    def _identity(self, live: LiveServer) -> dict[str, Any]:
        """All that probes depend on."""
        context = self._settings.context.model_dump(mode="json", exclude=_NO_MATTER)
        asked = {"url": live.url, "body": dict(live.checked.server.body), "seed": self._settings.generation.seed}
        return {**asked, "context": context, "promise": dataclasses.asdict(promise(self._settings.load))}

    def _target_document(self, course: Course, live: LiveServer, announced: Announced) -> ContextTarget:
        engine, counter, limits = live.checked.engine, live.counter, course.limits
        off = max([live.most_off, *(abs(probe.prompt_tokens - probe.length) for probe in course.probes)])
        return ContextTarget(
            name=live.model,
            server=ServerDocument(
                url=live.url,
                kind=engine.name,
                version=engine.version,
                announced_context=announced.context,
                slots=announced.slots,
            ),
            model=live.model,
            languages=self._settings.context.asked_languages,
            promise=course.promise,
            lengths=course.lengths,
            depths=self._settings.context.depths,
            counting=CountingDocument(
                method=counter.method,
                exact=counter.exact and not off,
                most_off=off,
                template_tokens=counter.template_tokens,
            ),
            probes=tuple(course.probes),
            limits=limits,
            answer=limits.answer(),
            findings=tuple(self._findings(course, live, announced)),
            duration_s=course.duration_s,
            resumed_probes=course.resumed,
        )

    def _findings(self, course: Course, live: LiveServer, announced: Announced) -> Iterator[FindingDocument]:
        yield from findings_in(course.probes, course.limits.accepted, announced, course.answer_tokens)
        yield from course.findings
        if course.ran_out_of_time:
            yield FindingDocument(code="time_over", values={"seconds": self._settings.context.time_limit})
        if not live.counter.has_usage:
            yield FindingDocument(code="no_usage")
        if live.most_off:
            yield FindingDocument(code="count_differs", values={"most_off": live.most_off})


def _longest_read(settings: Settings) -> int | None:
    """How long a context the model of the settings reads, stretched as far as its publisher vouches for.

    Raises:
        UsageError: it is not of the family.
    """
    model = settings.context.model
    return None if model is None else longest_of(find_member(model, "context.model"))


def _greedy(settings: Settings) -> Settings:
    """Facts are asked for without sampling: the same prompt shall have the same answer at every length."""
    return settings.model_copy(update={"generation": settings.generation.model_copy(update={"do_sample": False})})


def _slug(name: str) -> str:
    return re.sub(r"[^\w.]+", "-", name).strip("-.") or "model"
