"""The trials of a search on one server: set up for their level, summed up, and not counted when the server died."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from pytest_llmbench.autotune.trial_summary import trial_summary
from pytest_llmbench.core.errors import ServerError
from pytest_llmbench.generation.client.answer_judge import DROPPED
from pytest_llmbench.load.reasons import Reason
from pytest_llmbench.load.records import SLO, Trial
from pytest_llmbench.load.search_journal import InvalidTrial, SearchJournal
from pytest_llmbench.load.server_metrics import ServerWatch, WatchSummary
from pytest_llmbench.stats.observation import Observation

if TYPE_CHECKING:
    from pytest_llmbench.autotune.progress_events import Onlooker
    from pytest_llmbench.autotune.questions import Question
    from pytest_llmbench.load.conversations import Conversations
    from pytest_llmbench.load.health_check import Presence
    from pytest_llmbench.load.search import RunTrial
    from pytest_llmbench.load.trial import LoadTest


_log = logging.getLogger("pytest_llmbench")
_AWAY_S = 60.0
_MOST_RETURNS = 5
_TOO_LARGE = (400, 413, 422)
_KEPT = "what was tried is kept; start the server again, and resuming goes on"


class SearchTrials:
    """Runs the trials of one search after another. `presence` tells whether the server is there.

    A server that dies in mid-search is waited for, a minute at most each time, unless its process `has_ended` for good.
    With `scrape` the server's metrics and the GPUs are looked at while a trial runs.
    """

    def __init__(
        self,
        load: LoadTest,
        presence: Presence,
        *,
        scrape: bool = True,
        has_ended: Callable[[], bool] = lambda: False,
    ) -> None:
        self._load, self._presence, self._scrape, self._has_ended = load, presence, scrape, has_ended
        self._server, self._limits = load.server, load.limits
        self._returns = 0

    def of(self, question: Question, talks: Conversations, watch: Onlooker, journal: SearchJournal) -> RunTrial:
        """What the search of a question calls for each trial; its clock goes on where the journal ends.

        Each trial draws arrivals and cooldowns of its own, fixed by the seed and its place in the journal: else the
        trials at one level would repeat one another. They raise ServerError when the server refuses the questions
        themselves, or is gone for good.
        """
        origin = time.monotonic() - _elapsed_s(journal)

        async def run(step: int, requests: int) -> Observation | InvalidTrial:
            level, started_s = question.level(step), time.monotonic() - origin
            watch.begin(level)
            self._set_up(question, level, talks, watch, question.plan.budget - journal.sent)
            self._load.habits = dataclasses.replace(self._load.habits, seed=question.habits.seed + len(journal.trials))
            try:
                trial, watched = await self._watched_trial(question.held or level, requests)
            except ServerError as error:
                if question.held is None or step == 1 or error.status not in _TOO_LARGE:
                    raise
                return _refused(error, question, step, requests, started_s)
            entry = trial_summary(trial, self._load.slo, level=level, started_s=started_s, watched=watched)
            seen = observation(trial, self._load.slo, step, entry.json_ready())
            return await self._mended(seen, watch) if isinstance(seen, InvalidTrial) else seen

        return run

    async def _watched_trial(self, users: float, requests: int) -> tuple[Trial, WatchSummary | None]:
        if not self._scrape:
            return await self._trustworthy(await self._load.trial(users, requests)), None
        async with ServerWatch(self._load.server) as watch:
            trial = await self._load.trial(users, requests)
        return await self._trustworthy(trial), watch.summary()

    async def _trustworthy(self, trial: Trial) -> Trial:
        """The trial, invalid where connections broke and the server was not there at its end: it died, it was not late.

        One that did not become idle in time may as well be at work on what the trial left behind: it is asked.
        """
        broken = [request.error for request in trial.requests if request.failure in DROPPED]
        if trial.verdict == "invalid" or trial.idle_after_s is not None or not broken:
            return trial
        if await self._presence.answers():
            return trial
        return dataclasses.replace(trial, verdict="invalid", why=Reason("server_gone", {"error": broken[-1]}))

    def _set_up(self, question: Question, level: float, talks: Conversations, watch: Onlooker, most_sent: int) -> None:
        load = self._load
        load.server, load.habits, load.conversations = self._server, question.habits, talks
        warm_up_s = question.warm_up_s or self._limits.warm_up_s
        load.limits = dataclasses.replace(self._limits, warm_up_s=warm_up_s, most_sent=most_sent)
        load.on_answer = watch.answered
        question.arrange(load, level)

    async def _mended(self, trial: InvalidTrial, watch: Onlooker) -> InvalidTrial:
        """The trial, once the server is back if it was gone.

        Raises:
            ServerError: it stays away, or goes away again and again.
        """
        if trial.code != "server_gone" and await self._presence.answers():
            return trial
        self._returns += 1
        url = self._server.url
        if self._returns > _MOST_RETURNS:
            level = f"{trial.detail['level']:g}"
            raise ServerError(
                f"{url}: went away {self._returns} times, the last time at level {level}; {_KEPT}", names=("resume",)
            )
        _log.warning("%s: %s; its return is waited for, %g s at most", url, trial.reason, _AWAY_S)
        watch.say("waiting for the server to come back")
        if not await self._presence.returned(_AWAY_S, self._has_ended):
            if self._has_ended():
                raise ServerError(f"{url}: its process has ended")
            raise ServerError(f"{url}: gone, and not back after {_AWAY_S:g} s; {_KEPT}", names=("resume",))
        return dataclasses.replace(trial, mended=True)


def _elapsed_s(journal: SearchJournal) -> float:
    """How long the search has been at work by its journal."""
    return max((trial.detail["started_s"] + trial.detail["duration_s"] for trial in journal.trials), default=0.0)


def _refused(error: ServerError, question: Question, step: int, requests: int, started_s: float) -> Observation:
    """A level whose requests the server refuses as too large, at any load: all of the trial's would have failed."""
    why = Reason("refused", {"error": str(error)})
    trial = Trial(question.level(step), (), "broken", why, 0.0, 0.0, 0.0, sent=question.held or 1)
    entry = trial_summary(trial, SLO(), level=trial.level, started_s=started_s)
    told = {**entry.json_ready(), "total": requests, "errors": {str(error): requests}}
    return Observation(step, 0, requests, (), trial.sent, told)


def observation(
    trial: Trial, slo: SLO, step: int | None = None, detail: Mapping[str, Any] | None = None
) -> Observation | InvalidTrial:
    """What a trial tells about the capacity, counted in whole users, or in the steps of whatever else was raised.

    Under a strict promise (quantile 1) the trial as a whole is one answer, since one late answer fails it. `detail` is
    kept with it.
    """
    level, kept = step or int(trial.level), detail or {}
    undecided = slo.quantile >= 1 and trial.verdict == "undecided"
    if trial.verdict == "invalid" or undecided or not trial.requests:
        return InvalidTrial(level, trial.reason, trial.sent, detail=kept, code=trial.why.code)
    if slo.quantile >= 1:
        return Observation(level, int(trial.verdict == "held"), 1, (), trial.sent, kept)
    groups = trial.groups(slo)
    good, total = sum(good for good, _ in groups), sum(total for _, total in groups)
    return Observation(level, good, total, groups, trial.sent, kept)
