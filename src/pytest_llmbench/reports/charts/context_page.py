"""The charts of a context run as a page shows them: each as SVG of its own, with what it shows in words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llmbench.reports.charts import canvas
from pytest_llmbench.reports.charts import context_panels as panels
from pytest_llmbench.reports.charts.svg import drawing
from pytest_llmbench.reports.context_words import answer_sentence
from pytest_llmbench.reports.serving.words import ServingWords

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from pytest_llmbench.runs.context_document import ContextTarget

_INCHES = (5.6, 4.2)


@dataclass(frozen=True, slots=True)
class Picture:
    """One chart: its title, what draws it into axes, and the words for those who do not see it."""

    title: str
    panel: Callable[[Axes], None]
    label: str

    def svg(self, name: str) -> str:
        """An SVG element, `name` being unique in its page."""
        return drawing(name, self.label, _INCHES, lambda figure: self.panel(figure.subplots()))

    def save(self, path: Path) -> None:
        """The same as PNG, 300 DPI."""
        with canvas.figure_of(*_INCHES) as figure:
            self.panel(figure.subplots())
            canvas.save_png(figure, path)


def time_pictures(target: ContextTarget, say: ServingWords) -> list[Picture]:
    """The law, and the rates; none where nothing was timed."""
    if target.analysis is None or not target.analysis.times:
        return []
    return [
        _of(panels.law_panel, target, say("Time to the first token by length"), say),
        _of(panels.rates_panel, target, say("Tokens per second by length"), say),
    ]


def fact_pictures(target: ContextTarget, say: ServingWords) -> list[Picture]:
    """The heat map; none where nothing was asked that has an answer at a depth."""
    if target.analysis is None or not any(one.depth is not None for one in target.analysis.by_depth):
        return []
    return [_of(panels.facts_panel, target, say("Facts found by depth and length"), say)]


def compared_pictures(targets: Sequence[ContextTarget], say: ServingWords) -> list[Picture]:
    """Several targets: their answers, and their laws."""
    label = " ".join(answer_sentence(target, say) for target in targets)
    answers = Picture(say("Longest context by target"), lambda axes: panels.answers_panel(axes, targets, say), label)
    if not any(target.analysis and target.analysis.law for target in targets):
        return [answers]
    laws = Picture(say("Time to the first token by target"), lambda axes: panels.laws_panel(axes, targets, say), label)
    return [answers, laws]


def _of(
    panel: Callable[[Axes, ContextTarget, ServingWords], None], target: ContextTarget, title: str, say: ServingWords
) -> Picture:
    label = say("{name}: {value}", name=title, value=answer_sentence(target, say))
    return Picture(title, lambda axes: panel(axes, target, say), label)
