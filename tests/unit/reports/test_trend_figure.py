from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.collections import PathCollection, PolyCollection
from matplotlib.figure import Figure
from PIL import Image
from support.gates import gate, judged, verdict
from support.report_runs import relevance, run

from pytest_llmbench.core.locale import words
from pytest_llmbench.reports.blocks import Report
from pytest_llmbench.reports.charts import canvas
from pytest_llmbench.reports.charts.trend import MOST_VARIANTS, save_trend
from pytest_llmbench.reports.html.trend import trend_view
from pytest_llmbench.reports.renderers.text import Text
from pytest_llmbench.reports.views.trend import trend_section
from pytest_llmbench.runs.averages import in_short, partly_scored
from pytest_llmbench.runs.drift_document import Monitored, NoBand
from pytest_llmbench.runs.typed import RunPoint, run_document

OUTCOMES = ("pass", "fail", "inconclusive", None)


def saved(place: int, names: tuple[str, ...] = ("base", "finetuned"), **changed: Any) -> RunPoint:
    means = {name: {"relevance": 0.2 + 0.3 * turn, "keywords": 0.4} for turn, name in enumerate(names)}
    known: dict[str, Any] = {
        "name": f"{place:04}_run",
        "timestamp": "2026-02-18T10:00:00+00:00",
        "variants": means,
        "outcome": OUTCOMES[place % 4],
    }
    return RunPoint.model_validate(known | changed)


def drawn(history: list[RunPoint], monkeypatch: pytest.MonkeyPatch, monitored: Any = None) -> Figure:
    figures: list[Figure] = []
    monkeypatch.setattr(canvas, "save_png", lambda figure, _: figures.append(figure))
    save_trend(history, Path("unused.png"), words("en"), monitored)
    return figures[0]


def texts_of(figure: Figure) -> list[str]:
    from matplotlib.text import Text

    return [text.get_text() for text in figure.findobj(Text) if text.get_visible()]


def test_each_leading_metric_has_a_panel_with_a_line_a_variant(monkeypatch: pytest.MonkeyPatch) -> None:
    figure = drawn([saved(place) for place in range(5)], monkeypatch)
    assert [axes.get_title() for axes in figure.axes] == ["Relevance", "Keywords found (share)"]
    assert [len(axes.lines) for axes in figure.axes] == [2, 2]
    assert list(np.asarray(figure.axes[0].lines[1].get_ydata())) == [0.5] * 5


def test_every_outcome_has_a_shape_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    figure = drawn([saved(place) for place in range(4)], monkeypatch)
    marks = [item for item in figure.axes[0].collections if isinstance(item, PathCollection)][:4]
    assert [np.asarray(mark.get_offsets())[0, 0] for mark in marks] == [0, 2, 1, 3]
    assert len({mark.get_paths()[0].vertices.tobytes() for mark in marks}) == 4  # type: ignore[union-attr]  # always an array
    assert {"pass", "fail", "inconclusive", "no gate"} <= set(texts_of(figure))


def test_a_run_that_lacks_a_variant_or_a_mean_leaves_a_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    history = [saved(0), saved(1, ("base",)), saved(2, variants={"finetuned": {"relevance": None}}), saved(3)]
    figure = drawn(history, monkeypatch)
    drawn_values = [[str(value) for value in np.asarray(line.get_ydata())] for line in figure.axes[0].lines]
    assert drawn_values == [["0.2", "0.2", "nan", "0.2"], ["0.5", "nan", "nan", "0.5"]]


