"""Routing as the page shows it: a matrix a variant, the rates a tool, and what was named instead."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from pytest_llmbench.core.locale import Words
from pytest_llmbench.reports.limits import CONFUSIONS
from pytest_llmbench.reports.routing import Routing, is_routed, routings
from pytest_llmbench.reports.routing_matrix import Cell, Matrix, matrices
from pytest_llmbench.reports.routing_text import header_of, rate_rows, summaries, tool_name
from pytest_llmbench.runs.typed import RunDocument

_MOST_RATES = 20
_MOST_ABREAST = 14
_LEAST_SHADE = 12
_SHADES = 76


@dataclasses.dataclass(frozen=True, slots=True)
class MatrixView:
    """One variant's matrix: column names, then a name and cells a row: text, class and depth in percent each."""

    variant: str
    columns: Sequence[str]
    rows: Sequence[tuple[str, Sequence[tuple[str, str, int]]]]
    confusions: Sequence[tuple[str, str, int]]
    more_confusions: int


@dataclasses.dataclass(frozen=True, slots=True)
class RoutingView:
    """What the page says of routing."""

    summaries: Sequence[str] = ()
    matrices: Sequence[MatrixView] = ()
    folded: str | None = None
    variants: Sequence[str] = ()
    header: Sequence[str] = ()
    rates: Sequence[Sequence[str]] = ()
    is_long: bool = False
    is_wide: bool = False


def routing_view(document: RunDocument, say: Words) -> RoutingView | None:
    """The view of a run's routing; None where no answer's tool was judged."""
    if not is_routed(document):
        return None
    found = routings(document)
    drawn = matrices(found)
    names = {tool: drawn.label(tool, say) for one in drawn.shown for tool in [*one.columns, *one.rows]}
    rates = rate_rows(found, say)
    return RoutingView(
        summaries=list(summaries(found, say)),
        matrices=[_matrix(one, names, say) for one in drawn.shown],
        folded=say(
            "Shown are the {shown} tools that are confused most; the other {left_out} are one row and one "
            "column. A number with ✗ in their common cell counts those of them that were taken for one another.",
            shown=drawn.tools,
            left_out=drawn.left_out,
        )
        if drawn.left_out
        else None,
        variants=[one.variant for one in found],
        header=header_of(found, say),
        rates=rates,
        is_long=len(rates) > _MOST_RATES,
        is_wide=len(drawn.shown[0].columns) > _MOST_ABREAST,
    )


def _matrix(matrix: Matrix, names: Mapping[str, str], say: Words) -> MatrixView:
    return MatrixView(
        variant=matrix.routing.variant,
        columns=[names[tool] for tool in matrix.columns],
        rows=[
            (names[tool], [_cell(cell) for cell in cells])
            for tool, cells in zip(matrix.rows, matrix.cells, strict=True)
        ],
        confusions=_confusions(matrix.routing, say),
        more_confusions=max(len(matrix.routing.confusions()) - CONFUSIONS, 0),
    )


def _confusions(routing: Routing, say: Words) -> list[tuple[str, str, int]]:
    found = routing.confusions()[:CONFUSIONS]
    return [(tool_name(expected, say), tool_name(named, say), count) for (expected, named), count in found]


def _cell(cell: Cell) -> tuple[str, str, int]:
    kind = "" if not cell.count else "right" if cell.right else "wrong"
    return cell.text, kind, _LEAST_SHADE + round(_SHADES * cell.share)
