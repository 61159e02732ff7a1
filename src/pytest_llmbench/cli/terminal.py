"""What commands show on the terminal: how far answers and trainings are, on standard error, and a report's width."""

from __future__ import annotations

import contextlib
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from pytest_llmbench.core.records import Completion
    from pytest_llmbench.datasets.record_files import OnProgress
    from pytest_llmbench.finetune.training_log import Moment

_RENEW_EVERY_S = 0.2
_PLAIN_EVERY_S = 10.0
_ENOUGH = 0.1

_MIB = 2**20
_STEP_EVERY_S = 5.0
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


Show = tuple[Callable[[str, int, int | None], None], Callable[["Moment"], None]]


@contextlib.contextmanager
def training_progress(*, shown: bool) -> Iterator[Show]:
    """Tells of reading and of steps: with a bar on a terminal, in plain lines elsewhere; nothing unless `shown`."""
    if not shown:
        yield (lambda _what, _done, _of: None), (lambda _moment: None)
        return
    if not sys.stderr.isatty():
        yield _plain()
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("loading", total=None)

        def reading(what: str, done: int, of: int | None) -> None:
            ended = of is None or done >= of
            bar.update(task, completed=done, total=None if ended else of, description="loading" if ended else what)

        def show(moment: Moment) -> None:
            step = moment.step
            description = f"{step.step}/{step.of} {_state(moment)}"
            bar.update(task, completed=step.step, total=step.of, description=description)

        yield reading, show


def _plain() -> Show:
    shown_at = {"reading": time.monotonic(), "step": 0.0}  # a small dataset is read before there is much to tell

    def say(kind: str, line: str, *, last: bool = False) -> None:
        now = time.monotonic()
        if now - shown_at[kind] >= _STEP_EVERY_S or last:
            shown_at[kind] = now
            typer.echo(line, err=True)

    def reading(what: str, done: int, of: int | None) -> None:
        if of and done < of:
            say("reading", f"{what}: {done / of:.0%}")

    def show(moment: Moment) -> None:
        step = moment.step
        say("step", f"step {step.step}/{step.of}  {_state(moment)}", last=step.step == step.of)

    return reading, show


def _state(moment: Moment) -> str:
    step = moment.step
    left = "" if moment.seconds_left is None else f"  {_minutes(moment.seconds_left)} left"
    return (
        f"loss {step.loss:.3f}  token accuracy {step.token_accuracy:.1%}  {moment.tokens_per_s:.0f} tokens/s  "
        f"{moment.memory / _MIB:.0f} MiB{left}"
    )


def _minutes(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


@contextlib.contextmanager
def dataset_progress() -> Iterator[OnProgress]:
    """A bar for each thing that is done, on a terminal; nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda *_: None
        return
    from rich.console import Console
    from rich.progress import Progress, TaskID

    with Progress(console=Console(stderr=True), transient=True) as bars:
        known: dict[str, TaskID] = {}

        def tell(what: str, done: int, of: int | None) -> None:
            if what not in known:
                known[what] = bars.add_task(what, total=of)
            bars.update(known[what], completed=done)

        yield tell
