"""What a live server holds: how many users, requests a second, messages of history, tokens of an answer.

Each question is one search (`load/search.py`) over trials (`load/trial.py`), journaled trial by trial, and comes back
as a `Finding`, the plain document that reports are made of.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pytest_llmbench.autotune import model_limits, questions
from pytest_llmbench.autotune.document import Finding, Server, TrialEntry
from pytest_llmbench.autotune.findings import finding
from pytest_llmbench.autotune.progress_events import Look, Onlooker
from pytest_llmbench.autotune.questions import Question
from pytest_llmbench.autotune.target_names import journal_name, target_name
from pytest_llmbench.autotune.targets import Target, chat_server, digest_of, talks, targets_of
from pytest_llmbench.autotune.trials import SearchTrials
from pytest_llmbench.core.errors import ServerError, naming
from pytest_llmbench.generation.client.chat_client import ChatClient
from pytest_llmbench.generation.client.chat_request import request_body, whole_body
from pytest_llmbench.load.conversations import Conversations
from pytest_llmbench.load.search import RunTrial, SearchProgress, find_capacity, find_lost, lost_so_far, open_journal
from pytest_llmbench.load.search_journal import InvalidTrial, SearchJournal, claimed, discard, searched
from pytest_llmbench.load.trial import LoadTest, TrialLimits

if TYPE_CHECKING:
    from pytest_llmbench.core.settings import Settings
    from pytest_llmbench.stats.observation import Observation

__all__ = ["Finding", "Look", "ServerUnderTest", "Target", "TrialEntry", "targets_of"]

_log = logging.getLogger("pytest_llmbench")
_ROUNDS = 100_000
_ARCHIVED = 16
_STEP_FROM = {"rate": "load.max_rate", "max_tokens": "load.max_tokens"}
"""The settings that decide what a step of a question means."""
_GOES_ON = "resuming goes on with it, where load.time_limit and load.budget allow"
_FIRST_RATE = 16  # of the 1024 steps to the highest one


class ServerUnderTest:
    """One server and model, for all questions about it; an async context manager, entering it checks the server.

    Args:
        settings: how it is asked (`generation`, `server`), by whom and with what promise (`load`).
        target: what is asked.
        folder: where the journals lie; None for `autotune` in the report folder.
        resume: go on from the journals there; else they are replaced.
        progress: told how each search stands.
        after_trial: told after each trial what is known by then; what it raises ends the search.
        limits: of single trials.
        has_ended: whether the server's process has, where that is known: nobody waits for its return then.

    Raises:
        UsageError: there is nothing to say to the server, or, asking a question, its journal is another search's or in
            use.
        ServerError: nobody answers there, the key is refused, the model is not served; or, asking a question, the
            server went away for good.
    """

    def __init__(
        self,
        settings: Settings,
        target: Target,
        *,
        folder: Path | None = None,
        resume: bool = False,
        progress: Callable[[Look], None] = lambda _look: None,
        after_trial: Callable[[SearchProgress], None] = lambda _progress: None,
        limits: TrialLimits | None = None,
        has_ended: Callable[[], bool] = lambda: False,
    ) -> None:
        self.target = target
        self.findings: dict[str, Finding] = {}
        self._settings, self._resume, self._progress = settings, resume, progress
        self._after_trial, self._has_ended = after_trial, has_ended
        self._folder = folder or settings.output.report_dir / "autotune"
        self._limits = limits or TrialLimits()
        self._talks = talks(settings)
        self._conversations = self._new_conversations()

    async def __aenter__(self) -> Self:
        async with contextlib.AsyncExitStack() as opened:
            self._load = await opened.enter_async_context(self._load_test(opened))
            server = self._load.server
            headers = {**server.headers, "Connection": "close"}
            self._control = ChatClient(server.url, headers, 1, server.timeout_s, 0, server.tls)
            opened.push_async_callback(self._control.close)
            self._opened = opened.pop_all()
        self._server = server
        scrape = self._settings.load.scrape
        self._trials = SearchTrials(self._load, self._load.presence, scrape=scrape, has_ended=self._has_ended)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._opened.aclose()

    def _load_test(self, opened: contextlib.AsyncExitStack) -> LoadTest:
        """The users, whose machines are left when `opened` is."""
        settings = self._settings
        processes, machines = settings.load.processes, None
        if processes == "ray":
            from pytest_llmbench.load.ray_workers import RayMachines

            processes, machines = "auto", RayMachines.joined(settings.ray)
            opened.callback(machines.close)
        return LoadTest(
            chat_server(settings, self.target),
            self._conversations,
            questions.people(settings),
            questions.promise(settings.load),
            self._limits,
            processes=processes,
            machines=machines,
        )

    @property
    def model(self) -> str:
        """The model that is asked."""
        return str(self._server.body["model"])

    @property
    def about(self) -> Server:
        """Who is asked, as reports take it."""
        return Server(name=self.model, url=self._server.url, model_name=self.model, engine=self._load.engine.text)

    def path_of(self, name: str) -> Path:
        """Where that which a search of this name has tried is kept."""
        targets = (Target(one.url, one.model) for one in self._settings.load.targets)
        others = [one for one in targets if one != self.target]
        return self._folder / f"{journal_name(self.model, self._server.url, others)}-{name}.jsonl"

    async def max_users(self, first: int = 1) -> Finding:
        """The most users who are held; so many are tried `first`."""
        return await self._search(questions.users(self._settings, first), self._plain_talks)

    async def max_rate(self) -> Finding:
        """The most requests a second that are held when people come at random and never wait for one another."""
        span, begun = questions.rate_range(self._settings), time.monotonic()
        if not self._resume:
            with claimed(self.path_of("rate")):
                self._discard(self.path_of("rate"))  # its steps follow from a range that is looked for anew
        with self._journal(span, "rate-range") as journal:
            watch = Onlooker(span, self._name, self._progress, journal.sent)
            lost = await find_lost(
                self._trials.of(span, self._conversations, watch, journal),
                span.plan,
                journal,
                start=_FIRST_RATE,
                requests_at=lambda step: questions.requests_of_a_look(self._settings, span.level(step)),
            )
            question = questions.rate(self._settings, span.level(lost))
            known = questions.rescaled(journal.observations, lost, question)
            spent = journal.sent - sum(trial.cost for trial in known)
            self._drop_other_steps(question)
            question = question.with_less(0, time.monotonic() - begun)
            found = await self._search(question, self._plain_talks, known, spent)
            _, is_settled = lost_so_far(journal.observations, span.plan, _FIRST_RATE)
            if is_settled or (found.held and not found.capped):
                journal.finish({"lost": span.level(lost)})
            else:
                told = "%s: the look for the range of rates was cut short at %g a second; %s"
                _log.warning(told, self._name, span.level(lost), _GOES_ON, extra=naming("resume"))
        return found

    async def max_history(self) -> Finding:
        """The most messages of history that may be sent along with each question."""
        question = questions.history(self._settings, self._held())
        return await self._search(question, self._remembering_talks, spent=_ARCHIVED)

    async def max_tokens(self) -> Finding:
        """The longest answers that may be asked for."""
        return await self._search(questions.max_tokens(self._settings, self._held()), self._plain_talks)

    async def _search(
        self,
        question: Question,
        talks: Callable[[], Awaitable[Conversations]],
        known: Sequence[Observation] = (),
        spent: int = 0,
    ) -> Finding:
        """Search, with `known` trials to begin with. So many requests of the budget were `spent` besides.

        What is said is made for the first trial: a search that has come to its end asks nothing for it.
        """
        question = question.with_less(spent)
        with self._journal(question, question.name) as journal:
            for trial in () if journal.trials else known:
                journal.add(trial)
            question = question.reaching(max((trial.level for trial in journal.observations), default=0))
            watch = Onlooker(question, self._name, self._progress, journal.sent)
            run_trial: RunTrial | None = None

            async def run(step: int, requests: int) -> Observation | InvalidTrial:
                nonlocal run_trial
                run_trial = run_trial or self._trials.of(question, await talks(), watch, journal)
                return await run_trial(step, requests)

            def judged(step: SearchProgress) -> None:
                watch.judged(step)
                self._after_trial(step)

            found = await find_capacity(run, question.plan, journal=journal, progress=judged)
            required = self._settings.load.require_users if question.name == "users" else None
            made = finding(
                question,
                found,
                self._load.slo,
                required=required,
                resumed=journal.resumed,
                tested_at=journal.tested_at,
                spent=spent,
            )
            if made.asked_nobody:
                when = made.tested_at or "an earlier day"  # a journal of before it was kept
                _log.warning("%s: the search was finished on %s, nothing was asked", question.name, when)
            journal.finish({"value": made.value, "low": made.low, "high": made.high, "decided": made.decided})
        self.findings[question.name] = made
        return made

    @contextlib.contextmanager
    def _journal(self, question: Question, name: str) -> Iterator[SearchJournal]:
        """The journal of a search, nobody else's meanwhile; one that is there is gone on from, or replaced."""
        path = self.path_of(name)
        with claimed(path):
            if not self._resume:
                self._discard(path)
            called = {"step": _STEP_FROM.get(question.name, "step")}
            journal = open_journal(path, question.plan, self._identity(question), called)
            if journal.resumed:
                _log.warning("%s: going on after %d trials", path, journal.resumed)
            yield journal

    def _discard(self, path: Path) -> None:
        if lost := discard(path):
            told = "%s: %d trials of a stopped search are dropped; resuming goes on from one with the same settings"
            _log.warning(told, path, lost, extra=naming("resume"))

    def _drop_other_steps(self, question: Question) -> None:
        """Drop the journal of a question whose steps meant something else: the range was cut short, and went on."""
        path = self.path_of(question.name)
        with claimed(path):
            if searched(path).get("step", question.scale) != question.scale:
                discard(path)
                _log.warning("%s: the range of the search went on, and its trials of before are dropped", path)

    def _identity(self, question: Question) -> dict[str, Any]:
        """All that the trials of a question depend on."""
        return {
            "question": question.name,
            "url": self._server.url,
            "body": dict(self._server.body),
            **({"system_role": "user"} if self._server.system_role == "user" else {}),
            "stream": self._server.stream,
            "timeout_s": self._server.timeout_s,
            "conversations": digest_of(self._talks),
            "slo": dataclasses.asdict(self._load.slo),
            "habits": dataclasses.asdict(question.habits),
            "users": question.held,
            "step": question.scale,
        }

    def _held(self) -> int:
        """How many users are there while other things are raised."""
        if self._settings.load.users:
            return self._settings.load.users
        found = self.findings.get("users")
        out, url = self._settings.load.out, self._server.url
        known = int(found.value) if found else model_limits.users_of(out, self.model, url)
        return max(1, known or 1)

    def _new_conversations(self, archive: Sequence[tuple[str, str]] = ()) -> Conversations:
        """What an earlier search left in the server's cache fits none of them: their numbers begin at the time."""
        first_round = int(time.time()) % _ROUNDS + 2
        return Conversations(self._talks, self._settings.generation.seed, first_round=first_round, archive=archive)

    async def _plain_talks(self) -> Conversations:
        return self._conversations

    async def _remembering_talks(self) -> Conversations:
        return self._new_conversations(await self._archive())

    async def _archive(self) -> list[tuple[str, str]]:
        """Ask some questions of the suites while nobody else does: with the answers, histories are made of them.

        Raises:
            ServerError: one is not answered.
        """
        archive: list[tuple[str, str]] = []
        standing, system_role = whole_body(self._server.standing), self._server.system_role
        for talk in (self._conversations.deal(1) for _ in range(_ARCHIVED)):
            reply = await self._control.ask(request_body(standing, talk.messages(), system_role=system_role))
            if reply.error or reply.finish == "timeout":
                why = reply.error or f"no answer in {self._server.timeout_s:g} s"
                raise ServerError(f"{self._server.url}: a question for the histories failed: {why}")
            archive.append((talk.turns[0], reply.text))
        return archive

    @property
    def _name(self) -> str:
        return target_name(self.model, self._server.url, several=len(self._settings.load.targets) > 1)
