from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from support.serving_documents import COMMAND, full_document, grid, several_document, target, users_document
from support.serving_findings import users_finding

from pytest_llmbench.autotune.document import Finding, typed_limits
from pytest_llmbench.core.settings import Settings
from pytest_llmbench.load.records import SLO
from pytest_llmbench.reports.charts import canvas
from pytest_llmbench.reports.charts.search import save_search
from pytest_llmbench.reports.charts.search_page import timeline_summary
from pytest_llmbench.reports.charts.search_series import dots, latencies
from pytest_llmbench.reports.serving.document import limits_document
from pytest_llmbench.reports.serving.words import serving_words

Draw = Callable[..., Figure]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Draw:
    def draw(document: dict[str, Any], language: str = "en") -> Figure:
        figures: list[Figure] = []
        monkeypatch.setattr(canvas, "save_png", lambda figure, _: figures.append(figure))
        save_search(typed_limits(document), Path("unused.png"), language)
        return figures[0]

    return draw


def titles(figure: Figure) -> list[str]:
    return [axes.get_title() for axes in figure.axes]


def labels(figure: Figure) -> set[str]:
    return {label for axes in figure.axes for label in axes.get_legend_handles_labels()[1]}


def labels_below(figure: Figure) -> set[str]:
    return {text.get_text() for axes in figure.axes if (legend := axes.get_legend()) for text in legend.get_texts()}


def words_of(figure: Figure) -> list[Text]:
    """Titles, axis labels and legends; tick labels lie beside their axes."""
    found = [text for axes in figure.axes for text in (axes.title, axes.xaxis.label, axes.yaxis.label, *axes.texts)]
    found += [text for axes in figure.axes if (legend := axes.get_legend()) for text in legend.get_texts()]
    return [text for text in found if text.get_text().strip()]


def document_of(**target_changes: Any) -> dict[str, Any]:
    return limits_document([target(**target_changes)], Settings(), COMMAND).json_ready()


def test_one_target_has_curve_latencies_timeline_and_a_panel_for_each_other_question(drawn: Draw) -> None:
    assert titles(drawn(full_document())) == [
        "Share of good answers by level",
        "Latency by level",
        "The whole search: requests and load",
        "",
        "Requests per second: 2.75 requests/s",
        "History: 6 messages of history",
        "Answer length: 78 tokens an answer",
        "Quality by temperature",
    ]


def test_what_was_not_measured_has_no_panel(drawn: Draw) -> None:
    assert len(drawn(users_document()).axes) == 4
    assert titles(drawn(document_of(findings={}, temperature=grid()))) == ["Quality by temperature"]


def test_several_targets_are_drawn_side_by_side(drawn: Draw) -> None:
    figure = drawn(several_document())
    limits, curves = figure.axes[:2]
    assert [label.get_text() for label in limits.get_yticklabels()] == [
        "qwen2.5-3b-instruct",
        "llama-3.1-8b-instruct",
        "smollm2-135m",
    ]
    assert [text.get_text() for text in limits.texts] == ["11", "2", "10+"]
    assert len(curves.get_legend_handles_labels()[1]) == 3


@pytest.mark.parametrize("language", ["en", "fr"])
@pytest.mark.parametrize("make", [full_document, several_document])
def test_no_text_leaves_the_figure_and_no_title_touches_another(make: Any, language: str, drawn: Draw) -> None:
    figure = drawn(make(), language)
    figure.dpi = 50
    figure.draw_without_rendering()
    whole = figure.bbox.padded(1)
    for text in words_of(figure):
        box = text.get_window_extent()
        assert whole.fully_contains(box.x0, box.y0), text.get_text()
        assert whole.fully_contains(box.x1, box.y1), text.get_text()
    boxes = [axes.title.get_window_extent() for axes in figure.axes if axes.get_title()]
    assert not any(one.overlaps(other) for place, one in enumerate(boxes) for other in boxes[:place])
    legends = [axes.get_legend().get_window_extent() for axes in figure.axes if axes.get_legend()]  # type: ignore[union-attr]
    assert not any(one.overlaps(title) for one in legends for title in boxes)


