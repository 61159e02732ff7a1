"""`llmbench smoke`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import typer

from pytest_llmbench.cli.check import tell, tell_json
from pytest_llmbench.cli.options import Config, Json, ModelOptions, chosen_settings

if TYPE_CHECKING:
    from pytest_llmbench.benchmark.environment import Check


def smoke_command(
    *,
    config: Config = None,
    model: ModelOptions,
    as_json: Json = False,
) -> None:
    """Try it: imports, GPU, model, one answer of each variant.

    Takes under a minute on the embedded model. Exit code 3 when a step fails.
    """
    from pytest_llmbench.benchmark.smoke import smoke as steps

    settings = chosen_settings(config, model)
    if as_json:
        tell_json(steps(settings))
    else:
        tell(_naming_the_next(steps(settings)))


def _naming_the_next(found: Iterator[Check]) -> Iterator[Check]:
    """On a terminal, show which step is under way until its result takes the line."""
    from pytest_llmbench.benchmark.smoke import STEPS

    done: set[str] = set()
    _name(STEPS[0])
    for check in found:
        yield check
        done.add(check.step)
        if check.status != "fail" and len(done) < len(STEPS):
            _name(STEPS[len(done)])


def _name(step: str) -> None:
    if sys.stdout.isatty():
        typer.echo(f"… {step}\r", nl=False)
