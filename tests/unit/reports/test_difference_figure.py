from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure
from PIL import Image
from support.gates import gate, judged, verdict
from support.report_runs import built, completion, full_run, relevance, result, run

from pytest_llmbench.core.locale import words
from pytest_llmbench.core.records import Run
from pytest_llmbench.reports.charts import canvas
from pytest_llmbench.reports.charts.differences import differences, save_differences
from pytest_llmbench.reports.html.scores import metric_cards
from pytest_llmbench.reports.recommendations import change_line
from pytest_llmbench.runs.base_comparison import base_comparison
from pytest_llmbench.runs.gate_notes import gate_note
from pytest_llmbench.runs.typed import run_document


def drawn(document: dict[str, Any], path: Path, monkeypatch: pytest.MonkeyPatch, variant: str | None = None) -> Figure:
    """The figure instead of its file."""
    figures: list[Figure] = []
    monkeypatch.setattr(canvas, "save_png", lambda figure, _: figures.append(figure))
    save_differences(run_document(document), path, words("en"), variant)
    return figures[0]


def texts_of(figure: Figure) -> list[str]:
    from matplotlib.text import Text

    return [text.get_text() for text in figure.findobj(Text) if text.get_visible()]


def test_epochs_are_averaged_and_unscored_cases_counted() -> None:
    some = run(
        result("a/1", {"relevance": {"base": 0.0, "finetuned": 1.0}}),
        result("a/1", {"relevance": {"base": 0.5, "finetuned": 0.5}}, epoch=1),
        result("a/1", {"relevance": {"base": None, "finetuned": 1.0}}, epoch=2),
        relevance("a/2", 0.5, 0.25),
        relevance("a/3", None, 1.0),
    )
    found = differences(run_document(judged(None, some)), "finetuned", "relevance")
    assert found.changes == ((-0.25, "a/2"), (0.5, "a/1"))
    assert found.unscored == 1
    assert found.tally() == {"better": 1, "same": 0, "worse": 1}


def test_less_is_better_where_the_metric_says_so() -> None:
    some = judged(None, run(result("a/1", {"latency_s": {"base": 2.0, "finetuned": 1.0}})))
    assert differences(run_document(some), "finetuned", "latency_s").tally() == {
        "better": 1,
        "same": 0,
        "worse": 0,
    }


