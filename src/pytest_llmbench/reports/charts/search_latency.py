"""Percentiles of latency by level of load, against the limit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_llmbench.autotune.document import Finding
from pytest_llmbench.reports.charts import canvas
from pytest_llmbench.reports.charts.search_axes import LINES, level_axis, limit_band, seconds_axis
from pytest_llmbench.reports.charts.search_series import PERCENTILES, latencies, reach_of
from pytest_llmbench.reports.serving.words import ServingWords

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def latency(axes: Axes, finding: Finding, say: ServingWords) -> None:
    """Percentiles of what the limit is for, by level, against the limit."""
    shown = latencies(finding)
    first = finding.slo.latency == "first_token"
    title, of_first = say("Latency by level"), say("first token")
    canvas.title(axes, f"{title} ({of_first})" if first else title)
    for place, percentile in enumerate(PERCENTILES):
        axes.plot(
            list(shown),
            [values[place] for values in shown.values()],
            color=canvas.PERCENTILES[place],
            linestyle=LINES[place],
            marker=".",
            linewidth=1.6,
            label=f"p{percentile}",
        )
    limit_s = finding.slo.limit_s
    label = say("limit {limit}", limit=say.limit(limit_s))
    axes.axhline(limit_s, color=canvas.BROKEN, linewidth=1.2, linestyle="--", label=label)
    limit_band(axes, finding)
    low, high = reach_of(finding)
    margin = 0.04 * (high - low) or 0.5
    axes.set_xlim(low - margin, high + margin)
    seconds_axis(axes, [value for values in shown.values() for value in values] + [limit_s], say)
    level_axis(axes, finding.question, say, say("seconds"))
    canvas.legend(axes, columns=5)
