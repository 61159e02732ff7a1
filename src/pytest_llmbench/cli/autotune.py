"""`llmbench autotune`."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pytest_llmbench.cli.options import (
    Config,
    Json,
    Language,
    MaxNewTokens,
    ReportDir,
    SettingOption,
    chosen_settings,
)
from pytest_llmbench.core.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_llmbench.autotune.limit_search import Question
    from pytest_llmbench.core.setting_sections import Settings

QUESTIONS: tuple[Question, ...] = ("users", "rate", "history", "max_tokens", "temperature")
"""What can be asked, in the order in which one answer gives to the next."""

Number = str | None  # checked where settings are, whose messages name the option


@dataclasses.dataclass(frozen=True, slots=True)
class _Load:
    """The promise, the users, and how far is looked."""

    latency: Annotated[Number, SettingOption("load.latency")] = None
    quantile: Annotated[Number, SettingOption("load.quantile")] = None
    strict: Annotated[bool, typer.Option("--strict", help="Allow no answer above it.")] = False
    measured: Annotated[Literal["total", "first_token"] | None, SettingOption("load.measured", choices=True)] = None
    arrivals: Annotated[Literal["staggered", "burst"] | None, SettingOption("load.arrivals", choices=True)] = None
    messages: Annotated[Number, SettingOption("load.messages")] = None
    history: Annotated[Number, SettingOption("load.history")] = None
    cooldown: Annotated[Number, SettingOption("load.cooldown")] = None
    conversations: Annotated[Number, SettingOption("load.conversations")] = None
    max_new_tokens: MaxNewTokens = None
    max_users: Annotated[Number, SettingOption("load.max_users")] = None
    max_history: Annotated[Number, SettingOption("load.max_history")] = None
    max_tokens: Annotated[Number, SettingOption("load.max_tokens")] = None
    max_rate: Annotated[Number, SettingOption("load.max_rate")] = None
    users: Annotated[Number, SettingOption("load.users")] = None
    budget: Annotated[Number, SettingOption("load.budget")] = None
    processes: Annotated[Number, SettingOption("load.processes")] = None
    seed: Annotated[Number, SettingOption("generation.seed", more="; and of prompts and pauses")] = None
    require_users: Annotated[Number, SettingOption("load.require_users", more=", with exit code 1")] = None


@dataclasses.dataclass(frozen=True, slots=True)
class _Kept:
    """What is gone on with, and where the reports go."""

    resume: Annotated[bool, typer.Option("--resume", help="Go on with the search that was stopped.")] = False
    output: Annotated[Number, SettingOption("load.out", "--output")] = None
    report_dir: ReportDir = None
    language: Language = None


def autotune(  # one argument an option
    *,
    server: Annotated[list[str] | None, SettingOption("server.url", more="; repeatable, to compare")] = None,
    server_model: Annotated[
        list[str] | None, SettingOption("server.model", more="; repeatable; the only one that is served by default")
    ] = None,
    questions: Annotated[
        str, typer.Option(metavar="A,B", help=f"What is searched: {','.join(QUESTIONS)}.")
    ] = QUESTIONS[0],
    rate: Annotated[bool, typer.Option("--rate", help="Search requests a second too.")] = False,
    load: _Load,
    kept: _Kept,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Find how many users a server holds.

    And its other limits (--questions). Each is a search with simulated users. The result is on standard output, the
    reports are files. Ctrl-C keeps every trial, and --resume goes on. Without --server, the usual local ports are
    looked at. Exit code 1 when --require-users is not met.
    """
    if load.strict and load.quantile is not None:
        raise UsageError("--strict allows no late answer at all, --quantile a share of them; give one")
    strict = {"load.quantile": "strict"} if load.strict else {}
    wanted = [name.strip() for name in questions.split(",") if name.strip()]
    asked = _asked([*wanted, "rate"] if rate else wanted, load)
    settings = settings_of_targets(config, load, kept, servers=server or [], models=server_model or [], **strict)
    from pytest_llmbench.cli.autotune_run import run_search

    run_search(settings, asked, resume=kept.resume, as_json=as_json)


def settings_of_targets(
    config: Path | None, *groups: object, servers: list[str], models: list[str], **others: str
) -> Settings:
    """The settings of a command that compares servers: with those on the command line, else those in the file.

    A model without a server is one of the file's targets where there are some.

    Raises:
        UsageError: servers and models do not pair, or the file has no target of the model.
    """
    settings = chosen_settings(config, *groups, **target_options(servers, models), **others)
    if models and not servers:
        from pytest_llmbench.autotune.targets import with_targets_of

        return with_targets_of(settings, models[0])
    return settings


def target_options(servers: list[str], models: list[str]) -> dict[str, str]:
    """One pair is the server of the settings, several are compared; one of the two may be given once for all.

    A server on the command line takes the place of all targets in the settings file.
    """
    pairs = max(len(servers), len(models))
    if pairs <= 1:
        given = {"server-model": models[0]} if models else {}
        return {**given, "server": servers[0], "load.targets": "[]"} if servers else given
    if not servers:
        raise UsageError("several --server-model need a --server, one for all or one for each")
    if len(servers) not in (1, pairs) or len(models) not in (0, 1, pairs):
        raise UsageError(f"{len(servers)} --server and {len(models)} --server-model do not pair; give one, or as many")
    urls = servers * pairs if len(servers) == 1 else servers
    names: Sequence[str | None] = models * pairs if len(models) == 1 else models or [None] * pairs
    return {"load.targets": json.dumps([{"url": url, "model": name} for url, name in zip(urls, names, strict=True)])}


def _asked(names: list[str], load: _Load) -> list[Question]:
    """The questions in the order in which one gives to the next; what the command line requires must be asked."""
    if unknown := [name for name in names if name not in QUESTIONS]:
        raise UsageError(f"--questions: there is no '{unknown[0]}'; there are {', '.join(QUESTIONS)}")
    if not names:
        raise UsageError(f"--questions: give at least one of {', '.join(QUESTIONS)}")
    if load.require_users is not None and "users" not in names:
        raise UsageError("--require-users is judged by the question 'users'; add it to --questions")
    return [name for name in QUESTIONS if name in names]
