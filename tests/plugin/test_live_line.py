"""The line that renews itself: what stays takes its place, and pytest's own output begins on a fresh one."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_llmbench.core.errors import naming
from pytest_llmbench.core.records import Completion
from pytest_llmbench.plugin.progress import Announcements, LiveLine, SessionProgress


class Terminal:
    """Writes down what it is told; `<` stands for going back to the beginning of the line."""

    def __init__(self, *, isatty: bool) -> None:
        self.isatty, self.written = isatty, ""
        writer = SimpleNamespace(width_of_current_line=0)
        self.config = SimpleNamespace(get_terminal_writer=lambda: writer)

    def ensure_newline(self) -> None:
        self.written += "|"

    def rewrite(self, line: str, *, erase: bool) -> None:
        assert erase
        self.written += f"<{line}"

    def write_line(self, line: str) -> None:
        self.written += f"{line}\n"


def line_on(terminal: Terminal, *, visible: bool = True) -> LiveLine:
    plugins = {"terminalreporter": terminal, "capturemanager": None}
    config: Any = SimpleNamespace(pluginmanager=SimpleNamespace(get_plugin=plugins.get))
    return LiveLine(config, visible=visible)


def test_a_terminal_gets_one_line_that_is_left_behind_in_the_end() -> None:
    terminal = Terminal(isatty=True)
    line = line_on(terminal)
    for text in ("one", "two"):
        line.show(text)
    line.settle("two")
    line.settle("two")
    assert terminal.written == "|<one<two<two\n"


def test_what_stays_takes_the_place_of_what_was_renewed() -> None:
    terminal = Terminal(isatty=True)
    line = line_on(terminal)
    line.show("one")
    line.say("stays")
    line.show("two")
    assert terminal.written == "|<one<llmbench: stays\n|<two"


def test_what_is_said_after_the_dots_of_a_quiet_run_has_a_line_of_its_own(pytester: pytest.Pytester) -> None:
    pytester.makeconftest("""
        from pytest_llmbench.plugin.progress import LiveLine

        def pytest_sessionfinish(session):
            LiveLine(session.config, visible=True).say("done")
    """)
    pytester.makepyfile("def test_one(): pass")
    result = pytester.runpytest_inprocess("-q", "-p", "no:llmbench", "-p", "no:asyncio")
    result.stdout.fnmatch_lines([".*[[]100%]", "llmbench: done"], consecutive=True)


def test_elsewhere_each_line_stays() -> None:
    terminal = Terminal(isatty=False)
    line = line_on(terminal)
    line.show("one")
    line.say("two")
    line.settle("one")
    assert terminal.written == "|one\n|llmbench: two\n"


def test_where_nobody_is_to_see_nothing_is_written() -> None:
    terminal = Terminal(isatty=True)
    line = line_on(terminal, visible=False)
    line.show("one")
    line.say("two")
    line.settle("one")
    assert terminal.written == ""


@pytest.mark.parametrize("timings", [True, False])
def test_the_time_of_the_latest_answer_is_shown_where_it_is_wanted(*, timings: bool) -> None:
    terminal = Terminal(isatty=True)
    line = line_on(terminal)
    progress = SessionProgress(line, gpu=False, timings=timings)
    progress.planned(1)
    line.show("begins")
    progress.answered(Completion("c", 0, "base", "ja", "stop", completion_tokens=2, latency_s=1.25))
    progress.settled()
    assert terminal.written.startswith("|<begins<llmbench: 1/1 answers, ")
    assert terminal.written.endswith(", 0 s left, the latest answer in 1.2 s\n" if timings else ", 0 s left\n")


@pytest.mark.parametrize(
    ("level", "said"),
    [
        ("DEBUG", ["look", "smaller (--llmbench-epochs)", "bad"]),
        ("WARNING", ["smaller (--llmbench-epochs)", "bad"]),
        ("ERROR", ["bad"]),
    ],
)
def test_what_is_announced_is_shown_once_from_the_level_on_and_kept_from_warnings_on(
    level: str, said: list[str]
) -> None:
    shown: list[str] = []
    announcements, log = Announcements(shown.append, level), logging.getLogger("pytest_llmbench.test")
    log.setLevel(logging.DEBUG)
    log.addHandler(announcements)
    for _ in range(2):
        log.info("look")
        log.warning("smaller", extra=naming("generation.epochs"))
        log.error("bad")
    log.removeHandler(announcements)
    assert shown == said
    assert list(announcements.warnings) == ["smaller (--llmbench-epochs)", "bad"]
