"""The tuning itself: servers are started, checked and measured in turn, and the winner again beside the baseline."""

from __future__ import annotations

import contextlib
import dataclasses
import shlex
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from pytest_llmbench.context.tuning.document import RoundDocument, TrialOutcome, TuningTrial, UsersDocument
from pytest_llmbench.context.tuning.known_questions import QUESTIONS, RightAnswers
from pytest_llmbench.core.errors import NotReadyError

if TYPE_CHECKING:
    from pytest_llmbench.context.tuning.launching import Launched, Launcher
    from pytest_llmbench.context.tuning.measuring import Measure, Measured
    from pytest_llmbench.context.tuning.space import Candidate, SearchSpace
    from pytest_llmbench.context.tuning.study import TuningStudy

_SEEN_WITHIN_S, _LOOK_EVERY_S = 1.0, 0.05

Tell = Callable[[str, bool], None]
"""Shows how it stands: a line, and whether it stays or only until the next one."""


@dataclasses.dataclass(frozen=True, slots=True)
class Tuner:
    """Who starts, checks and measures. `check(url)` asks the known questions; `context` tokens a request are wanted."""

    launcher: Launcher
    space: SearchSpace
    check: Callable[[str], RightAnswers]
    measure: Measure
    context: int
    tell: Tell

    def search(self, study: TuningStudy, trials: int, seconds: float | None) -> None:
        """Go on until so many servers were started, the time is over, or every choice is known.

        Raises:
            NotReadyError: the baseline cannot be measured, so there is nothing to compare with.
        """
        ends = None if seconds is None else time.monotonic() + seconds
        while len(study.trials) < trials and (ends is None or time.monotonic() < ends):
            found = study.next()
            if found is None:
                return
            asked, candidate = found
            made = self._trial(candidate, study.trials, trials)
            if not study.trials and made.outcome != "measured":
                self.tell("", False)  # noqa: FBT003  # nothing of it is kept to go on with
                raise _unmeasured(made)
            study.tell(asked, made, candidate)

    def confirm(self, study: TuningStudy, rounds: int) -> None:
        """Measure the winner and the baseline again, in turns, until there are so many rounds of the two.

        Raises:
            NotReadyError: one of them cannot be started or measured any more.
        """
        best = winner(study.trials)
        if best.number == study.trials[0].number:
            return
        both = study.trials[0], best
        while (done := len(study.rounds_of(best.number))) < rounds:
            winner_first = done % 2 == 1  # what a machine does over time meets both alike
            name = f"round {done + 1} of {rounds}"
            first = max(1, best.held.users if best.held else 1)  # of both: one cut short ends by where it began
            turns = reversed(both) if winner_first else both
            held = {trial.number: self._again(trial, name, first) for trial in turns}
            made = {"baseline": held[both[0].number], "winner": held[best.number]}
            study.add_round(RoundDocument(**made, winner_first=winner_first, trial=best.number))

    def _trial(self, candidate: Candidate, known: Sequence[TuningTrial], trials: int) -> TuningTrial:
        number, begun = len(known) + 1, time.monotonic()
        name = f"trial {number} of {trials} | {_shown(candidate)}"
        self.tell(f"{name} | starts", False)  # noqa: FBT003  # as `Tell` has it
        facts = self._started(candidate, known, name)
        made = TuningTrial(
            number=number,
            settings=dict(candidate.values),
            launch=candidate.launch,
            command=shlex.join(self.launcher.command(candidate)),
            seconds=round(time.monotonic() - begun, 3),
            **facts,
        )
        self.tell(f"{name} | {_outcome(made)}", True)  # noqa: FBT003
        return made

    def _started(self, candidate: Candidate, known: Sequence[TuningTrial], name: str) -> dict[str, Any]:
        begun = time.monotonic()
        with contextlib.ExitStack() as running:
            try:
                server = running.enter_context(self.launcher.launch(candidate))
            except NotReadyError as error:
                return {"outcome": "not_started", "reason": str(error)}
            start_s = round(time.monotonic() - begun, 3)
            try:
                return {"start_s": start_s, **self._measured(server, known, name)}
            except NotReadyError as error:
                why = _why_gone(server)
                outcome: TrialOutcome = "died" if why else "failed"
                return {"start_s": start_s, "outcome": outcome, "reason": f"{error}{f' ({why})' if why else ''}"}

    def _measured(self, server: Launched, known: Sequence[TuningTrial], name: str) -> dict[str, Any]:
        seen = self.check(server.url)
        facts = {"right": tuple(sorted(seen.right)), "asked": len(QUESTIONS), "context_tokens": seen.context}
        if seen.context is not None and seen.context < self.context:
            told = seen.why or f"a request may hold {seen.context} tokens"
            return {**facts, "outcome": "short_context", "reason": told}
        if not seen.right or (known and not seen.as_right_as(frozenset(known[0].right))):
            return {**facts, "outcome": "wrong_answers", "reason": str(seen)}
        least = bar(known)
        held = self.measure(server, name, first=least or 1, bar=least)
        return {**facts, "outcome": "surely_worse" if held.stopped else "measured", "held": users_found(held)}

    def _again(self, trial: TuningTrial, about: str, first: int) -> UsersDocument:
        name = f"{about} | {'baseline' if trial.number == 1 else 'winner'}"
        with self.launcher.launch(self.space.candidate(trial.settings)) as server:
            held = users_found(self.measure(server, name, first=first))
        self.tell(f"{name} | {held.text}", True)  # noqa: FBT003
        return held


