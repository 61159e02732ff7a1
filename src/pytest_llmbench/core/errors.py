"""The errors that a user may read, and the exit code of each: 1 a verdict failed, 2 wrong use, 3 not ready."""

from __future__ import annotations

from pathlib import Path

EXIT_BY_SIGNAL = 128
"""What shells expect of a program that a signal ended, plus its number: 130 for Ctrl-C, 143 for SIGTERM."""


class LLMBenchError(Exception):
    """Base of all errors a user may read. `exit_code` is what the command line and pytest end with."""

    exit_code = 2


class UsageError(LLMBenchError):
    """Wrong use: an option, a setting or a file that the user wrote and can mend."""


class MissingRunError(UsageError):
    """No saved run or baseline of this name, number, path or commit."""


class NotReadyError(LLMBenchError):
    """The environment lacks something: a package, a model, a server, memory or disk."""

    exit_code = 3


class ModelError(NotReadyError):
    """A model that cannot be found, read or loaded."""


class WrongModelError(ModelError):
    """A base that goes by no such name, or is none: a slip of the user's, not of the environment's."""

    exit_code = UsageError.exit_code


class AdapterError(UsageError):
    """An adapter that is missing, half-written, of another base, or without effect."""


class ServerError(NotReadyError):
    """A server that is down, refuses, or does not speak the OpenAI protocol."""


def located(path: Path | str, line: int | None, message: str) -> str:
    """`file:line: message`, the form that editors and terminals turn into a link."""
    return f"{path}:{line}: {message}" if line else f"{path}: {message}"
