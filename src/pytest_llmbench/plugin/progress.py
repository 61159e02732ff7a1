"""What a person sees while answers are made: a line that renews itself on a terminal, plain lines in CI."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from pytest_llmbench.core.announcing import Announcement
from pytest_llmbench.core.records import Completion
from pytest_llmbench.plugin.options import told

_PLAIN_EVERY_S = 10.0
_RENEW_EVERY_S = 0.2


@dataclass(slots=True)
class VariantPass:
    """What one variant's answers took, those from the cache left out."""

    answers: int = 0
    tokens: int = 0
    seconds: float = 0.0


@dataclass(slots=True)
class Tally:
    """What was answered so far. `tokens`, `busy_s` and `passes` leave out answers that came from the cache."""

    planned: int = 0
    answered: int = 0
    cached: int = 0
    tokens: int = 0
    busy_s: float = 0.0
    passes: dict[str, VariantPass] = field(default_factory=dict)


class LiveLine:
    """Writes between pytest's own lines, from any thread; nothing where there is nobody to see, as in a worker."""

    def __init__(self, config: pytest.Config, *, visible: bool) -> None:
        self._reporter = config.pluginmanager.get_plugin("terminalreporter") if visible else None
        self._capture = config.pluginmanager.get_plugin("capturemanager")
        self._writing = threading.Lock()
        self._on_screen = False

    @property
    def renews(self) -> bool:
        """Whether this is a terminal, where one line can take another's place."""
        return self._reporter is not None and bool(self._reporter.isatty)

    def show(self, line: str) -> None:
        """A line that stays until the next one: on a terminal it is overwritten, elsewhere it is a line like others."""
        self._write(line, renew=self.renews)

    def say(self, message: str) -> None:
        """One line that stays."""
        self._write(f"llmbench: {message}", renew=False)

    def settle(self, line: str) -> None:
        """Leave the last line behind if one is on the screen, so that pytest's own output starts on a fresh one."""
        with self._writing:
            if self._on_screen and self._reporter is not None:
                with self._uncaptured():
                    self._reporter.rewrite(line, erase=True)
                    self._reporter.write_line("")
                self._on_screen = False

    def _write(self, line: str, *, renew: bool) -> None:
        if self._reporter is None:
            return
        with self._writing, self._uncaptured():
            if not self._on_screen:
                self._reporter.ensure_newline()
                if self._reporter.config.get_terminal_writer().width_of_current_line:  # with -q it does not say
                    self._reporter.write_line("")
            if renew or self._on_screen:  # a line that stays takes the place of the one that was renewed
                self._reporter.rewrite(line, erase=True)
            if not renew:
                self._reporter.write_line("" if self._on_screen else line)
            self._on_screen = renew

    @contextlib.contextmanager
    def _uncaptured(self) -> Iterator[None]:
        if self._capture is None:
            yield
        else:
            with self._capture.global_and_fixture_disabled():
                yield


class SessionProgress:
    """Counts completions, and shows them where there is somebody to see."""

    def __init__(self, line: LiveLine, *, gpu: bool, timings: bool) -> None:
        self.tally = Tally()
        self._line, self._gpu, self._timings = line, gpu, timings
        self._latest_s: float | None = None
        self.say = line.say
        self._shown_at = self._last_at = time.monotonic()

    def planned(self, answers: int) -> None:
        """So many answers are wanted in all."""
        self.tally.planned = answers
        self._shown_at = self._last_at = time.monotonic()

    def resumed(self) -> None:
        """Generation goes on after items have done their own work, which is not generation time."""
        self._last_at = time.monotonic()

    def answered(self, completion: Completion) -> None:
        """One more is there."""
        now = time.monotonic()
        self.tally.answered += 1
        if completion.cached:
            self.tally.cached += 1
        else:
            of_variant = self.tally.passes.setdefault(completion.variant, VariantPass())
            of_variant.answers += 1
            of_variant.tokens += completion.completion_tokens or 0
            self.tally.tokens += completion.completion_tokens or 0
            self.tally.busy_s += now - self._last_at
            self._latest_s = completion.latency_s
            of_variant.seconds += now - self._last_at
        self._last_at = now
        if now - self._shown_at >= (_RENEW_EVERY_S if self._line.renews else _PLAIN_EVERY_S):
            self._shown_at = now
            self._line.show(self._state())

    def settled(self) -> None:
        """A batch is done."""
        self._line.settle(self._state())

    def _state(self) -> str:
        tally = self.tally
        rate = tally.tokens / tally.busy_s if tally.busy_s else 0.0
        fresh = tally.answered - tally.cached
        left = (tally.planned - tally.answered) * tally.busy_s / fresh if fresh else 0.0
        line = f"llmbench: {tally.answered}/{tally.planned} answers, {rate:.0f} tokens/s, {left:.0f} s left"
        if self._timings and self._latest_s is not None:
            line = f"{line}, the latest answer in {self._latest_s:.1f} s"
        return f"{line}  {self._memory()}" if self._gpu else line

    def _memory(self) -> str:
        from pytest_llmbench.models.memory.weights import gpu_memory_lines

        return "  ".join(gpu_memory_lines())


class Announcements(logging.Handler):
    """What the engines announce (a fallback, a smaller batch): shown once from a level on; warnings are kept too.

    `level` is `logging.level`. What is kept is for the report, whatever is shown, by the message that was shown.
    """

    def __init__(self, say: Callable[[str], None], level: str) -> None:
        self._shown_from: int = logging.getLevelNamesMapping()[level]
        super().__init__(min(self._shown_from, logging.WARNING))
        self.warnings: dict[str, Announcement] = {}
        self._said: set[str] = set()
        self._say = say

    def recorded(self) -> list[dict[str, Any]]:
        """What was kept, as run files and other processes have it."""
        return [{"said": said, "text": one.text, "values": list(one.values)} for said, one in self.warnings.items()]

    def emit(self, record: logging.LogRecord) -> None:
        """Show and keep one message, unless it was said before."""
        announced = Announcement.of(record)
        message = told(announced.said, announced.names)
        if message in self._said:
            return
        self._said.add(message)
        if record.levelno >= logging.WARNING:
            self.warnings[message] = announced
        if record.levelno >= self._shown_from:
            self._say(message)