def _why_gone(server: Launched) -> str | None:
    """Why its process ended, None where it goes on: that it closed a connection is seen a moment before."""
    ends = time.monotonic() + _SEEN_WITHIN_S
    while (why := server.why_gone()) is None and time.monotonic() < ends:
        time.sleep(_LOOK_EVERY_S)
    return why


def winner(trials: Sequence[TuningTrial]) -> TuningTrial:
    """The one that seems to hold most users; the baseline, which is the first, where none seems to hold more.

    Of those that hold "that or more" it is the one that was seen to hold most: how many they hold was not measured.
    """
    return max(measured_ones(trials), key=lambda one: _seen(one.held) if one.held else 0.0)


def measured_ones(trials: Sequence[TuningTrial]) -> list[TuningTrial]:
    """Those whose search came to its end."""
    return [one for one in trials if one.outcome == "measured"]


def _seen(held: UsersDocument) -> float:
    return held.users if held.more else held.mean


def bar(trials: Sequence[TuningTrial]) -> int | None:
    """The users that a trial must be able to hold to matter; None where nothing is known to be held."""
    held = max((one.held.users for one in measured_ones(trials) if one.held), default=0)
    return held or None


def users_found(held: Measured) -> UsersDocument:
    """What was measured, as the document has it."""
    return UsersDocument(
        users=held.users,
        low=held.low,
        high=held.high,
        mean=round(held.mean, 4),
        deviation=round(held.deviation, 4),
        more=held.more,
        decided=held.decided,
        sent=held.sent,
        seconds=round(held.seconds, 3),
    )


def _unmeasured(baseline: TuningTrial) -> NotReadyError:
    return NotReadyError(
        f"the baseline cannot be measured ({baseline.outcome.replace('_', ' ')}: {baseline.reason}); see that it "
        "runs, or set another with tune.baseline",
        names=("tune.baseline",),
    )


def _shown(candidate: Candidate) -> str:
    return " ".join(f"{name}={'-' if value is None else value}" for name, value in candidate.values.items())


def _outcome(made: TuningTrial) -> str:
    if made.held is None:
        return f"{made.outcome.replace('_', ' ')}: {made.reason}"
    told = made.held.text
    return f"{told}, surely fewer than the best" if made.outcome == "surely_worse" else told
