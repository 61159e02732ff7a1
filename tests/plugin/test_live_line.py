"""The line that renews itself: what stays takes its place, and pytest's own output begins on a fresh one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from pytest_llmbench.plugin.progress import LiveLine


class Terminal:
    """Writes down what it is told; `<` stands for going back to the beginning of the line."""

    def __init__(self, *, isatty: bool) -> None:
        self.isatty, self.written = isatty, ""

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
