"""What a person is told while a search goes on."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_llmbench.autotune.questions import Question
    from pytest_llmbench.load.search import SearchProgress

_EVERY_S = 0.2


@dataclasses.dataclass(frozen=True, slots=True)
class Look:
    """How a search stands, told at most 5 times a second while answers are judged, and after each trial.

    `verdict` is "held so far, 17 of 18" while a trial runs, then the trial's; `estimate` "8 users (6 to 11)", or
    "at least 1 user (95 % interval from 0)", or "" before the first trial. `sent` and `left` are requests. `over` tells
    of a trial's end, `kept` that there are trials to go on from.
    """

    question: str
    target: str
    level: float
    unit: str
    verdict: str
    estimate: str
    sent: int
    left: int
    over: bool = False
    kept: bool = False


class Onlooker:
    """Turns what happens in the search of one question into looks."""

    def __init__(self, question: Question, target: str, tell: Callable[[Look], None], sent: int) -> None:
        self._question, self._target, self._tell = question, target, tell
        self._sent = sent
        self._level = 0.0
        self._estimate = ""
        self._told_at = 0.0

    def begin(self, level: float) -> None:
        """A trial begins."""
        self._level, self._told_at = level, 0.0
        self.say("begins")

    def answered(self, good: int, judged: int) -> None:
        """So many answers of the trial were judged."""
        now = time.monotonic()
        if judged and now - self._told_at >= _EVERY_S:
            self._told_at = now
            word = "held" if good >= self._question.plan.share * judged else "broken"
            self.say(f"{word} so far, {good} of {judged}", judged)

    def judged(self, step: SearchProgress) -> None:
        """A trial is over."""
        level, capacity, detail = self._question.level, step.capacity, step.trial.detail
        self._sent = step.sent
        users, low, high = (f"{level(step):.4g}" for step in (capacity.users, capacity.low, capacity.high))
        ends = f"95 % interval from {low}" if capacity.unbounded else f"{low} to {high}"
        self._estimate = f"{'at least ' if capacity.more else ''}{users} {self._unit(users)} ({ends})"
        self.say(f"{detail['verdict']}, {detail['good']} of {detail['total']}", over=True)

    def _unit(self, count: str) -> str:
        unit = self._question.unit
        return unit.removesuffix("s") if count == "1" and not unit.endswith("/s") else unit

    def say(self, verdict: str, meanwhile: int = 0, *, over: bool = False) -> None:
        """Tell it; `meanwhile` requests were judged since the last trial, `over` when it ends one."""
        question, sent = self._question, self._sent + meanwhile
        left = max(0, question.plan.budget - sent)
        names = question.name, self._target, self._level, question.unit
        self._tell(Look(*names, verdict, self._estimate, sent, left, over, kept=self._sent > 0))
