"""The errors that a user may read, and the exit code of each: 1 a verdict failed, 2 wrong use, 3 not ready."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import ClassVar, Self

EXIT_BY_SIGNAL = 128
"""What shells expect of a program that a signal ended, plus its number: 130 for Ctrl-C, 143 for SIGTERM."""


class LLMBenchError(Exception):
    """Base of all errors a user may read. `exit_code` is what the command line and pytest end with.

    `names` are the settings (`server.url`) and arguments (`output`) that the message tells to look at: faces add by
    which option each is given. `code` is the kind of error for programs.
    """

    exit_code = 2
    code: ClassVar[str] = "error"

    def __init__(self, message: str = "", *, names: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.names = names

    def saying(self, message: str) -> Self:
        """The same error in other words."""
        other = copy.copy(self)
        other.args = (message,)
        return other


class UsageError(LLMBenchError):
    """Wrong use: an option, a setting or a file that the user wrote and can mend."""

    code = "usage"


class MissingRunError(UsageError):
    """No saved run or baseline of this name, number, path or commit."""

    code = "missing_run"


class NotReadyError(LLMBenchError):
    """The environment lacks something: a package, a model, a server, memory or disk."""

    exit_code = 3
    code = "not_ready"


class ModelError(NotReadyError):
    """A model that cannot be found, read or loaded."""

    code = "model"


class WrongModelError(ModelError):
    """A base that goes by no such name, or is none: a slip of the user's, not of the environment's."""

    exit_code = UsageError.exit_code
    code = "wrong_model"


class AdapterError(UsageError):
    """An adapter that is missing, half-written, of another base, or without effect."""

    code = "adapter"


class ServerError(NotReadyError):
    """A server that is down, refuses, or does not speak the OpenAI protocol, with its HTTP `status`."""

    code = "server"

    def __init__(self, message: str = "", *, names: tuple[str, ...] = (), status: int | None = None) -> None:
        super().__init__(message, names=names)
        self.status = status


_KINDS: dict[str, type[LLMBenchError]] = {
    kind.code: kind
    for kind in (UsageError, MissingRunError, NotReadyError, ModelError, WrongModelError, AdapterError, ServerError)
}


def error_of(code: str, message: str, names: tuple[str, ...] = ()) -> LLMBenchError:
    """The error that another process met, from what it wrote down of it."""
    return _KINDS.get(code, NotReadyError)(message, names=names)


def naming(*names: str) -> dict[str, tuple[str, ...]]:
    """What a warning carries as `extra`, so that faces tell by which options the settings that it names are given."""
    return {"names": names}


def named_in(record: logging.LogRecord) -> tuple[str, ...]:
    """The settings and arguments that a warning names, itself or in an error that it quotes."""
    quoted = record.args if isinstance(record.args, tuple) else ()
    errors = [name for one in quoted if isinstance(one, LLMBenchError) for name in one.names]
    return (*getattr(record, "names", ()), *errors)


def with_flags(message: str, names: Iterable[str], flag: Callable[[str], str | None]) -> str:
    """A message as a face tells it, with the options by which the settings and arguments that it names are given.

    `flag` tells the option for a name, None where the face has none.
    """
    flags = dict.fromkeys(filter(None, map(flag, names)))
    return f"{message} ({', '.join(flags)})" if flags else message


def located(path: Path | str, line: int | None, message: str) -> str:
    """`file:line: message`, the form that editors and terminals turn into a link."""
    return f"{path}:{line}: {message}" if line else f"{path}: {message}"
