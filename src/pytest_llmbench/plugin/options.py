"""Declares to pytest the `--llmbench-*` options that settings name, and reads them: command line, then ini file.

The ini file is silent on what a variable of the environment gives by either of its names.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pytest

from pytest_llmbench.core.errors import LLMBenchError, with_flags
from pytest_llmbench.core.setting_table import SETTINGS
from pytest_llmbench.core.starter import CONFIG


@dataclass(frozen=True, slots=True)
class Option:
    """One `--llmbench-*` option. `key` is the setting that it gives, None for those that steer the session alone."""

    name: str
    metavar: str
    help: str
    key: str | None = None

    @property
    def flag(self) -> str:
        """As it is typed."""
        return f"--llmbench-{self.name}"

    @property
    def dest(self) -> str:
        """As the ini file and argparse name it."""
        return f"llmbench_{self.name.replace('-', '_')}"


LATEST = "latest"
"""What `--llmbench-compare` without a value means."""
_MORE = {
    "model.adapter": "; repeatable",
    "benchmark.prompts": "; repeatable",
    "server.url": "; its key is taken from LLMBENCH_API_KEY",
    "gate.baseline": "; without RUN: the latest saved one",
}
"""What is said beside the setting's own help."""
_REPEATABLE = ("model.adapter", "benchmark.prompts")

CONFIG_FILE = Option("config", "FILE", f"settings, YAML or JSON (default: {CONFIG} if there)")
SAVE = Option("save", "NAME", "name of the saved run")
RESUME = Option("resume", "RUN", "go on with the newest unfinished run, or with RUN")
NO_CACHE = Option("no-cache", "", "ask every case anew instead of reusing stored completions", "generation.cache")


def _of_settings() -> Iterator[Option]:
    for key, shown in SETTINGS.items():
        if shown.option:
            yield Option(shown.option, shown.metavar, shown.help(_MORE.get(key, "")), key)


_SETTINGS: Mapping[str, Option] = {str(option.key): option for option in _of_settings()}
_NAMED = ("server.url", "server.model", "gate.kind", "gate.baseline")
SERVER, SERVER_MODEL, GATE, _COMPARE = (_SETTINGS[key] for key in _NAMED)
_SWITCHES = tuple(option for option in _SETTINGS.values() if not option.metavar)
_LISTS = tuple(_SETTINGS[key] for key in _REPEATABLE)
_SINGLE = tuple(option for option in _SETTINGS.values() if option not in (*_SWITCHES, *_LISTS))


def add_options(parser: pytest.Parser) -> None:
    """Declare every option and its ini name."""
    group = parser.getgroup("llmbench", "language model benchmarks (pytest-llmbench)")
    for option in (CONFIG_FILE, *_SINGLE, SAVE):
        without = {"nargs": "?", "const": LATEST} if option is _COMPARE else {}
        group.addoption(
            option.flag, dest=option.dest, metavar=option.metavar, default=None, help=option.help, **without
        )
        parser.addini(option.dest, option.help, default=None)
    for option in _LISTS:
        group.addoption(option.flag, dest=option.dest, metavar=option.metavar, action="append", help=option.help)
        parser.addini(option.dest, option.help, type="args", default=None)
    group.addoption(RESUME.flag, dest=RESUME.dest, metavar=RESUME.metavar, nargs="?", const="", help=RESUME.help)
    for option in (NO_CACHE, *_SWITCHES):
        group.addoption(option.flag, dest=option.dest, action="store_true", default=False, help=option.help)
        parser.addini(option.dest, option.help, type="bool", default=False)


def flags_by_name() -> Mapping[str, str]:
    """The options by the settings that they give, and by the names that engines have for what steers a session."""
    steering = {option.name: option.flag for option in (CONFIG_FILE, SAVE, RESUME)}
    return {key: option.flag for key, option in _SETTINGS.items()} | steering | {str(NO_CACHE.key): NO_CACHE.flag}


def told(message: str, names: tuple[str, ...]) -> str:
    """A message of an engine's with the options by which pytest takes the settings that it names."""
    return with_flags(message, names, flags_by_name().get)


def told_error(error: LLMBenchError) -> str:
    """What an error says, with the options by which what it names is given."""
    return told(str(error), error.names)


def chosen(config: pytest.Config, option: Option) -> tuple[str, str] | None:
    """The value that was given and where, `("4", "--llmbench-epochs")`: command line over environment over ini file."""
    if (value := config.getoption(option.dest)) is not None:
        return str(value), option.flag
    if variable := _in_environment(option):
        return os.environ[variable], variable
    if value := config.getini(option.dest):
        return str(value), _origin_in_ini(config, option)
    return None


def _origin_in_ini(config: pytest.Config, option: Option) -> str:
    """Where a value of the ini file was given: there, or by pytest's own `-o`, which goes over it."""
    typed = (given.partition("=")[0].strip() for given in config.getoption("override_ini") or ())
    return f"-o {option.dest}" if option.dest in typed else f"{config.inipath}: {option.dest}"


def _in_environment(option: Option) -> str | None:
    """The variable that gives an option, by its short name or by its setting's; an empty one counts as not set."""
    names = [option.dest.upper(), *([f"LLMBENCH_{option.key.upper().replace('.', '__')}"] if option.key else [])]
    return next((name for name in names if os.environ.get(name, "").strip()), None)


def is_given(config: pytest.Config, flag: Option) -> bool:
    """Whether an option without a value was given on the command line or switched on in the ini file."""
    return bool(config.getoption(flag.dest) or (config.getini(flag.dest) and not _in_environment(flag)))


def overrides(config: pytest.Config) -> Mapping[str, tuple[str, str]]:
    """What the command line, and the ini file where the environment is silent, say of settings, by option name."""
    given = {option.name: value for option in _SINGLE if (value := chosen(config, option))}
    for switch in _SWITCHES:
        if config.getoption(switch.dest):
            given[switch.name] = ("true", switch.flag)
        elif config.getini(switch.dest) and not _in_environment(switch):
            given[switch.name] = ("true", _origin_in_ini(config, switch))
    for option in _LISTS:
        values, origin = config.getoption(option.dest), option.flag
        if not values and not _in_environment(option):
            values, origin = config.getini(option.dest), _origin_in_ini(config, option)
        if values:
            given[option.name] = (json.dumps(values), origin)
    return given
