from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from support.gates import gate, note, verdict
from support.rendered import gate_lines

from pytest_llmbench.core.locale import words
from pytest_llmbench.reports.gate_sentences import outcome_counts
from pytest_llmbench.runs.gate_notes import gate_note, note_text
from pytest_llmbench.runs.typed import NoteDocument, gate_document


def said(*lines: str) -> str:
    return " ".join(" ".join(lines).split())


def test_a_failed_gate_names_metric_category_effect_interval_and_cases() -> None:
    failed = gate(verdict(), verdict("pass", "keywords", moved=[]), verdict(category="tool_routing"), notes=[note()])
    assert gate_lines(failed, 100) == [
        "FAIL: regression gate against baseline 0007_accepted (abcdef01); the session fails",
        "Relevance of finetuned went from 0.660 to 0.540 (95% interval of the change -0.200 to -0.050, p =",
        "0.003, 30 cases), and 1 more got worse",
        "",
        "Verdict  Variant    Metric                  Before -> after  Change      95% interval      p   n",
        "fail     finetuned  Relevance                0.660 -> 0.540  -0.120  -0.200 to -0.050  0.003  30",
        "pass     finetuned  Keywords found (share)   0.660 -> 0.760  +0.100  +0.020 to +0.180  1.000  30",
        "p, the chance of such a change for the worse where nothing got worse, is adjusted for all that is",
        "tested here (Holm) and held against alpha 0.05; the interval (95%) is of the mean change.",
        "",
        "What keeps the two sides from being quite the same",
        "- Cases missing in this run: 2 cases of the baseline are not in this run: a/b, a/c",
        "",
        "Verdict  Category      Variant    Metric     Before -> after  Change      95% interval      p   n",
        "fail     tool_routing  finetuned  Relevance   0.660 -> 0.540  -0.120  -0.200 to -0.050  0.003  30",
        "",
        "Cases that moved most  Metric                  Before -> after",
        "tool_routing/cas-03    Relevance of finetuned   1.000 -> 0.000",
    ]


def test_an_inconclusive_verdict_says_what_would_settle_it() -> None:
    shown = said(*gate_lines(gate(verdict("inconclusive")), 80))
    assert "INCONCLUSIVE: regression gate" in shown
    assert "the session does not fail for it" in shown
    assert (
        "Relevance of finetuned: about 210 cases, or 4 epochs, would settle it; with these 30 a drop of 0.090 would "
        "have been found"
    ) in shown


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"needed_epochs": None}, "about 210 cases would settle it"),
        ({"needed_cases": None}, "4 epochs would settle it"),
        ({"needed_cases": None, "needed_epochs": None}, "cannot be told"),
        ({"needed_cases": None, "needed_epochs": None, "n": 1, "detectable": None}, "one case is too few"),
        ({"needed_cases": None, "needed_epochs": None, "n": 0, "detectable": None}, "no case is scored on both sides"),
        ({"higher_is_better": False}, "a rise of 0.090"),
    ],
)
def test_what_settles_it_follows_what_is_known(changed: dict[str, Any], sentence: str) -> None:
    assert sentence in said(*gate_lines(gate(verdict("inconclusive", **changed)), 80))


def test_an_improvement_gate_speaks_of_the_rise_it_could_have_found() -> None:
    wanted = gate(verdict("inconclusive"), kind="improvement", against="base", baseline=None, failed=True)
    shown = said(*gate_lines(wanted, 80))
    assert "INCONCLUSIVE: improvement gate against each adapter's own base; the session fails" in shown
    assert "a rise of 0.090 would have been found" in shown


def test_only_open_categories_are_shown_failed_ones_first() -> None:
    some = gate(
        verdict("pass"),
        verdict("pass", category="quiet"),
        verdict("inconclusive", category="unsure"),
        verdict("fail", category="broken"),
    )
    rows = [line.split() for line in gate_lines(some, 100) if " finetuned  Relevance " in line]
    assert [row[:2] for row in rows] == [["pass", "finetuned"], ["fail", "broken"], ["inconclusive", "unsure"]]
    assert "quiet" not in said(*gate_lines(some, 100))


def test_many_open_categories_are_counted_not_listed() -> None:
    some = gate(verdict("pass"), *(verdict(category=f"c{place:02}") for place in range(40)))
    lines = gate_lines(some, 100)
    assert sum(line.startswith("fail     c") for line in lines) == 10
    assert "and 30 more" in lines
    assert len(lines) < 40


