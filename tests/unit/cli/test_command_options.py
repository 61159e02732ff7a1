"""One name for one option in all commands; the earlier ones are still taken."""

from __future__ import annotations

import logging
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.command_line import llmbench
from typer.main import get_command

from pytest_llmbench.cli import app, options
from pytest_llmbench.cli.options import Command, keys_of
from pytest_llmbench.cli.query import _show
from pytest_llmbench.core.errors import NotReadyError, naming
from pytest_llmbench.core.records import Completion
from pytest_llmbench.core.setting_table import SETTINGS
from pytest_llmbench.core.settings import OPTIONS, Settings
from pytest_llmbench.plugin.options import add_options, flags_by_name

ROOT = Path(__file__).parents[3]

NARROWER = {
    *((command, name) for command in ("compare", "monitor") for name in ("metrics", "margin", "alpha")),
    *(("tune", name) for name in ("vary", "fix", "baseline")),
    *(("context", name) for name in ("compare", "gate")),
    ("finetune", "quantization"),
}
"""Options that mean less than their setting: a part of the gate's or of its values, or one entry of a mapping."""


def options_of(command: str) -> set[str]:
    """The names that a command shows."""
    found = get_command(app)
    for word in command.split():
        found = found.commands[word]  # type: ignore[attr-defined]
    return {name for parameter in found.params for name in parameter.opts}


@pytest.mark.parametrize("command", options._EARLIER)
def test_each_earlier_name_is_taken_and_not_shown(command: str) -> None:
    shown = options_of(command)
    for earlier, name in options._EARLIER[command].items():
        assert f"--{name}" in shown
        assert f"--{earlier}" not in shown
        told = llmbench(*command.split(), f"--{earlier}").output  # without its value
        assert f"--{name}" in told
        assert "No such option" not in told


def test_a_name_is_another_options_own_in_another_command() -> None:
    assert {"--max-tokens", "--max-new-tokens"} <= options_of("autotune")  # the longest tried, and the longest answered


def commands(of: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Every command that does something, by its words."""
    for word, one in getattr(of, "commands", {}).items():
        if hasattr(one, "commands"):
            yield from commands(one, f"{name}{word} ")
        else:
            yield f"{name}{word}", one


COMMANDS = dict(commands(get_command(app)))


def test_what_is_made_from_the_settings_schema_is_up_to_date() -> None:
    assert runpy.run_path(str(ROOT / "tools/reference.py"))["stale"]() == []


def test_every_setting_says_what_it_is_for() -> None:
    keys = [f"{name}.{key}" for name, section in Settings() for key in type(section).model_fields]
    assert list(SETTINGS) == keys
    assert all(shown.description for shown in SETTINGS.values())


def test_pytest_shows_each_setting_as_the_schema_has_it() -> None:
    parser = pytest.Parser(_ispytest=True)
    add_options(parser)
    shown = {option.names()[0]: option.attrs()["help"] for option in parser.getgroup("llmbench").options}
    flags = flags_by_name()
    assert {name: flags[key] for name, key in OPTIONS.items()} == {name: f"--llmbench-{name}" for name in OPTIONS}
    for key in OPTIONS.values():
        assert shown[flags[key]].startswith(SETTINGS[key].help(default=False))


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_shows_its_settings_as_the_schema_has_them(name: str) -> None:
    command = COMMANDS[name]
    assert isinstance(command, Command)
    helps = {str(param.name): param.help for param in command.params if hasattr(param, "help")}
    for parameter, key in keys_of(command).items():
        if (name, parameter) not in NARROWER:
            assert helps[parameter].casefold().startswith(SETTINGS[key].help(default=False).casefold())


def test_a_command_names_its_own_option_for_a_setting_that_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = llmbench("query", "hi", "--server", "nonsense")
    assert done.exit_code == 2
    assert done.stderr == ("error: server.url: 'nonsense' is no URL; write one like http://127.0.0.1:8000 (--server)\n")


@pytest.mark.parametrize(
    ("level", "lines"),
    [("INFO", ["a look", "it is slow (--server)"]), ("WARNING", ["it is slow (--server)"]), ("ERROR", [])],
)
def test_a_command_shows_what_is_announced_from_the_level_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, level: str, lines: list[str]
) -> None:
    def announce(_: Settings, **__: int) -> None:
        log = logging.getLogger("pytest_llmbench")
        log.info("a look")
        log.warning("it is %s", "slow", extra=naming("server.url"))
        raise NotReadyError("nobody answers")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("pytest_llmbench.benchmark.main_job.open_backend", announce)
    before = logging.getLogger("pytest_llmbench").level
    done = llmbench("query", "hi", LLMBENCH_LOGGING__LEVEL=level)
    assert done.stderr.splitlines() == [*lines, "error: nobody answers"]
    assert logging.getLogger("pytest_llmbench").level == before


def test_one_question_is_asked_of_one_actor_however_many_are_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def opened(_settings: Settings, *, engines: int, **_options: object) -> None:
        asked.append(engines)
        raise NotReadyError("nobody answers")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("pytest_llmbench.benchmark.main_job.open_backend", opened)
    assert llmbench("query", "hi", LLMBENCH_RAY__ADDRESS="auto", LLMBENCH_RAY__ACTORS="4").exit_code == 3
    assert asked == [1]


@pytest.mark.parametrize(("timings", "line"), [(True, "[2 tokens in 1.2 s, 2 tokens/s]\n"), (False, "[2 tokens]\n")])
def test_how_long_an_answer_took_is_shown_where_it_is_wanted(
    capsys: pytest.CaptureFixture[str], line: str, *, timings: bool
) -> None:
    answer = Completion("c", 0, "base", "ja", "stop", completion_tokens=2, latency_s=1.25)
    _show(answer, live=False, timings=timings)
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("ja\n", line)
