from __future__ import annotations

import base64
import gzip
import html.parser
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.report_runs import full_run, relevance, result, run

from pytest_llmbench.core.errors import UsageError
from pytest_llmbench.core.locale import LANGUAGES, words
from pytest_llmbench.core.records import Run
from pytest_llmbench.reports.html import cases, render_html, write_html
from pytest_llmbench.reports.html.scale import scale_over, symmetric
from pytest_llmbench.runs.averages import in_short
from pytest_llmbench.runs.base_comparison import with_comparison
from pytest_llmbench.runs.document import build_document
from pytest_llmbench.runs.storage import read_document
from pytest_llmbench.runs.typed import RunPoint, run_document

EXAMPLE = Path(__file__).parents[3] / "reports" / "example" / "benchmark.json"
HOSTILE = "</script><script>alert(1)</script><!-- <b onclick='x()'> \u202e {{ 7 * 7 }} 👩‍👩‍👧 & \ud800"


class Page(html.parser.HTMLParser):
    """What a browser would make of the page: elements, visible text, and the data for the script."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text, self._data, self._inside = "", "", ""
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside = "data" if dict(attrs).get("id") == "data" else tag

    def handle_endtag(self, tag: str) -> None:  # noqa: ARG002  # the name is the base class's
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "data":
            self._data += data
        elif self._inside not in {"script", "style"}:
            self.text += f" {data}"

    @property
    def data(self) -> Any:
        return json.loads(self._data)

    @property
    def words(self) -> str:
        return " ".join(self.text.split())


def document(some_run: Run) -> dict[str, Any]:
    return build_document(some_run, answer_chars=500)


def page(some_run: Run, language: str = "en", **changed: Any) -> Page:
    return Page(render_html(run_document({**document(some_run), **changed}), [], language))


def trend_lines(shown: Page) -> list[tuple[str, list[str]]]:
    """Each line of a trend: the variable of its colour, and its points."""
    paths = [attrs for tag, attrs in shown.elements if tag == "path" and "stroke-width:1.4" in str(attrs.get("style"))]
    return [(str(one["style"]).split("(")[1].split(")")[0], re.findall(r"[ML]", str(one["d"]))) for one in paths]


def gate(**changed: Any) -> dict[str, Any]:
    verdict = {
        "variant": "finetuned",
        "metric": "relevance",
        "category": None,
        "outcome": "fail",
        "effect": -0.12,
        "low": -0.2,
        "high": -0.05,
        "p_value": 0.0002,
        "p_adjusted": 0.0006,
        "margin": 0.05,
        "higher_is_better": True,
        "before": 0.66,
        "after": 0.54,
        "n": 30,
        "epochs": 3,
        "detectable": 0.09,
        "needed_cases": 210,
        "needed_epochs": 9,
        "method": "sign-flip",
        "moved": [{"case": "a/<b>", "before": 1.0, "after": 0.0}],
    }
    return {
        "kind": "regression",
        "against": "base",
        "baseline": None,
        "alpha": 0.05,
        "confidence": 0.95,
        "outcome": "fail",
        "failed": True,
        "reason": "relevance fell by <0.12>",
        "verdicts": [verdict | changed],
        "notes": [{"kind": "changed_prompt", "message": "1 prompt differs", "cases": ["a/<b>"]}],
    }


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_run_without_a_gate_opens_with_the_comparison_to_its_base(language: str) -> None:
    read = with_comparison({**read_document(EXAMPLE), "gate": None})
    shown = Page(render_html(run_document(read), [], language))
    verdict, praise = {"en": ("Comparison: Better", "EFFECTIVE"), "fr": ("Comparaison : Meilleur", "EFFICACE")}[
        language
    ]
    assert shown.words.index(verdict) < shown.words.index(praise)
    assert str(read["metadata"]["backend"]["base_weights_sha256"]) in shown.words
    assert [row["case"] for row in shown.data["rows"]] == [row["case"] for row in read["results"]]


def test_a_regression_gate_is_followed_by_the_comparison_with_the_base() -> None:
    read = with_comparison({**read_document(EXAMPLE), "gate": gate() | {"against": "baseline"}})
    words = Page(render_html(run_document(read), [], "en")).words
    assert words.index("Regression gate: Fail") < words.index("Comparison: Better")


@pytest.mark.parametrize(
    ("kind", "consequence", "dashed"),
    [("regression", "what is open passes (gate.inconclusive)", 1), ("compare", "it was only compared", 0)],
)
def test_a_verdict_has_the_margin_that_was_used_and_says_why_it_fails_nothing(
    kind: str, consequence: str, dashed: int
) -> None:
    open_gate = gate(outcome="inconclusive") | {"kind": kind, "outcome": "inconclusive", "failed": False}
    shown = page(run(relevance("a/<b>", 0.5, 0.5)), gate=open_gate)
    assert f"This fails no session: {consequence}." in shown.words
    assert [attrs.get("class") for tag, attrs in shown.elements if tag == "line"].count("margin") == dashed


def test_a_part_of_a_run_has_no_verdict_on_the_page() -> None:
    read = dict(read_document(EXAMPLE))
    part = {**read, "gate": None, "metadata": {**read["metadata"], "cut_short": {"results": 30, "planned": 60}}}
    shown = Page(render_html(run_document(with_comparison(part)), [], "en")).words
    assert "Comparison: No verdict CUT SHORT: 30 of 60 results." in shown
    assert "Better" not in shown
    assert "EFFECTIVE" not in shown


def test_the_reason_of_a_gate_is_in_the_readers_language() -> None:
    document = {**read_document(EXAMPLE), "gate": gate()}
    assert (
        "Relevance of finetuned went from 0.660 to 0.540" in Page(render_html(run_document(document), [], "en")).words
    )
    assert "Pertinence de finetuned : de 0,660 à 0,540" in Page(render_html(run_document(document), [], "fr")).words
    cached = {"kind": "cached_alone", "message": "some", "cases": []}
    told = Page(render_html(run_document({**document, "gate": document["gate"] | {"notes": [cached]}}), [], "fr")).words
    assert (
        "la réussite ne tient qu'à des réponses gardées en mémoire, qui ne prouvent rien du modèle que le serveur a "
        "maintenant ; reposez les questions avec generation.cache: false"
    ) in told


def test_another_language_is_refused() -> None:
    with pytest.raises(UsageError, match="'de'"):
        render_html(run_document(document(full_run())), [], "de")


def test_the_page_asks_nothing_of_the_network() -> None:
    source = render_html(run_document(document(full_run()) | {"gate": gate()}), [], "en")
    shown = Page(source)
    [policy] = [attrs["content"] for tag, attrs in shown.elements if attrs.get("http-equiv")]
    assert policy == "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
    fetched = [
        value for _, attrs in shown.elements for name in ("src", "href", "data", "action") if (value := attrs.get(name))
    ]
    assert all(value.startswith(("#", "data:,")) for value in fetched)
    assert not re.search(r"https?://|@import|url\(|fetch\(|XMLHttpRequest|WebSocket|sendBeacon", source)


def test_hostile_text_stays_text_everywhere() -> None:
    texts = {"base": HOSTILE, "finetuned": HOSTILE}
    hostile = document(run(result(f"{HOSTILE}/{HOSTILE}", {"relevance": {"base": 0.0, "finetuned": 1.0}}, texts=texts)))
    hostile["metadata"] |= {"device": HOSTILE, "announcements": [HOSTILE], HOSTILE: HOSTILE}
    saved = {"name": HOSTILE, "timestamp": "x", "variants": {HOSTILE: {HOSTILE: 0.5}}, "outcome": None}
    point = RunPoint.model_validate(saved)
    held = gate(variant=HOSTILE, metric=HOSTILE, category=HOSTILE) | {"reason": HOSTILE}
    harmless = [tag for tag, _ in page(run(relevance("a/1", 0.0, 1.0)), gate=gate()).elements]
    shown = Page(render_html(run_document(hostile | {"gate": held}), [point, point], "en"))
    tags = [tag for tag, _ in shown.elements]
    assert tags.count("script") == harmless.count("script")
    assert "b onclick" not in " ".join(tags)
    assert not [attrs for _, attrs in shown.elements if "onclick" in attrs]
    assert "{{ 7 * 7 }}" in shown.words
    assert shown.data["rows"][0]["answers"][0]["text"] == HOSTILE.replace("\ud800", "\ufffd")


def test_a_gate_shows_its_evidence() -> None:
    shown = page(full_run(), gate=gate())
    for part in (
        "Regression gate: Fail",
        "Relevance of finetuned went from 0.660 to 0.540 (95% interval of the change -0.200 to -0.050, p < 0.001",
        "-0.120",
        "-0.200 to -0.050",
        "<0.001",
        "30 × 3",
    ):
        assert part in shown.words
    for part in ("210 cases or 9 epochs", "a/<b>", "Changed prompts", "exit code 1", "95% intervals"):
        assert part in shown.words


def test_a_verdict_without_interval_or_p_says_so() -> None:
    shown = page(full_run(), gate=gate(low=None, high=None, p_value=None, p_adjusted=None, needed_cases=None, n=1))
    assert "none: too few pairs" in shown.words
    assert "9 epochs" in shown.words


def test_intervals_against_a_baseline_are_not_drawn_on_differences_from_the_base() -> None:
    held = gate() | {"against": "baseline"}
    shown = page(full_run(), gate=held)
    assert "No interval is drawn" in shown.words
    assert shown.words.count("-0.200 to -0.050") == 2  # in the reason and in the table of verdicts, and under no chart
    tracks = [attrs.get("class") for tag, attrs in shown.elements if tag == "line"]
    assert [name for name in tracks if str(name).startswith("interval")] == ["interval fail"]


def test_verdicts_in_other_units_do_not_share_an_axis() -> None:
    held = gate()
    slower = held["verdicts"][0] | {
        "metric": "latency_s",
        "higher_is_better": False,
        "effect": 4.0,
        "low": 2.0,
        "high": 6.0,
    }
    held["verdicts"].append(slower)
    shown = page(full_run(), gate=held)
    assert [attrs.get("class") for tag, attrs in shown.elements if tag == "table"].count("verdicts") == 2
    assert "better ◂ ▸ worse" in shown.words


@pytest.mark.parametrize("variants", [("base",), ("finetuned",), ("base", "a", "b", "c", "d", "e", "f")])
def test_any_number_of_variants_has_a_page(variants: tuple[str, ...]) -> None:
    shown = page(full_run(variants=variants))
    assert shown.data["variants"] == list(variants)
    assert shown.data["base"] == ("base" if "base" in variants else None)
    assert ("Nothing to draw" in shown.words) == (len(variants) == 1)


def test_unscored_scores_stay_null_and_are_counted() -> None:
    shown = page(run(relevance("a/1", None, 0.4), relevance("a/2", 0.2, 0.4)))
    assert shown.data["rows"][0]["scores"] == [[None, 0.4]]
    assert "Unscored and left out: base 1." in shown.words


def test_epochs_of_a_case_make_one_step_of_the_differences() -> None:
    some = [
        result("a/1", {"relevance": {"base": 0.0, "finetuned": value}}, epoch=epoch)
        for epoch, value in enumerate((0.2, 0.6))
    ]
    shown = page(run(*some, relevance("a/2", 0.5, 0.5)))
    assert "1 better, 1 same, 0 worse" in shown.words
    assert re.search(r"Mean \+0\.200, 95% interval [^,]+, n = 2", shown.words)


def test_a_run_without_any_metric_or_result_still_has_a_page() -> None:
    assert page(run()).data["rows"] == []
    assert page(run(result("a/1", {}))).data["leading"] is None


def test_the_trend_has_every_saved_run_and_this_one_once() -> None:
    some = document(run(relevance("a/1", 0.2, 0.4)))
    means: Any = {"base": {"relevance": 0.2}, "finetuned": {"relevance": 0.3}}
    saved = [RunPoint(name=f"{n:04}_x", timestamp=f"2026-01-0{n}", variants=means, outcome="pass") for n in (1, 2)]
    this = saved[0].model_copy(update={"name": "0003_x", "timestamp": some["metadata"]["timestamp"]})
    shown = Page(render_html(run_document(some), [*saved, this], "en"))
    assert "0001_x" in shown.words
    assert "0003_x" not in shown.words
    assert {colour: len(points) for colour, points in trend_lines(shown)} == {"--v0": 3, "--v1": 3}


def test_the_trend_marks_runs_that_asked_other_cases_and_leads_its_lines_past_them() -> None:
    this, other, same = (
        document(run(relevance(name, 0.2, 0.4), timestamp=f"2026-02-1{day}T10:00:00+00:00"))
        for day, name in ((9, "a/1"), (8, "a/2"), (7, "a/1"))
    )
    history = [in_short("0001_same", run_document(same)), in_short("0002_other", run_document(other))]
    shown = Page(render_html(run_document(this), history, "en"))
    hollow_told = "Hollow marks are runs that asked other cases than this one: not comparable."
    assert hollow_told in shown.words
    assert "0002_other other cases: not comparable" in shown.words
    assert [len(points) for _, points in trend_lines(shown)] == [2, 2]  # base and fine-tune, the first run and the last
    hollow = [
        tag for tag, attrs in shown.elements if str(attrs.get("style")).startswith("fill:var(--card);stroke:var(--v")
    ]
    assert hollow == ["use", "use"]
    in_french = Page(render_html(run_document(this), history[:1], "fr")).words
    assert hollow_told not in in_french
    assert "0001_same 17/02/2026 10:00 UTC" in in_french


def test_one_run_alone_has_no_trend() -> None:
    assert "No other run is saved yet" in page(full_run()).words


def test_of_a_very_large_run_the_cases_that_verdicts_name_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cases, "PACKED_ABOVE", 4)
    monkeypatch.setattr(cases, "MOST_SHOWN", 4)
    built = with_comparison(document(run(*(relevance(f"a/{place:02}", 0.5, 0.5) for place in range(40)))))
    moved = [{"case": "a/33", "before": 1.0, "after": 0.5}]
    verdicts = [{**one, "moved": moved} for one in built["comparison"]["verdicts"]]
    found = run_document({**built, "comparison": {**built["comparison"], "verdicts": verdicts}})
    told = cases.case_data(found, words("en"))
    rows = [row for part in told["packed"] for row in json.loads(gzip.decompress(base64.b64decode(part)))]
    assert told["total"] == 40
    assert len(rows) <= 4
    assert "a/33" in {row["case"] for row in rows}


def test_a_page_is_written_in_one_step(tmp_path: Path) -> None:
    some = document(full_run())
    write_html(run_document(some), [], tmp_path / "new" / "benchmark.html", "fr")
    assert (tmp_path / "new" / "benchmark.html").read_text(encoding="utf-8") == render_html(
        run_document(some), [], "fr"
    )


@given(st.lists(st.floats(-1e9, 1e9, allow_subnormal=False).map(lambda value: round(value, 6)), min_size=1))
def test_an_axis_holds_its_values_and_few_round_ticks(values: list[float]) -> None:
    for scale in (scale_over(values), symmetric(values)):
        slack = 1e-6 * (scale.high - scale.low)
        assert scale.low - slack <= min([0.0, *values]) <= max([0.0, *values]) <= scale.high + slack
        assert 2 <= len(scale.ticks) <= 8
        assert 0.0 in scale.ticks
        assert (scale.at(scale.low), scale.at(scale.high)) == (0.0, 100.0)
