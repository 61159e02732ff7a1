from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pytest
from matplotlib.figure import Figure
from PIL import Image
from support.report_runs import completion, full_run, relevance, result, run

from pytest_llmbench.core.locale import words
from pytest_llmbench.core.records import Run
from pytest_llmbench.reports.charts import canvas
from pytest_llmbench.reports.charts.benchmark import _edges, _most_changed, save_benchmark
from pytest_llmbench.runs.base_comparison import with_comparison
from pytest_llmbench.runs.document import build_document
from pytest_llmbench.runs.typed import run_document

LONG = [f"une catégorie au nom vraiment très long {number:02}" for number in range(11)]
NOTHING = run(result("a/1", {"relevance": {"base": None, "finetuned": None}}))


def document(some_run: Run) -> dict[str, Any]:
    return dict(with_comparison(build_document(some_run, answer_chars=500)))


def texts_of(some_run: Run, path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """All that is written in the figure."""
    from matplotlib.text import Text

    figures: list[Figure] = []
    monkeypatch.setattr(canvas, "save_png", lambda figure, _: figures.append(figure))
    save_benchmark(run_document(document(some_run)), path, words("en"))
    return [text.get_text() for text in figures[0].findobj(Text) if text.get_visible()]


def test_the_summary_tells_of_answers_that_its_means_leave_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [relevance(f"a/{place}", 0.5, None if place < 24 else 0.9) for place in range(30)]
    for row in rows[:24]:
        thought = completion(row.case, "finetuned", "", finish="length", reasoning="hm")
        row.completions["finetuned"] = thought  # type: ignore[index]  # a dict, which nobody else has yet
    told = " ".join(" ".join(texts_of(run(*rows), tmp_path / "x", monkeypatch)).split())
    assert "24 of 30 answers of finetuned ended before its thinking did: they count as lost" in told


def test_the_figure_has_the_references_size(tmp_path: Path) -> None:
    save_benchmark(run_document(document(full_run())), tmp_path / "figure.png", words("fr"))
    with Image.open(tmp_path / "figure.png") as image:
        assert image.size == (14 * 300, 10 * 300)
        assert image.info["dpi"] == pytest.approx((300, 300), abs=0.1)


def test_the_figure_is_the_same_under_any_user_style_and_needs_no_pyplot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    first, second = tmp_path / "first.png", tmp_path / "second.png"
    save_benchmark(run_document(document(full_run())), first, words("fr"))
    with mpl.rc_context({"font.size": 33, "axes.facecolor": "black"}):
        save_benchmark(run_document(document(full_run())), second, words("fr"))
        assert mpl.rcParams["font.size"] == 33
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize(
    "some_run",
    [
        full_run([*LONG, "日本語 $x^2$"], 3),
        full_run(["one"], 1, variants=("base",)),
        full_run(cases=2, variants=("base", *(f"adapter-{number}" for number in range(8)))),
        NOTHING,
        run(),
    ],
    ids=["twelve long categories", "one variant", "many adapters", "unscored", "empty"],
)
def test_unusual_runs_are_drawn_without_a_warning(some_run: Run, tmp_path: Path) -> None:
    save_benchmark(run_document(document(some_run)), tmp_path / "figure.png", words("en"))
    assert (tmp_path / "figure.png").stat().st_size > 10_000


def test_panels_without_scores_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert texts_of(NOTHING, tmp_path / "figure.png", monkeypatch).count("Nothing scored") == 3


def test_a_variant_whose_name_begins_with_an_underscore_is_in_the_legends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = texts_of(full_run(cases=2, variants=("base", "_old")), tmp_path / "x", monkeypatch)
    assert told.count("_old") == 2
    assert "_old (n = 6)" in told


def test_the_verdict_stands_above_the_panels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    title = next(text for text in texts_of(full_run(), tmp_path / "figure.png", monkeypatch) if "BETTER" in text)
    assert title.startswith("BETTER: Relevance of finetuned: ")
    assert "95% interval" in title


def test_too_many_categories_keep_those_that_changed_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    means = {"base": {str(place): 0.0 for place in range(20)}, "v": {str(place): place / 20 for place in range(20)}}
    assert _most_changed(means, list(means["base"])) == [str(place) for place in range(6, 20)]
    many = run(*(relevance(f"c{place}/1", 0.0, place / 20) for place in range(20)))
    assert "Relevance by category (14 of 20, greatest change)" in texts_of(many, tmp_path / "x.png", monkeypatch)


def test_bins_cover_the_scores_and_have_exact_edges() -> None:
    assert _edges([[0.3, 0.5]]) == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
    assert (_edges([[-1.0, 3.0], []])[0], _edges([[-1.0, 3.0], []])[-1]) == (-1.0, 3.0)
