"""Options of commands, those that several share among them: a setting's name, help and default are the schema's."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

import typer
from typer.core import TyperCommand
from typer.models import OptionInfo

from pytest_llmbench.core.errors import LLMBenchError, named_in, with_flags
from pytest_llmbench.core.setting_table import SETTINGS
from pytest_llmbench.core.starter import CONFIG

if TYPE_CHECKING:
    from pytest_llmbench.core.settings import Settings


_log = logging.getLogger("pytest_llmbench")

Config = Annotated[
    Path | None,
    typer.Option(metavar="FILE", envvar="LLMBENCH_CONFIG", help=f"Settings, YAML or JSON; {CONFIG} if there."),
]

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]

RUN_HELP = "A saved run's number or name, latest, a path, a git reference, or REF:PATH in git."

Run = Annotated[str, typer.Argument(metavar="RUN", help=RUN_HELP)]

_EARLIER: Mapping[str, Mapping[str, str]] = {
    "autotune": {"lang": "language", "model": "server-model", "out": "output"},
    "compare-training": {"lang": "language"},
    "dataset check": {"model": "base", "suites": "prompts"},
    "dataset generate": {"model": "server-model"},
    "evaluate": {"lang": "language"},
    "finetune": {"lr": "learning-rate", "suites": "prompts"},
    "query": {"max-tokens": "max-new-tokens"},
    "report": {"lang": "language"},
    "serve-demo": {"model": "base"},
}


class SettingOption(OptionInfo):
    """What stands in a command's signature for an option that gives the setting `key`.

    `flags` are its names where they are not the parameter's. `default` is off where the command has one of its own, or
    none; `choices` where the parameter's type lists what is valid; `more` is said beside the setting's own help, `text`
    in its place where the setting means something narrower in the command, and `given` how its value is written there.
    """

    def __init__(  # all but the key by name, and all with a default
        self,
        key: str,
        *flags: str,
        default: bool = True,
        choices: bool = False,
        more: str = "",
        text: str = "",
        given: str | None = None,
    ) -> None:
        shown = SETTINGS[key]
        text = text or shown.help(more, default=default).removesuffix(".")
        super().__init__(
            default=...,
            param_decls=flags or None,
            metavar=None if choices or not shown.metavar else given or shown.metavar,
            help=f"{text[:1].upper()}{text[1:]}.",
            show_default=not default,
        )
        self.key = key


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """The command as typer takes it: a parameter that is a dataclass of options stands as that dataclass's fields."""
    groups: dict[str, type] = {}
    shown: list[inspect.Parameter] = []
    hints = get_type_hints(command, include_extras=True)
    for parameter in inspect.signature(command).parameters.values():
        kind = hints[parameter.name]
        if isinstance(kind, type) and dataclasses.is_dataclass(kind):
            groups[parameter.name] = kind
            shown += _options(kind)
        else:
            shown.append(parameter.replace(annotation=kind))

    @functools.wraps(command)
    def run(**given: Any) -> None:
        made = {
            name: kind(**{field.name: given.pop(field.name) for field in dataclasses.fields(kind)})
            for name, kind in groups.items()
        }
        command(**given, **made)

    run.__signature__ = inspect.Signature(shown)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in shown}
    return run


def _options(group: type) -> Iterator[inspect.Parameter]:
    hints = get_type_hints(group, include_extras=True)
    for field in dataclasses.fields(group):
        yield inspect.Parameter(
            field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=hints[field.name]
        )


def keys_of(command: TyperCommand) -> Mapping[str, str]:
    """The settings that a command's parameters give, by the parameter's name."""
    return _keys_in(get_type_hints(command.callback, include_extras=True)) if command.callback else {}


def _keys_in(hints: Mapping[str, Any]) -> Mapping[str, str]:
    return {
        name: extra.key
        for name, hint in hints.items()
        for extra in getattr(hint, "__metadata__", ())
        if isinstance(extra, SettingOption)
    }


def flag(name: str) -> str | None:
    """By which option the running command takes a setting (`server.url`) or an argument (`output`); None if by none."""
    command = _RUNNING.get()
    keys = keys_of(command) if command else {}
    for param in command.params if command else ():
        if name in (param.name, keys.get(str(param.name))):
            return next((option for option in param.opts if option.startswith("--")), None)
    return None