def test_trials_lie_at_their_share_and_are_told_apart_by_shape(drawn: Draw) -> None:
    document = users_document()
    curve = drawn(document).axes[0]
    marks = {item.get_label(): item for item in curve.collections if str(item.get_label()).startswith("trial: ")}
    assert set(marks) == {"trial: held", "trial: undecided", "trial: broken"}
    [broken] = [
        trial for trial in document["targets"][0]["findings"]["users"]["trials"] if trial["verdict"] == "broken"
    ]
    offsets = np.asarray(marks["trial: broken"].get_offsets())
    assert offsets.tolist() == [[18, pytest.approx(broken["good"] / broken["total"])]]


def test_every_request_is_good_late_or_failed(drawn: Draw) -> None:
    finding = users_finding()
    finding["trials"][5]["requests"][0] = [0, 0.1, None, 0.15, 0, None]
    found = dots(Finding.model_validate(finding))
    assert len(found) == sum(trial["total"] for trial in finding["trials"])
    bad = sum(trial["total"] - trial["good"] for trial in finding["trials"])
    assert [sum(dot.outcome == name for dot in found) for name in ("late", "failed")] in ([bad - 1, 1], [bad, 1])
    assert {"failed", "late", "good"} <= labels(drawn(document_of(findings={"users": finding})))


def test_of_very_many_requests_every_bad_one_stays() -> None:
    finding = users_finding()
    bad = sum(trial["total"] - trial["good"] for trial in finding["trials"])
    found = dots(Finding.model_validate(finding), most=100)
    assert sum(dot.outcome != "good" for dot in found) == bad
    assert len(found) < sum(trial["total"] for trial in finding["trials"]) / 2


def test_requests_that_a_large_trial_does_not_list_are_counted_and_said_not_to_be_drawn(drawn: Draw) -> None:
    finding = users_finding()
    total, good = (sum(trial[key] for trial in finding["trials"]) for key in ("total", "good"))
    for trial in finding["trials"]:
        trial["requests"] = trial["requests"][::2]
    listed = sum(len(trial["requests"]) for trial in finding["trials"])
    summary = timeline_summary(Finding.model_validate(finding), serving_words("en"))
    assert summary.startswith(f"{good} good, {total - good} late and 0 failed requests")
    assert f"{listed} of {total} requests are drawn." in labels_below(drawn(document_of(findings={"users": finding})))


def test_percentiles_are_over_all_trials_of_a_level() -> None:
    finding = users_finding((4, 4))
    both = [row[3] - row[1] for trial in finding["trials"] for row in trial["requests"]]
    assert latencies(Finding.model_validate(finding))[4][0] == pytest.approx(float(np.percentile(both, 50)))


def test_drowned_answers_do_not_flatten_all_others(drawn: Draw) -> None:
    finding = users_finding()
    rows = finding["trials"][5]["requests"]
    finding["trials"][5]["requests"] = [[*row[:3], row[3] + 200.0, 0, row[5]] for row in rows]
    timeline = drawn(document_of(findings={"users": finding})).axes[2]
    assert timeline.get_yscale() == "log"


def test_under_a_strict_promise_trials_lie_at_all_or_nothing(drawn: Draw) -> None:
    curve = drawn(users_document(slo=SLO(1.0, 3.0))).axes[0]
    heights = {float(y) for item in curve.collections for _, y in np.asarray(item.get_offsets()) if item.get_label()}
    assert heights <= {0.0, 1.0}
    assert curve.get_ylabel() == "share of trials without a bad answer"


def test_names_are_no_formulas_and_the_file_is_a_png(tmp_path: Path) -> None:
    save_search(typed_limits(document_of(name="$x_1$ {y} 日本語")), tmp_path / "x.png", "fr")
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")


def test_a_temperature_without_an_interval_leaves_the_others_theirs(drawn: Draw) -> None:
    known = grid()
    known["points"][0]["scores"]["relevance"] |= {"low": None, "high": None}
    (axes,) = drawn(document_of(findings={}, temperature=known)).axes
    relevance = axes.containers[0]
    heights = [segment[1][1] - segment[0][1] for segment in relevance[2][0].get_segments()]
    assert heights == pytest.approx([0.0, 0.24, 0.24, 0.24])