@pytest.mark.parametrize(
    ("kind", "language", "told"),
    [
        ("regression", "en", "2 fail, 1 inconclusive"),
        ("regression", "fr", "2 en échec, 1 indécise"),
        ("compare", "fr", "2 moins bonnes, 1 sans écart établi"),
    ],
)
def test_outcomes_are_counted_in_the_grammar_of_the_language(kind: str, language: str, told: str) -> None:
    found = gate_document(gate(verdict(), verdict(category="a"), verdict("inconclusive", category="b"), kind=kind))
    assert outcome_counts(found.verdicts, found, words(language)) == told


def test_a_missing_baseline_is_told_without_a_table() -> None:
    lost = gate(
        against="base",
        baseline=None,
        outcome="fail",
        failed=True,
        reason="no run is called 'accepted'",
        notes=[note("no_baseline", "x")],
    )
    assert gate_lines(lost, 80) == [
        "FAIL: regression gate against a baseline that is missing; the session fails",
        "no run is called 'accepted'",
        "",
        "What keeps the two sides from being quite the same",
        "- No baseline: x",
    ]


def test_a_narrow_terminal_gets_sentences_instead_of_columns() -> None:
    shown = said(*gate_lines(gate(verdict(low=None, high=None)), 60))
    assert (
        "Verdict: fail; Variant: finetuned; Metric: Relevance; Before -> after: 0.660 -> 0.540; Change: -0.120; "
        "95% interval: -; p: 0.003; n: 30"
    ) in shown


def test_several_adapters_and_epochs_have_their_own_rows() -> None:
    lines = gate_lines(gate(verdict(epochs=3), verdict("pass", variant="v2", p_adjusted=0.0002)), 100)
    assert any(line.startswith("fail     finetuned  Relevance") for line in lines)
    assert any(line.startswith("pass     v2         Relevance") for line in lines)
    assert "30x3" in said(*lines)
    assert "<0.001" in said(*lines)


def test_a_title_is_wrapped_between_words_while_cells_have_lines_to_spare() -> None:
    bare = dict.fromkeys(("low", "high", "detectable", "needed_cases", "needed_epochs"))
    alone = [verdict("pass", name, **bare, n=1, effect=0.0) for name in ("relevance", "keywords")]
    title = gate_lines(gate(*alone), 80)[3:6]
    assert [line.split() for line in title[1:]] == [
        ["Before", "->", "95%"],
        ["Verdict", "Variant", "Metric", "after", "Change", "interval", "p", "n"],
    ]


NAMES = st.text(min_size=1, max_size=90) | st.sampled_from(["日本語" * 40, "x" * 500, "a\x1b[31mb\u202ec", "é" * 70])


@given(
    width=st.integers(60, 200),
    name=NAMES,
    category=NAMES,
    message=NAMES,
    value=st.floats(-1e9, 1e9),
)
def test_no_line_is_wider_than_the_terminal(width: int, name: str, category: str, message: str, value: float) -> None:
    moved = [{"case": name, "before": value, "after": 0.0}]
    some = gate(
        verdict(variant=name, moved=moved, before=value, effect=value),
        verdict("inconclusive", metric=name, category=category),
        reason=message * 3,
        notes=[note(message=message)],
    )
    lines = gate_lines(some, width)
    assert max(map(cell_len, lines)) <= width
    assert not any(sign in line for line in lines for sign in "\x1b\u202e\n\r")


def test_all_words_of_our_own_are_plain_ascii() -> None:
    some = gate(verdict(), verdict("inconclusive", "keywords", category="c"), notes=[note()])
    for width in (60, 200):
        assert "\n".join(gate_lines(some, width)).isascii()


def test_what_got_worse_is_no_fall_in_french_where_less_is_better() -> None:
    slower = gate(verdict(metric="latency_s", higher_is_better=False, before=0.4, after=0.6))
    assert "recul établi, Latence" in said(*gate_lines(slower, 100, "fr"))


def test_a_reason_of_a_kind_of_a_later_version_is_told_as_it_stands() -> None:
    later = gate(verdict()) | {"because": {"kind": "later", "verdict": None, "others": 0}, "reason": "as it was said"}
    assert "as it was said" in said(*gate_lines(later, 100))


def test_scores_in_a_note_have_the_languages_decimal_mark() -> None:
    told = gate_note("confirmed", "noted_confirmed", metric="keywords", variant="finetuned", before="0.9", after="0.25")
    note = NoteDocument.model_validate(told)
    assert "from 0.9 to 0.25" in note_text(note, words("en"))
    assert "0,9 à 0,25" in note_text(note, words("fr"))
