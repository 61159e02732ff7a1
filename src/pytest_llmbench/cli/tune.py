"""`llmbench tune`."""

from __future__ import annotations

import dataclasses
import json
import shlex
import signal
import sys
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from pytest_llmbench.cli.autotune import Number
from pytest_llmbench.cli.options import (
    Adapter,
    Base,
    Config,
    Json,
    Language,
    MaxNewTokens,
    ReportDir,
    Seed,
    ServerModel,
    SettingOption,
    chosen_settings,
)
from pytest_llmbench.cli.terminal import report_width
from pytest_llmbench.core.documents import parse_yaml
from pytest_llmbench.core.errors import UsageError

if TYPE_CHECKING:
    from pytest_llmbench.context.tuning.document import TuningDocument
    from pytest_llmbench.core.setting_sections import Settings


@dataclasses.dataclass(frozen=True, slots=True)
class _Servers:
    """What is started, and what every one of them must hold."""

    command: Annotated[Number, SettingOption("tune.command")] = None
    engine: Annotated[Literal["llamacpp", "vllm", "sglang"] | None, SettingOption("tune.engine", choices=True)] = None
    base: Base = None
    adapter: Adapter = None
    server_model: ServerModel = None
    context: Annotated[Number, SettingOption("tune.context", "--max-context")] = None
    start_timeout: Annotated[Number, SettingOption("tune.start_timeout")] = None


@dataclasses.dataclass(frozen=True, slots=True)
class _Search:
    """How far is searched."""

    trials: Annotated[Number, SettingOption("tune.trials")] = None
    rounds: Annotated[Number, SettingOption("tune.rounds")] = None
    time_limit: Annotated[Number, SettingOption("tune.time_limit")] = None
    trial_time: Annotated[Number, SettingOption("tune.trial_time")] = None
    budget: Annotated[Number, SettingOption("tune.budget")] = None
    seed: Seed = None


@dataclasses.dataclass(frozen=True, slots=True)
class _Users:
    """The promise, and the users."""

    latency: Annotated[Number, SettingOption("load.latency")] = None
    quantile: Annotated[Number, SettingOption("load.quantile")] = None
    measured: Annotated[Literal["total", "first_token"] | None, SettingOption("load.measured", choices=True)] = None
    cooldown: Annotated[Number, SettingOption("load.cooldown")] = None
    conversations: Annotated[Number, SettingOption("load.conversations")] = None
    max_new_tokens: MaxNewTokens = None
    max_users: Annotated[Number, SettingOption("load.max_users")] = None


@dataclasses.dataclass(frozen=True, slots=True)
class _Kept:
    """What is gone on with, and where the reports go."""

    study: Annotated[Number, SettingOption("tune.study")] = None
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the study's trials.")] = False
    report_dir: ReportDir = None
    language: Language = None


_Several = list[str] | None


def tune(  # noqa: PLR0913  # one argument an option, or a group of them
    *,
    servers: _Servers,
    vary: Annotated[
        _Several,
        SettingOption("tune.vary", text="a setting that is searched, with its values; repeatable", given="NAME=A,B"),
    ] = None,
    fix: Annotated[
        _Several,
        SettingOption("tune.fixed", text="a setting that is the same in each trial; repeatable", given="NAME=VALUE"),
    ] = None,
    baseline: Annotated[
        _Several,
        SettingOption("tune.baseline", text="a setting of what the winner must beat; repeatable", given="NAME=VALUE"),
    ] = None,
    search: _Search,
    users: _Users,
    kept: _Kept,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Find the launch settings that hold most users.

    Each trial starts a real server with other settings, checks that it answers right, measures the users it holds and
    ends it. The winner is then measured again beside the engine's defaults, in turns. Ctrl-C keeps every trial, and
    --resume goes on. Without --command llama.cpp serves --base on this machine.
    """
    mappings = {
        "tune.vary": _as_json(vary, "--vary", several=True),
        "tune.fixed": _as_json(fix, "--fix"),
        "tune.baseline": _as_json(baseline, "--baseline"),
    }
    settings = chosen_settings(config, servers, search, users, kept, **mappings)
    _run(settings, resume=kept.resume, as_json=as_json)


def _run(settings: Settings, *, resume: bool, as_json: bool) -> None:
    from pytest_llmbench.cli.autotune_run import Progress
    from pytest_llmbench.context.tuning.session import tune as tuned

    found: list[TuningDocument] = []
    command = shlex.join(["llmbench", *sys.argv[1:]])
    usual = signal.signal(signal.SIGTERM, signal.default_int_handler)  # `kill` ends servers as cleanly as Ctrl-C
    try:
        with Progress() as progress:
            tuned(settings, resume=resume, tell=progress, keep=found.append, command=command)
    finally:
        signal.signal(signal.SIGTERM, usual)
        for one in found:
            _report(one, settings, as_json=as_json)


def _report(found: TuningDocument, settings: Settings, *, as_json: bool) -> None:
    from pytest_llmbench.reports.renderers.terminal import terminal_lines
    from pytest_llmbench.reports.views.tuning import tuning_report
    from pytest_llmbench.reports.writing.tuning import write_tuning

    paths = write_tuning(found, settings)
    if as_json:
        typer.echo(json.dumps(found.model_dump(mode="json"), ensure_ascii=False, indent=2, allow_nan=False))
        return
    for line in terminal_lines(tuning_report(found, settings.output.language, paths=paths), report_width()):
        typer.echo(line)


def _as_json(given: list[str] | None, option: str, *, several: bool = False) -> str | None:
    """`NAME=VALUE` of the command line as the setting's mapping; each value is read as YAML, as a file's would be."""
    if given is None:
        return None
    found: dict[str, Any] = {}
    for one in given:
        name, equals, text = one.partition("=")
        if not (name and equals and text):
            raise UsageError(f"{option}: {one!r} is not NAME=VALUE{',VALUE' if several else ''}, such as slots=4")
        if name in found:
            raise UsageError(f"{option}: {name} is given twice; give it once, with all its values")
        found[name] = [_value(part, option) for part in text.split(",")] if several else _value(text, option)
    return json.dumps(found)


def _value(text: str, option: str) -> Any:
    try:
        value = parse_yaml(text, option)
    except UsageError as error:
        raise UsageError(f"{option}: {text!r} is no value; write a number, a word, true, false, or null") from error
    return text if isinstance(value, str) else value