class Command(TyperCommand):
    """A command that tells errors and warnings with its own options for the settings that they name."""

    def invoke(self, ctx: Any) -> Any:
        """Run it."""
        running, handler, level = _RUNNING.set(self), _Warnings(), _log.level
        _log.addHandler(handler)
        try:
            return super().invoke(ctx)
        except LLMBenchError as error:
            raise error.saying(with_flags(str(error), error.names, flag)) from error
        finally:
            _log.removeHandler(handler)
            _log.setLevel(level)
            _RUNNING.reset(running)


def show_from(level: str) -> None:
    """Show what the engines announce from this level on, until the running command ends."""
    if _RUNNING.get():
        _log.setLevel(level)


class _Warnings(logging.Handler):
    """What the engines announce, on standard error."""

    def emit(self, record: logging.LogRecord) -> None:
        typer.echo(with_flags(record.getMessage(), named_in(record), flag), err=True)


_RUNNING: ContextVar[Command | None] = ContextVar("running", default=None)


Base = Annotated[str | None, SettingOption("model.base")]
Adapter = Annotated[str | None, SettingOption("model.adapter")]
Quantization = Annotated[str | None, SettingOption("model.quantization")]
Device = Annotated[str | None, SettingOption("model.device")]
Engine = Annotated[str | None, SettingOption("model.engine")]
TemplateArguments = Annotated[str | None, SettingOption("model.template_arguments")]
SystemRole = Annotated[str | None, SettingOption("model.system_role")]
Server = Annotated[str | None, SettingOption("server.url")]
ServerModel = Annotated[str | None, SettingOption("server.model")]
ServerAdapter = Annotated[str | None, SettingOption("server.adapter")]
MaxNewTokens = Annotated[str | None, SettingOption("generation.max_new_tokens")]
Seed = Annotated[str | None, SettingOption("generation.seed")]
ReportDir = Annotated[str | None, SettingOption("output.report_dir")]
Language = Annotated[Literal["en", "fr"] | None, SettingOption("output.language", choices=True)]


@dataclasses.dataclass(frozen=True, slots=True)
class ModelOptions:
    """The model, how it is loaded, and where."""

    base: Base = None
    adapter: Adapter = None
    engine: Engine = None
    quantization: Quantization = None
    device: Device = None


@dataclasses.dataclass(frozen=True, slots=True)
class ServerOptions:
    """A live server that is asked instead."""

    server: Server = None
    server_model: ServerModel = None
    server_adapter: ServerAdapter = None


def settings_file(given: Path | None) -> Path | None:
    """The settings file that applies: the given one, else the project's, else none."""
    return given or (CONFIG if CONFIG.is_file() else None)


def chosen_settings(file: Path | None, *groups: object, **options: str | None) -> Settings:
    """Options over the environment over the file over the defaults.

    `groups` are dataclasses, whose fields that give a setting are taken; a switch gives one where it is on. Other
    options go by their names in `settings.OPTIONS`, or by the dotted key, and over those of groups. What is announced
    is shown from the level on that `logging.level` says.

    Raises:
        UsageError: a wrong key or value, anywhere; the message says where and what is valid.
    """
    from pytest_llmbench.core.settings import OPTIONS, load_settings

    keys = {key: value for group in groups for key, value in _given(group)}
    keys |= {OPTIONS.get(name, name): value for name, value in options.items() if value is not None}
    overrides = {key: (value, flag(key) or key) for key, value in keys.items()}
    settings = load_settings(settings_file(file), overrides, os.environ)
    show_from(settings.logging.level)
    return settings


def _given(group: Any) -> Iterator[tuple[str, str]]:
    for name, key in _keys_in(get_type_hints(type(group), include_extras=True)).items():
        value = getattr(group, name)
        if value is not None and value is not False:
            yield key, "true" if value is True else str(value)


def reports_folder(given: str | None, config: Path | None) -> Path:
    """The folder of reports and runs: the given one, else that of the settings."""
    return chosen_settings(config, **{"report-dir": given}).output.report_dir


def context_settings(command: str) -> dict[str, Any]:
    """What a command is registered with, so that it takes the earlier names of its options too."""
    earlier = _EARLIER.get(command)
    return {"token_normalize_func": lambda name: earlier.get(name, name)} if earlier else {}
