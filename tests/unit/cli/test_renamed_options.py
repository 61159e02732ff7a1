"""One name for one option in all commands; the earlier ones are still taken."""

from __future__ import annotations

import pytest
from support.command_line import llmbench
from typer.main import get_command

from pytest_llmbench.cli import app, renamed_options


def options_of(command: str) -> set[str]:
    """The names that a command shows."""
    found = get_command(app)
    for word in command.split():
        found = found.commands[word]  # type: ignore[attr-defined]
    return {name for parameter in found.params for name in parameter.opts}


@pytest.mark.parametrize("command", renamed_options._EARLIER)
def test_each_earlier_name_is_taken_and_not_shown(command: str) -> None:
    shown = options_of(command)
    for earlier, name in renamed_options._EARLIER[command].items():
        assert f"--{name}" in shown
        assert f"--{earlier}" not in shown
        told = llmbench(*command.split(), f"--{earlier}").output  # without its value
        assert f"--{name}" in told
        assert "No such option" not in told


def test_a_name_is_another_options_own_in_another_command() -> None:
    assert {"--max-tokens", "--max-new-tokens"} <= options_of("autotune")  # the longest tried, and the longest answered
