"""What commands do with the terminal: a count of answers that renews itself on standard error, and a report's width."""

from __future__ import annotations

import shutil
import sys
import time

from pytest_llmbench.core.records import Completion

_RENEW_EVERY_S = 0.2
_PLAIN_EVERY_S = 10.0
_ENOUGH = 0.1

_WIDEST, _NARROWEST = 110, 60


class AnswerCount:
    """Counts answers; the planner tells it of each."""

    def __init__(self) -> None:
        self._renews = sys.stderr.isatty()
        self._planned = self._done = 0
        self._started = self._shown = time.monotonic()

    def planned(self, answers: int) -> None:
        """So many answers are wanted in all."""
        self._planned = answers

    def answered(self, _completion: Completion) -> None:
        """One more is there."""
        self._done += 1
        now = time.monotonic()
        if now - self._shown < (_RENEW_EVERY_S if self._renews else _PLAIN_EVERY_S):
            return
        self._shown = now
        line = f"{self._done}/{self._planned} answers{self._time_left(now)}"
        sys.stderr.write(f"\r{line}\x1b[K" if self._renews else f"{line}\n")
        sys.stderr.flush()

    def _time_left(self, now: float) -> str:
        """Unknown until a few are there: answers come in batches, the first ones long after the start."""
        if self._done < _ENOUGH * self._planned:
            return ""
        return f", about {(now - self._started) / self._done * (self._planned - self._done):.0f} s left"

    def end(self) -> None:
        """Clear the line that renews itself."""
        if self._renews:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def report_width() -> int:
    """The terminal's width in cells, where lines are neither too long nor too short to be read."""
    return max(_NARROWEST, min(_WIDEST, shutil.get_terminal_size((_WIDEST, 0)).columns))
