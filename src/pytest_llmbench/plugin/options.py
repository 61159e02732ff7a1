"""The plugin's `--llmbench-*` options, and where each takes its value from: command line, then ini file."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass

import pytest


@dataclass(frozen=True, slots=True)
class Option:
    """One `--llmbench-*` option. `setting` is False for those that steer the session instead of a setting."""

    name: str
    metavar: str
    help: str
    setting: bool = True

    @property
    def flag(self) -> str:
        """As it is typed."""
        return f"--llmbench-{self.name}"

    @property
    def dest(self) -> str:
        """As the ini file and argparse name it."""
        return f"llmbench_{self.name.replace('-', '_')}"


OPTIONS = (
    Option("config", "FILE", "settings, YAML or JSON (default: configs/llmbench.yaml if there)", setting=False),
    Option("base", "SPEC", "base model: registry alias, hub id, local folder or GGUF file"),
    Option("quantization", "nf4|int8|none", "how the base is loaded"),
    Option("device", "auto|cpu|cuda", "where it runs"),
    Option("batch-size", "auto|N", "prompts answered at once"),
    Option("epochs", "N", "ask every case N times"),
    Option("seed", "N", "seed of the sampling noise"),
    Option("limit", "N", "take only the first N cases"),
    Option("server", "URL", "ask a live OpenAI-compatible server (key in LLMBENCH_API_KEY)"),
    Option("server-model", "NAME", "the server's name for the base"),
    Option("server-adapter", "NAME", "the server's name for the fine-tune, or lora:ID for llama.cpp"),
    Option("report-dir", "DIR", "where reports go (default: reports)"),
    Option("gate", "off|regression|improvement", "what makes the session fail, with exit code 1"),
    Option("margin", "X", "a change up to X does not count"),
    Option("alpha", "X", "chance of a false alarm, in the whole gate (default: 0.05)"),
    Option("max-users", "N", "the most users tried on a live server (default: 50)"),
    Option("latency", "S", "seconds that an answer may take under load (default: 3.0)"),
    Option("quantile", "X|strict", "share of answers within that (default: 0.95); strict allows none above it"),
    Option("require-users", "N", "fail unless the server surely holds so many users"),
)
ADAPTER = Option("adapter", "PATH|auto|none", "LoRA folder; auto takes the newest that fits the base; repeatable")
COMPARE = Option("compare", "RUN", "compare with the latest saved run, or with RUN: number, name, path or git ref")
LATEST = "latest"
"""What `--llmbench-compare` without a value means."""
PROMPTS = Option("prompts", "PATH", "suite file or folder (.yaml, .jsonl, .csv); repeatable")
SAVE = Option("save", "NAME", "name of the saved run", setting=False)
RESUME = Option("resume", "RUN", "go on with the newest unfinished run, or with RUN", setting=False)
STRICT = Option("strict", "", "refuse an adapter that was trained on what the cases ask, instead of announcing it")
CONFIRM = Option("confirm", "", "before a gate fails the session, ask both sides again with fresh seeds")
NO_CACHE = Option("no-cache", "", "ask every case anew instead of reusing stored completions", setting=False)


def add_options(parser: pytest.Parser) -> None:
    """Declare every option and its ini name."""
    group = parser.getgroup("llmbench", "language model benchmarks (pytest-llmbench)")
    for option in (*OPTIONS, SAVE):
        group.addoption(option.flag, dest=option.dest, metavar=option.metavar, default=None, help=option.help)
        parser.addini(option.dest, option.help, default=None)
    for option in (ADAPTER, PROMPTS):
        group.addoption(option.flag, dest=option.dest, metavar=option.metavar, action="append", help=option.help)
        parser.addini(option.dest, option.help, type="args", default=None)
    group.addoption(
        COMPARE.flag, dest=COMPARE.dest, metavar=COMPARE.metavar, nargs="?", const=LATEST, help=COMPARE.help
    )
    parser.addini(COMPARE.dest, COMPARE.help, default=None)
    group.addoption(RESUME.flag, dest=RESUME.dest, metavar=RESUME.metavar, nargs="?", const="", help=RESUME.help)
    for option in (NO_CACHE, STRICT, CONFIRM):
        group.addoption(option.flag, dest=option.dest, action="store_true", default=False, help=option.help)
        parser.addini(option.dest, option.help, type="bool", default=False)


def chosen(config: pytest.Config, option: Option) -> tuple[str, str] | None:
    """The value that was given and where, `("4", "--llmbench-epochs")`: command line over environment over ini file."""
    if (value := config.getoption(option.dest)) is not None:
        return str(value), option.flag
    variable = option.dest.upper()
    if value := os.environ.get(variable):
        return value, variable
    if value := config.getini(option.dest):
        return str(value), f"{config.inipath}: {option.dest}"
    return None


def is_given(config: pytest.Config, flag: Option) -> bool:
    """Whether an option without a value was given on the command line or switched on in the ini file."""
    return bool(config.getoption(flag.dest) or config.getini(flag.dest))


def overrides(config: pytest.Config) -> Mapping[str, tuple[str, str]]:
    """What the command line, and the ini file where the environment is silent, say of settings, by option name."""
    single = (*(option for option in OPTIONS if option.setting), COMPARE)
    given = {option.name: value for option in single if (value := chosen(config, option))}
    for switch in (STRICT, CONFIRM):
        if config.getoption(switch.dest):
            given[switch.name] = ("true", switch.flag)
        elif config.getini(switch.dest) and switch.dest.upper() not in os.environ:
            given[switch.name] = ("true", f"{config.inipath}: {switch.dest}")
    for option in (ADAPTER, PROMPTS):
        values, origin = config.getoption(option.dest), option.flag
        if not values and option.dest.upper() not in os.environ:
            values, origin = config.getini(option.dest), f"{config.inipath}: {option.dest}"
        if values:
            given[option.name] = (json.dumps(values), origin)
    return given