@pytest.mark.parametrize("count", [1, 2, 24, 25, 40, 300])
def test_run_names_are_thinned_and_the_newest_is_kept(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = [
        label.get_text()
        for label in drawn([saved(place) for place in range(count)], monkeypatch).axes[-1].get_xticklabels()
    ]
    assert labels[-1] == f"{count - 1:04}_run"
    assert min(count, 13) <= len(labels) <= 24


def test_of_many_variants_those_of_the_latest_runs_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    history = [saved(place, ("base", f"v{place}")) for place in range(9)]
    shown = texts_of(drawn(history, monkeypatch))
    assert f"Trend over the saved runs (9), {MOST_VARIANTS} of 10 variants, the latest" in shown
    assert "v8" in shown
    assert "v0" not in shown


@pytest.mark.parametrize("history", [[], [saved(0, variants={})], [saved(0, variants={"base": {"relevance": None}})]])
def test_without_means_the_figure_says_so(history: list[RunPoint], monkeypatch: pytest.MonkeyPatch) -> None:
    assert "Nothing scored" in texts_of(drawn(history, monkeypatch))


def test_the_file_is_a_300_dpi_png_drawn_without_pyplot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    save_trend([saved(0, name="$x_1$ 日本語")], tmp_path / "x.png", words("fr"))
    with Image.open(tmp_path / "x.png") as image:
        assert image.info["dpi"] == pytest.approx((300, 300), abs=0.1)
        assert image.size[0] == 14 * 300


def test_a_run_of_other_cases_is_hollow_and_the_legend_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(sha: str | None, cases: int = 30) -> dict[str, Any]:
        return {"sha256": sha, "cases": {"c": cases}}

    alike = [asked("a"), asked("b"), asked(None), asked(None, 7), asked("a")]
    history = [saved(place, outcome="pass", asked=own) for place, own in enumerate(alike)]
    figure = drawn(history, monkeypatch)
    filled, hollow = [item for item in figure.axes[0].collections if isinstance(item, PathCollection)][:2]
    assert np.asarray(filled.get_offsets())[:, 0].tolist() == [0, 2, 4]
    assert np.asarray(hollow.get_offsets())[:, 0].tolist() == [1, 3]
    assert "other cases: not comparable" in texts_of(figure)
    assert "other cases: not comparable" not in texts_of(drawn(history[4:], monkeypatch))


def test_a_mean_of_a_part_of_the_answers_has_its_count_in_every_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """A build that counted lost answers as empty, then one that leaves them out: the step is none of the model's."""
    counts = {"base": {"relevance": (30, 30), "keywords": (10, 30)}, "finetuned": {"relevance": (30, 30)}}
    history = [saved(0, scored=counts), saved(1, scored=counts | {"finetuned": {"relevance": (24, 30)}})]
    assert {"24/30", "n/m: only n of m answers are scored"} <= set(texts_of(drawn(history, monkeypatch)))
    assert not any("n/m" in text or "/30" in text for text in texts_of(drawn(history[:1] * 2, monkeypatch)))
    told = " ".join(Text().render(Report("x", "en", [trend_section(history, words("en"))])).split())
    assert "an empty one): 0001_run finetuned Relevance 24/30" in told
    shown = trend_view(history, {"base": 0, "finetuned": 1}, words("en"))
    assert shown is not None
    assert str(shown.note).endswith("0001_run finetuned Relevance 24/30")


def test_the_drift_from_a_fixed_baseline_is_a_band_round_its_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    points = [{"run": f"{place:04}_run", "effect": 0.0, "low": -0.2, "high": 0.1} for place in (1, 2)]
    about = {"variant": "finetuned", "metric": "relevance", "cases": 30, "before": 0.5, "alarm": None}
    found = {"baseline": "accepted", "alpha": 0.05, "margin": 0.0, "runs": [], "series": [{**about, "points": points}]}
    figure = drawn([saved(place) for place in range(3)], monkeypatch, Monitored.model_validate(found))
    (band,) = [item for item in figure.axes[0].collections if isinstance(item, PolyCollection)]
    corners = np.asarray(band.get_paths()[0].vertices)
    assert (corners.min(axis=0).tolist(), corners.max(axis=0).tolist()) == ([1, 0.3], [2, 0.6])
    assert "since accepted, at every look" in texts_of(figure)
    other = Monitored.model_validate({**found, "series": [{**about, "metric": "latency_s", "points": points}]})
    assert not any("at every look" in text for text in texts_of(drawn([saved(0), saved(1)], monkeypatch, other)))
    figure = drawn([saved(place) for place in range(3)], monkeypatch, NoBand(baseline="accepted", count=120))
    assert not [item for item in figure.axes[0].collections if isinstance(item, PolyCollection)]
    assert "no band: 120 runs since accepted (llmbench monitor)" in texts_of(figure)
    figure = drawn([saved(place) for place in range(3)], monkeypatch, NoBand(baseline="accepted"))
    assert "no band since accepted: llmbench monitor says why" in texts_of(figure)


@pytest.mark.parametrize(("kind", "outcome"), [("regression", "fail"), ("compare", None)])
def test_only_a_gate_has_an_outcome_in_the_trend(kind: str, outcome: str | None) -> None:
    found = run_document(judged(gate(verdict(outcome="fail"), kind=kind, outcome="fail")))
    assert in_short("this run", found).outcome == outcome


def test_a_run_in_short_has_the_counts_that_its_means_are_of() -> None:
    found = in_short("x", run_document(judged(None, run(relevance("a/1", 0.5, 0.5), relevance("a/2", 0.5, None)))))
    assert {name: of["relevance"] for name, of in found.scored.items()} == {"base": (2, 2), "finetuned": (1, 2)}
    assert [(one.variant, one.scored, one.expected) for one in partly_scored([found], "relevance")] == [
        ("finetuned", 1, 2)
    ]
