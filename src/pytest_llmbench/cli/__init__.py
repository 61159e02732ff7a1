"""The command line, `llmbench`. Light to import: a command brings in what it needs when it runs."""

from __future__ import annotations

import contextlib
import errno
import io
import signal
import sys
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from pytest_llmbench import __version__
from pytest_llmbench.cli import (
    autotune,
    baseline,
    check,
    compare,
    compare_training,
    config,
    context,
    dataset,
    evaluate,
    finetune,
    init,
    models,
    monitor,
    query,
    report,
    rescore,
    serve_demo,
    smoke,
    studio,
    tune,
)
from pytest_llmbench.cli.options import Command, context_settings, grouped
from pytest_llmbench.core.errors import EXIT_BY_SIGNAL, LLMBenchError, NotReadyError

__all__ = ["app", "main"]

_REFUSALS = frozenset(
    {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG, errno.ELOOP, errno.ENOSPC, errno.EDQUOT, errno.EIO}
)
"""What a system says of a path that it does not let a program look at, or write to; a mere look raises it too."""


class _Commands(TyperGroup):
    """Commands that end with one line, not a traceback, when the user is wrong or stops them."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run the line that was typed; what the system refuses is told here, since a mere --help may not be written."""
        try:
            return super().main(*args, **kwargs)
        except OSError as error:
            if error.errno not in _REFUSALS:
                raise
            with contextlib.suppress(OSError):  # standard error may be full as well
                typer.echo(f"error: {error.filename or 'standard output, or an open file'}: {error.strerror}", err=True)
            sys.exit(NotReadyError.exit_code)

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was typed."""
        try:
            return super().invoke(ctx)
        except LLMBenchError as error:
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(error.exit_code) from error
        except KeyboardInterrupt as error:
            typer.echo("interrupted", err=True)
            raise typer.Exit(EXIT_BY_SIGNAL + signal.SIGINT) from error


app = typer.Typer(
    cls=_Commands,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # rich would double the time to the first line
    context_settings={"help_option_names": ["-h", "--help"]},
)
_COMMANDS: Mapping[str, Callable[..., None]] = {
    "init": init.init,
    "check": check.check_command,
    "smoke": smoke.smoke_command,
    "finetune": finetune.finetune_command,
    "evaluate": evaluate.evaluate_command,
    "query": query.query,
    "report": report.report,
    "compare": compare.compare,
    "monitor": monitor.monitor_command,
    "compare-training": compare_training.compare_training,
    "baseline": baseline.baseline,
    "rescore": rescore.rescore_command,
    "autotune": autotune.autotune,
    "context": context.context,
    "tune": tune.tune,
    "studio": studio.studio,
    "serve-demo": serve_demo.serve_demo,
}
for name, command in _COMMANDS.items():
    app.command(name, cls=Command, context_settings=context_settings(name))(grouped(command))
app.add_typer(config.config, name="config")
app.add_typer(dataset.dataset, name="dataset")
app.add_typer(models.models, name="models")


def main() -> None:
    """Run the command line. A terminal that cannot show a character gets a stand-in, not an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    app(prog_name="llmbench")


def _print_version(wanted: bool) -> None:  # noqa: FBT001  # how typer calls it
    if wanted:
        typer.echo(f"llmbench {__version__}")
        raise typer.Exit


@app.callback()
def _llmbench(
    *,
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Does this fine-tune beat its base?

    Start with `llmbench init`, then `llmbench check`, then `pytest -m benchmark`.
    """