def test_the_gates_own_interval_is_drawn_where_it_compares_with_the_base(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    against_base = gate(verdict(low=-0.111, high=0.999), against="base", baseline=None)
    shown = "\n".join(texts_of(drawn(judged(against_base), tmp_path / "x.png", monkeypatch)))
    assert "95% interval -0.111 to +0.999, n = 30" in shown
    against_baseline = gate(verdict(low=-0.111, high=0.999))
    shown = "\n".join(texts_of(drawn(judged(against_baseline), tmp_path / "x.png", monkeypatch)))
    assert "-0.111" not in shown
    assert "95% interval" in shown


def with_failures(lost: int) -> dict[str, Any]:
    """24 cases of one category with their comparison; the fine-tune failed on the first ones, and is better else."""
    rows = [relevance(f"a/{place}", 0.2, None if place < lost else 1.0) for place in range(24)]
    failed = [
        dataclasses.replace(
            row,
            completions={
                **row.completions,
                "finetuned": completion(row.case, "finetuned", "", finish="error", error="HTTP 500"),
            },
        )
        for row in rows[:lost]
    ]
    document = built(run(*failed, *rows[lost:]))
    return document | {"comparison": base_comparison(document)}


def test_lost_answers_count_in_the_mean_and_in_what_is_praised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what was answered alone a fine-tune that fails where it is hard would look better than it is."""
    document = with_failures(lost=6)
    shown = texts_of(drawn(document, tmp_path / "x.png", monkeypatch))
    assert any("6 lost: the worst score in the mean, not drawn" in text for text in shown)
    assert not any("unscored, left out" in text for text in shown)
    [relevant] = [card for card in metric_cards(run_document(document), words("en")) if card.metric == "relevance"]
    [told], [of_the_only_category] = (row.differences for row in relevant.rows)
    assert of_the_only_category == told
    assert told.low is not None
    assert told.high is not None
    assert told.low < (told.value or 0) < told.high  # of the answers alone it was +0.800, beyond the interval
    line = change_line(run_document(document), "finetuned", words("en"))
    assert "Relevance 0.200 -> 0.750, +275.0% relative (cases: 24, lost answers as the worst score)" in line


def test_no_answer_is_called_lost_where_a_confirmed_gate_has_fresh_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh = gate_note(
        "unconfirmed", "noted_unconfirmed", metric="relevance", variant="finetuned", before="1", after="0"
    )
    judged_again = with_failures(lost=0)["comparison"] | {"kind": "regression", "notes": [fresh]}
    shown = texts_of(drawn(with_failures(lost=6) | {"gate": judged_again}, tmp_path / "x.png", monkeypatch))
    assert not any("6 lost" in text for text in shown)
    assert any("6 unscored, left out\nthe mean is of the answers asked again" in text for text in shown)


def test_the_panels_are_the_gated_metrics_or_the_leading_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gated = texts_of(
        drawn(judged(gate(verdict(metric="latency_s", higher_is_better=False))), tmp_path / "x", monkeypatch)
    )
    assert {"Latency (s)"} == {"Relevance", "Tool accuracy", "Latency (s)"} & set(gated)
    leading = texts_of(drawn(judged(None), tmp_path / "x", monkeypatch))
    assert {"Relevance", "Keywords found (share)", "Tool accuracy"} <= set(leading)


def test_the_cases_that_moved_most_are_named_and_no_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    some = run(*(relevance(f"a/{place}", 0.5, place / 100) for place in range(101)))
    named = {text for text in texts_of(drawn(judged(None, some), tmp_path / "x", monkeypatch)) if text.startswith("a/")}
    assert named == {f"a/{place}" for place in [0, 1, 2, 3, 4, 96, 97, 98, 99, 100]}


def test_another_adapter_can_be_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    some = judged(None, full_run(variants=("base", "v1", "v2")))
    assert "Change of each case: base → v1" in texts_of(drawn(some, tmp_path / "x", monkeypatch))
    assert "Change of each case: base → v2" in texts_of(drawn(some, tmp_path / "x", monkeypatch, "v2"))


THOUGHT = dataclasses.replace(
    relevance("a/1", 0.5, None),
    completions={
        "base": completion("a/1", "base", "volume"),
        "finetuned": completion("a/1", "finetuned", "", finish="length", reasoning="hm"),
    },
)


@pytest.mark.parametrize(
    ("some_run", "said"),
    [
        (full_run(variants=("base",)), "Only base answered"),
        (run(relevance("a/1", None, 0.5)), "Nothing scored"),
        (run(THOUGHT), "Every answer of finetuned was lost"),
        (run(), "Nothing scored"),
        (run(relevance("a/1", 0.5, 0.5)), "+0.000, no interval, n = 1"),
        (run(*(relevance(f"a/{place}", 0.5, 0.5) for place in range(9))), "0 better, 9 same, 0 worse"),
    ],
    ids=["one variant", "unscored", "lost", "empty", "one case", "all ties"],
)
def test_what_cannot_be_compared_is_said(
    some_run: Run, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert said in "\n".join(texts_of(drawn(judged(None, some_run), tmp_path / "x.png", monkeypatch)))


def test_the_file_is_a_300_dpi_png_drawn_without_pyplot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    save_differences(run_document(judged(None, full_run(["$x^2$ 日本語"], 3))), tmp_path / "x.png", words("fr"))
    with Image.open(tmp_path / "x.png") as image:
        assert image.info["dpi"] == pytest.approx((300, 300), abs=0.1)
        assert image.size[1] == 8 * 300
