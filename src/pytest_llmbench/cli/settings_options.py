"""The options that several commands share, and the settings that they amount to."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pytest_llmbench.cli.setting_option import SettingOption, flag, show_from
from pytest_llmbench.core.starter import CONFIG

if TYPE_CHECKING:
    from pytest_llmbench.core.settings import Settings

Config = Annotated[
    Path | None,
    typer.Option(metavar="FILE", envvar="LLMBENCH_CONFIG", help=f"Settings, YAML or JSON; {CONFIG} if there."),
]
Base = Annotated[str | None, SettingOption("model.base")]
Adapter = Annotated[str | None, SettingOption("model.adapter")]
Quantization = Annotated[str | None, SettingOption("model.quantization")]
Device = Annotated[str | None, SettingOption("model.device")]
TemplateArguments = Annotated[str | None, SettingOption("model.template_arguments")]
SystemRole = Annotated[str | None, SettingOption("model.system_role")]
Server = Annotated[str | None, SettingOption("server.url")]
ServerModel = Annotated[str | None, SettingOption("server.model")]
ServerAdapter = Annotated[str | None, SettingOption("server.adapter")]
MaxNewTokens = Annotated[str | None, SettingOption("generation.max_new_tokens")]
Seed = Annotated[str | None, SettingOption("generation.seed")]
ReportDir = Annotated[str | None, SettingOption("output.report_dir")]
Language = Annotated[Literal["en", "fr"] | None, SettingOption("output.language", choices=True)]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


def settings_file(given: Path | None) -> Path | None:
    """The settings file that applies: the given one, else the project's, else none."""
    return given or (CONFIG if CONFIG.is_file() else None)


def chosen_settings(file: Path | None, **options: str | None) -> Settings:
    """Options over the environment over the file over the defaults.

    Options go by their names in `settings.OPTIONS`, or by the dotted key. What is announced is shown from the level on
    that `logging.level` says.

    Raises:
        UsageError: a wrong key or value, anywhere; the message says where and what is valid.
    """
    from pytest_llmbench.core.settings import OPTIONS, load_settings

    keys = {OPTIONS.get(name, name): value for name, value in options.items() if value is not None}
    overrides = {key: (value, flag(key) or key) for key, value in keys.items()}
    settings = load_settings(settings_file(file), overrides, os.environ)
    show_from(settings.logging.level)
    return settings
