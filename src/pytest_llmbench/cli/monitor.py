"""`llmbench monitor`."""

from __future__ import annotations

import functools
import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pytest_llmbench.cli.compare import listed_metrics
from pytest_llmbench.cli.options import RUN_HELP, Config, Json, ReportDir, SettingOption, chosen_settings
from pytest_llmbench.core.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_llmbench.runs.baseline import Comparable
    from pytest_llmbench.runs.drift_document import Monitored

_FAILED = 1
_NEWEST = 6


def monitor_command(  # noqa: PLR0913  # one argument an option
    baseline: Annotated[str, typer.Argument(metavar="BASELINE", help=f"The fixed baseline. {RUN_HELP}")],
    runs: Annotated[
        list[str] | None, typer.Argument(metavar="RUN", help="The runs, oldest first; all saved since if none.")
    ] = None,
    *,
    metrics: Annotated[str | None, SettingOption("gate.metrics", text="metrics to watch; gate.metrics if none")] = None,
    margin: Annotated[str | None, SettingOption("gate.margin", text="a drift up to this does not count")] = None,
    alpha: Annotated[str | None, SettingOption("gate.alpha", text="chance of any false alarm, over all looks")] = None,
    fail_on: Annotated[Literal["regression"] | None, typer.Option(help="End with exit code 1 on an alarm.")] = None,
    config: Config = None,
    report_dir: ReportDir = None,
    as_json: Json = False,
) -> None:
    """Watch many runs against one baseline.

    The bounds hold however often you look. Exit code 2 when no run can be held against it.
    """
    from pytest_llmbench.runs.history import find_run
    from pytest_llmbench.runs.monitoring import monitor as watch

    given = {"margin": margin, "alpha": alpha, "report-dir": report_dir}
    settings = chosen_settings(config, **given)
    gate, folder = settings.gate, settings.output.report_dir
    before = find_run(baseline, folder).comparable
    later = functools.partial(_named, runs, folder) if runs else _since(before, folder)
    names = listed_metrics(metrics, itertools.chain([before], later())) if metrics else gate.metrics
    found = watch(before, later(), metrics=names, margins=gate.margins_of(names), alpha=gate.alpha)
    if as_json:
        typer.echo(json.dumps(found.json_ready(), ensure_ascii=False, indent=2, allow_nan=False))
    else:
        typer.echo("\n".join(_lines(found)))
    if fail_on and any(series.alarm for series in found.series):
        raise typer.Exit(_FAILED)


def _named(names: Sequence[str], report_dir: Path) -> Iterator[Comparable]:
    """Each of the runs when it is its turn: there may be more than memory holds."""
    from pytest_llmbench.runs.history import find_run

    return (find_run(name, report_dir).comparable for name in names)


def _since(baseline: Comparable, report_dir: Path) -> Callable[[], Iterator[Comparable]]:
    """Every run that was saved after the baseline was measured, in the same way."""
    from pytest_llmbench.runs.history import read_in_turn, saved_since

    if later := saved_since(baseline, report_dir):
        return functools.partial(read_in_turn, later)
    raise UsageError(f"no run was saved since {baseline.name}; name the runs to watch")


def _lines(found: Monitored) -> Iterator[str]:
    if not found.series:
        yield f"no answers are new since {found.baseline}: there is nothing to watch yet"
    for series in found.series:
        alarm = series.alarm
        said = f"WORSE since {alarm}" if alarm else "no drift for the worse is shown"
        yield f"{series.metric} of {series.variant}, {series.cases} cases: {said}"
        for point in series.points[-_NEWEST:]:
            bounds = f"{point.low:+.3f} to {point.high:+.3f}"
            yield f"  {point.run}: {point.effect:+.3f} on average since {found.baseline} ({bounds})"
        for name, reason in [*series.left_out.items()][-_NEWEST:]:
            yield f"  left out: {name}: {reason}"
    for metric in found.unwatched:
        yield f"not watched: {metric.metric} of {metric.variant}: {metric.reason}"
    for run in found.runs:
        if run.not_comparable:
            yield f"left out, not comparable: {run.run}: {run.not_comparable}"
    yield (
        f"Each bound holds at every look; the chance of any false alarm, over all looks, is at most {found.alpha:g}."
    )
