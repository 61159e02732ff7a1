"""`llmbench check`, and how its findings and those of `smoke` are shown to a person or a program."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import typer

from pytest_llmbench.cli.options import Config, Json, ModelOptions, chosen_settings

if TYPE_CHECKING:
    from pytest_llmbench.benchmark.environment import Check


def check_command(
    *,
    config: Config = None,
    model: ModelOptions,
    as_json: Json = False,
) -> None:
    """Tell what is missing, and what to do about it.

    Looks at Python, PyTorch and GPUs, packages, folders, adapters and the base. Nothing is loaded, converted or
    downloaded. Exit code 3 when something is
    missing, 2 when what you wrote is wrong.
    """
    from pytest_llmbench.benchmark.environment import check_setup
    from pytest_llmbench.benchmark.gate_check import refuse_unjudgeable

    settings = chosen_settings(config, model)
    refuse_unjudgeable(settings)
    found = check_setup(settings)
    if as_json:
        tell_json(found)
    else:
        tell(found)


def tell(found: Iterable[Check]) -> None:
    """Show each finding as it comes, then the verdict; ends with the exit code of what failed."""
    checks: list[Check] = []
    for check in found:
        _show(check, new_step=not checks or checks[-1].step != check.step)
        checks.append(check)
    typer.echo(_verdict(checks))
    _end(checks)


def tell_json(found: Iterable[Check]) -> None:
    """Print `{"ready": …, "checks": [{"step", "status", "detail", "remedy", "exit_code"}, …]}`; ends as `tell` does."""
    checks = list(found)
    document = {"ready": not _failed(checks), "checks": [dataclasses.asdict(check) for check in checks]}
    typer.echo(json.dumps(document, ensure_ascii=False, indent=2))
    _end(checks)


def _show(check: Check, *, new_step: bool) -> None:
    from pytest_llmbench.benchmark.environment import STEPS, SYMBOLS

    width = max(map(len, STEPS))
    gap = "\n" + " " * (width + 4)
    detail = gap.join(check.detail.splitlines())
    remedy = f"{gap}→ {check.remedy}" if check.remedy and check.status != "ok" else ""
    typer.echo(f"{SYMBOLS[check.status]} {check.step if new_step else '':<{width}}  {detail}{remedy}")


def _verdict(checks: Sequence[Check]) -> str:
    if failed := _failed(checks):
        return f"\nnot ready: {failed} of {len(checks)} failed"
    warned = sum(check.status == "warn" for check in checks)
    return f"\nready, with {warned} to know about (⚠)" if warned else "\nready"


def _failed(checks: Iterable[Check]) -> int:
    return sum(check.status == "fail" for check in checks)


def _end(checks: Iterable[Check]) -> None:
    if codes := [check.exit_code for check in checks if check.status == "fail"]:
        raise typer.Exit(min(codes))  # what the user wrote is to be mended before what is missing is looked for
