"""The figure of a search: one target in detail, or several side by side; no panel without data."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llmbench.autotune.document import Finding, LimitsDocument, QuestionName, TargetLimits
from pytest_llmbench.core.text_cells import shorten_middle
from pytest_llmbench.reports.charts import (
    canvas,
    search_curve,
    search_latency,
    search_targets,
    search_temperature,
    search_timeline,
)
from pytest_llmbench.reports.charts.search_series import groups_of
from pytest_llmbench.reports.serving.answers import answer, main_finding, other_findings
from pytest_llmbench.reports.serving.words import QUESTIONS, ServingWords, serving_words

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

WIDTH_INCHES = 14.0
_MAIN_INCHES, _TIMELINE_INCHES, _SMALL_INCHES = 5.4, 4.6, 4.2
_HEADING_INCHES = 0.8
_IN_A_ROW = 3
_NAME_CELLS = 80
_TITLE_CHARACTERS = 110

Panel = Callable[["Axes"], None]
Row = tuple[float, Callable[["SubFigure"], None]]


def save_search(document: LimitsDocument, path: Path, language: str) -> None:
    """Draw into `path` as PNG, 300 DPI.

    Raises:
        UsageError: the language is unknown.
    """
    say = serving_words(language)
    targets = document.targets
    rows = list(_compared(targets, say) if len(targets) > 1 else _detailed(targets[0], say))
    heights = [height for height, _ in rows]
    with canvas.figure_of(WIDTH_INCHES, _HEADING_INCHES + sum(heights)) as figure:
        _heading(figure, targets, say)
        parts = figure.subfigures(len(rows), 1, height_ratios=heights, squeeze=False)[:, 0]
        for part, (_, draw) in zip(parts, rows, strict=True):
            draw(part)
        canvas.save_png(figure, path)


def _heading(figure: Figure, targets: Sequence[TargetLimits], say: ServingWords) -> None:
    main = main_finding(targets[0])
    if len(targets) > 1:
        text = say("Limits of {count} servers or models", count=len(targets))
    elif main is None:
        text = say("Limits of {name}", name=shorten_middle(targets[0].name, _NAME_CELLS))
    else:
        text = f"{shorten_middle(targets[0].name, _NAME_CELLS)}\n{textwrap.fill(answer(main, say), _TITLE_CHARACTERS)}"
    figure.suptitle(text, fontsize=14, fontweight="bold", parse_math=False)


def _detailed(target: TargetLimits, say: ServingWords) -> Iterator[Row]:
    main = main_finding(target)
    if main is not None:
        drawn: list[Panel] = [
            lambda axes: search_curve.curve(axes, main, say),
            lambda axes: search_latency.latency(axes, main, say),
        ]
        yield _beside(drawn, _MAIN_INCHES)
        yield _TIMELINE_INCHES, lambda part: search_timeline.timeline(part, main, say)
    small: list[Panel] = [_small(finding, say) for finding in other_findings(target)]
    small += _temperatures(target, say)
    yield from _in_rows(small)


def _small(finding: Finding, say: ServingWords) -> Panel:
    return lambda axes: search_curve.small_curve(axes, finding, say)


def _temperatures(target: TargetLimits, say: ServingWords, name: str = "") -> list[Panel]:
    """One panel for the metrics between 0 and 1, one for each other."""
    grid = target.temperature
    if grid is None:
        return []
    groups = groups_of(grid)
    return [lambda axes, group=group: search_temperature.temperature(axes, grid, group, say, name) for group in groups]  # type: ignore[misc]


def _compared(targets: Sequence[TargetLimits], say: ServingWords) -> Iterator[Row]:
    asked = [name for name in QUESTIONS if any(name in target.findings for target in targets)]
    if asked:
        main = asked[0]
        yield _beside(
            [
                lambda axes: search_targets.compare_limits(axes, main, targets, say),
                lambda axes: search_targets.compare_curves(axes, main, targets, say),
            ],
            _MAIN_INCHES,
        )
    yield from _in_rows([_limits(name, targets, say) for name in asked[1:]])
    yield from _in_rows([panel for target in targets for panel in _temperatures(target, say, target.name)])


def _limits(question: QuestionName, targets: Sequence[TargetLimits], say: ServingWords) -> Panel:
    """Side by side, or the curve of the only target that was asked."""
    of = [target for target in targets if question in target.findings]
    if len(of) > 1:
        return lambda axes: search_targets.compare_limits(axes, question, targets, say)
    return lambda axes: search_curve.small_curve(axes, of[0].findings[question], say, of[0].name)


def _in_rows(drawn: Sequence[Panel]) -> Iterator[Row]:
    rows = math.ceil(len(drawn) / _IN_A_ROW)
    for row in range(rows):  # as evenly as can be: 4 panels are 2 and 2
        yield _beside(drawn[len(drawn) * row // rows : len(drawn) * (row + 1) // rows], _SMALL_INCHES)


def _beside(drawn: Sequence[Panel], height: float) -> Row:
    def draw(part: SubFigure) -> None:
        for axes, panel in zip(part.subplots(1, len(drawn), squeeze=False)[0], drawn, strict=True):
            panel(axes)

    return height, draw
