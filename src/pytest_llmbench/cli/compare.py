"""`llmbench compare`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from pytest_llmbench.cli.context_runs import compare_contexts, context_meant
from pytest_llmbench.cli.options import RUN_HELP, Config, Json, ReportDir, SettingOption, chosen_settings
from pytest_llmbench.cli.terminal import report_width
from pytest_llmbench.core.errors import UsageError

if TYPE_CHECKING:
    from pytest_llmbench.core.setting_sections import Settings
    from pytest_llmbench.runs.baseline import Comparable

_FAILED = 1


def compare(  # noqa: PLR0913  # one argument an option
    baseline: Annotated[str, typer.Argument(metavar="BASELINE", help=f"What runs are held against. {RUN_HELP}")],
    runs: Annotated[list[str], typer.Argument(metavar="RUN", help="The runs, named in the same ways.")],
    *,
    metrics: Annotated[
        str | None, SettingOption("gate.metrics", text="metrics to compare; gate.metrics if none")
    ] = None,
    variant: Annotated[str | None, typer.Option(metavar="NAME", help="Compare this variant only.")] = None,
    margin: Annotated[
        str | None, SettingOption("gate.margin", text="with --fail-on: a fall up to this does not count")
    ] = None,
    alpha: Annotated[str | None, SettingOption("gate.alpha", text="chance of a false alarm in a comparison")] = None,
    fail_on: Annotated[
        Literal["regression"] | None,
        typer.Option(help="End with exit code 1 when a run is worse, or open and gate.inconclusive is fail."),
    ] = None,
    config: Config = None,
    report_dir: ReportDir = None,
    as_json: Json = False,
) -> None:
    """Hold runs against a baseline, case by case.

    Tells effect, interval and p-value of each metric, and the cases that moved most; of context runs each limit and
    each question. Exit code 2 when a run cannot be found or read.
    """
    from pytest_llmbench.runs.gate import settled_gate
    from pytest_llmbench.runs.history import find_run

    if margin is not None and fail_on is None:
        raise UsageError(
            f"--margin {margin}: a mere comparison shows every change and has no margin; add --fail-on regression, "
            "where a fall up to it does not count, or leave it out"
        )
    settings = chosen_settings(config, margin=margin, alpha=alpha, **{"report-dir": report_dir})
    if _compared_contexts((baseline, *runs), settings, fail_on, as_json=as_json, cases=metrics or variant):
        return
    sides = [find_run(name, settings.output.report_dir).comparable for name in (baseline, *runs)]
    names = listed_metrics(metrics, sides) if metrics else settings.gate.metrics
    wanted = settings.gate.model_copy(update={"kind": fail_on or "off", "metrics": names})
    before = _restricted(sides[0], variant) if variant in sides[0].metadata["variants"] else sides[0]
    gates = [settled_gate(_restricted(run, variant), wanted, before) for run in sides[1:]]
    if as_json:
        typer.echo(json.dumps(_document(sides, gates), ensure_ascii=False, indent=2, allow_nan=False))
    else:
        language = settings.output.language
        typer.echo("\n\n".join(_shown(run, gate, language) for run, gate in zip(sides[1:], gates, strict=True)))
    if any(gate["failed"] for gate in gates):
        raise typer.Exit(_FAILED)


def _compared_contexts(
    names: tuple[str, ...],
    settings: Settings,
    fail_on: Literal["regression"] | None,
    *,
    as_json: bool,
    cases: str | None,
) -> bool:
    """Whether these are context runs; if so, they are compared.

    Raises:
        UsageError: some are and some are not, or `cases` narrows them as only runs with cases can be.
    """
    found = [context_meant(name, settings.output.report_dir) for name in names]
    contexts = [one for one in found if one is not None]
    if not contexts:
        return False
    if len(contexts) < len(names):
        other = next(name for name, one in zip(names, found, strict=True) if one is None)
        raise UsageError(f"{contexts[0].name} is a context run, and {other} is none; compare runs of one kind")
    if cases:
        raise UsageError(f"{contexts[0].name} is a context run; it has no metrics and variants to choose from")
    gate = settings.gate.model_copy(update={"kind": fail_on or "off"})
    compare_contexts(contexts[0], contexts[1:], gate, settings.output.language, as_json=as_json)
    return True


def _restricted(run: Comparable, variant: str | None) -> Comparable:
    if variant is None:
        return run
    variants = run.metadata["variants"]
    if variant not in variants:
        raise UsageError(f"--variant {variant}: {run.name} has {', '.join(variants)}")
    return run.only(variant)


def listed_metrics(metrics: str, sides: Iterable[Comparable]) -> tuple[str, ...]:
    """The metrics that were typed. One that no side has is a mistake; one that some side lacks is told as a note.

    No more of the sides are read than it takes to know them all.
    """
    names = tuple(dict.fromkeys(name.strip() for name in metrics.split(",") if name.strip()))
    known: dict[str, None] = {}
    for side in sides:
        known |= dict.fromkeys(metric for row in side.rows for metric in row["scores"])
        if known.keys() >= {*names}:
            return names
    unknown = next(name for name in names if name not in known)
    raise UsageError(f"--metrics: no run has '{unknown}'; there are {', '.join(known) or 'none'}")


def _document(sides: list[Comparable], gates: list[dict[str, Any]]) -> dict[str, Any]:
    runs = [{"run": _about(run), "gate": gate} for run, gate in zip(sides[1:], gates, strict=True)]
    return {"baseline": _about(sides[0]), "runs": runs}


def _about(run: Comparable) -> Mapping[str, Any]:
    git = run.metadata.get("git") or {}
    return {
        "name": run.name,
        "path": run.path,
        "commit": git.get("commit"),
        "timestamp": run.metadata["timestamp"],
    }


def _shown(run: Comparable, gate: dict[str, Any], language: str) -> str:
    from pytest_llmbench.reports.renderers.terminal import terminal_lines
    from pytest_llmbench.reports.views.gate import gate_report
    from pytest_llmbench.runs.typed import gate_document

    return "\n".join([f"{run.name}:", *terminal_lines(gate_report(gate_document(gate), language), report_width())])
