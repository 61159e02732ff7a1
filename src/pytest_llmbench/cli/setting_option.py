"""Options of commands that give a setting: name, help and default come from the settings' schema."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any, get_type_hints

import typer
from typer.core import TyperCommand
from typer.models import OptionInfo

from pytest_llmbench.core.errors import LLMBenchError, named_in, with_flags
from pytest_llmbench.core.setting_table import SETTINGS


class SettingOption(OptionInfo):
    """What stands in a command's signature for an option that gives the setting `key`.

    `flags` are its names where they are not the parameter's. `default` is off where the command has one of its own, or
    none; `choices` where the parameter's type lists what is valid; `more` is said beside the setting's own help, `text`
    in its place where the setting means something narrower in the command.
    """

    def __init__(
        self, key: str, *flags: str, default: bool = True, choices: bool = False, more: str = "", text: str = ""
    ) -> None:
        shown = SETTINGS[key]
        text = text or shown.help(more, default=default).removesuffix(".")
        super().__init__(
            default=...,
            param_decls=flags or None,
            metavar=None if choices or not shown.metavar else shown.metavar,
            help=f"{text[:1].upper()}{text[1:]}.",
            show_default=not default,
        )
        self.key = key


def keys_of(command: TyperCommand) -> Mapping[str, str]:
    """The settings that a command's parameters give, by the parameter's name."""
    hints: Mapping[str, Any] = get_type_hints(command.callback, include_extras=True) if command.callback else {}
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


_log = logging.getLogger("pytest_llmbench")
_RUNNING: ContextVar[Command | None] = ContextVar("running", default=None)
