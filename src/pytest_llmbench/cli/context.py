"""`llmbench context`."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Literal

import typer

from pytest_llmbench.cli.autotune import Number, settings_of_targets
from pytest_llmbench.cli.options import Config, Json, Language, ReportDir, Seed, SettingOption


@dataclasses.dataclass(frozen=True, slots=True)
class _Prompts:
    """Which prompts are sent, and what is asked in them."""

    model: Annotated[str | None, SettingOption("context.model")] = None
    lengths: Annotated[Number, SettingOption("context.lengths")] = None
    max_context: Annotated[Number, SettingOption("context.max_context")] = None
    depths: Annotated[Number, SettingOption("context.depths")] = None
    kinds: Annotated[Number, SettingOption("context.kinds")] = None
    languages: Annotated[Literal["both", "en", "fr"] | None, SettingOption("context.languages", choices=True)] = None
    repeats: Annotated[Number, SettingOption("context.repeats")] = None
    answer_tokens: Annotated[Number, SettingOption("context.answer_tokens")] = None
    tokenizer: Annotated[str | None, SettingOption("context.tokenizer")] = None
    seed: Seed = None


@dataclasses.dataclass(frozen=True, slots=True)
class _Limits:
    """The promise, what a search may cost, and what fails the command."""

    latency: Annotated[Number, SettingOption("load.latency")] = None
    quantile: Annotated[Number, SettingOption("load.quantile")] = None
    measured: Annotated[Literal["total", "first_token"] | None, SettingOption("load.measured", choices=True)] = None
    probes: Annotated[Number, SettingOption("context.probes")] = None
    precision: Annotated[Number, SettingOption("context.precision")] = None
    margin: Annotated[Number, SettingOption("context.margin")] = None
    time_limit: Annotated[Number, SettingOption("context.time_limit")] = None
    require_context: Annotated[Number, SettingOption("context.require", more=", with exit code 1")] = None
    compare: Annotated[
        str | None,
        SettingOption(
            "gate.baseline", "--compare", text="earlier context run to compare with: number, name, path or git ref"
        ),
    ] = None
    gate: Annotated[
        str | None,
        SettingOption(
            "gate.kind",
            "--gate",
            text="what fails against that run: regression, a limit or the share of facts found fell; improvement, none "
            "rose; exit code 1 (default: off)",
        ),
    ] = None


@dataclasses.dataclass(frozen=True, slots=True)
class _Kept:
    """What is gone on with, and where the reports go."""

    resume: Annotated[bool, typer.Option("--resume", help="Go on with the test that was stopped.")] = False
    save: Annotated[str, typer.Option(metavar="NAME", help="Name of the saved run.")] = "context"
    report_dir: ReportDir = None
    language: Language = None


def context(
    *,
    server: Annotated[list[str] | None, SettingOption("server.url", more="; repeatable, to compare")] = None,
    server_model: Annotated[
        list[str] | None, SettingOption("server.model", more="; repeatable; the only one that is served by default")
    ] = None,
    prompts: _Prompts,
    limits: _Limits,
    kept: _Kept,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Find how long a context a server really holds.

    The longest prompt that it accepts, answers in time, and still answers right, each with its interval; the smallest
    of the three is the answer. The result is on standard output, the reports are files. Ctrl-C keeps every prompt's
    result, and --resume goes on. Without --server, the usual local ports are looked at. Exit code 1 when
    --require-context is not met, or --gate fails the run against the one that --compare names.
    """
    settings = settings_of_targets(config, prompts, limits, kept, servers=server or [], models=server_model or [])
    from pytest_llmbench.cli.context_run import run
    from pytest_llmbench.context.session import refuse_gate_alone
    from pytest_llmbench.runs.folders import refuse_long_name

    refuse_long_name(kept.save)
    refuse_gate_alone(limits.gate or "off", settings.gate.baseline)
    run(settings, kept.save, resume=kept.resume, as_json=as_json)
