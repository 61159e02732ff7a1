"""The options that several commands share, and the settings that they amount to."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pytest_llmbench.core.starter import CONFIG

if TYPE_CHECKING:
    from pytest_llmbench.core.setting_sections import ModelSettings
    from pytest_llmbench.core.settings import Settings

Config = Annotated[
    Path | None,
    typer.Option(metavar="FILE", envvar="LLMBENCH_CONFIG", help=f"Settings, YAML or JSON; {CONFIG} if there."),
]
Base = Annotated[
    str | None, typer.Option(metavar="SPEC", help="Base model: registry alias, hub id, folder or GGUF file.")
]
Adapter = Annotated[
    str | None, typer.Option(metavar="PATH|auto|none", help="LoRA folder; auto takes the newest that fits.")
]
Quantization = Annotated[str | None, typer.Option(metavar="nf4|int8|none", help="How the base is loaded.")]
Device = Annotated[str | None, typer.Option(metavar="auto|cpu|cuda", help="Where it runs.")]
TemplateArguments = Annotated[
    str | None,
    typer.Option(metavar="JSON", help='For the chat template: {"enable_thinking": false}; else the settings\'.'),
]
SystemRole = Annotated[
    str | None, typer.Option(metavar="system|user", help="user puts system prompts into the first user turn.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


def settings_file(given: Path | None) -> Path | None:
    """The settings file that applies: the given one, else the project's, else none."""
    return given or (CONFIG if CONFIG.is_file() else None)


def chosen_settings(file: Path | None, **options: str | None) -> Settings:
    """Options over the environment over the file over the defaults.

    Options go by their names in `settings.OPTIONS`, or by the dotted key whose last word they are called by.

    Raises:
        UsageError: a wrong key or value, anywhere; the message says where and what is valid.
    """
    from pytest_llmbench.core.settings import load_settings

    overrides = {name: (value, _flag(name)) for name, value in options.items() if value is not None}
    return load_settings(settings_file(file), overrides, os.environ)


def form_settings(
    file: Path | None, template_arguments: str | None, system_role: str | None, **options: str | None
) -> ModelSettings:
    """The model settings, so that what is trained is what will be asked: the base, and how prompts are written.

    Raises:
        UsageError: as `chosen_settings`.
    """
    asked = {"model.template_arguments": template_arguments, "model.system_role": system_role}
    return chosen_settings(file, **asked, **options).model


def _flag(name: str) -> str:
    if name == "load.out":
        return "--output"
    return f"--{name.rpartition('.')[2].replace('_', '-')}"
