from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len
from support.rendered import analysis, summary_lines
from support.report_runs import full_run, relevance, result, run

from pytest_llmbench.core.errors import UsageError
from pytest_llmbench.core.locale import LANGUAGES
from pytest_llmbench.core.records import Run
from pytest_llmbench.core.text_cells import shorten, shorten_middle
from pytest_llmbench.reports.blocks import Column, Number, Report, Section, Table
from pytest_llmbench.reports.renderers.text import Text
from pytest_llmbench.runs.base_comparison import with_comparison
from pytest_llmbench.runs.document import build_document
from pytest_llmbench.runs.storage import read_document, write_json

TITLES = {
    "en": (
        "Metadata",
        "Overall statistics",
        "By category",
        "Timing",
        "Soundness and provenance",
        "Every case",
        "Recommendations",
    ),
    "fr": (
        "Métadonnées",
        "Statistiques globales",
        "Par catégorie",
        "Temps",
        "Validité et provenance",
        "Tous les cas",
        "Recommandations",
    ),
}


def document(some_run: Run) -> dict[str, Any]:
    return dict(with_comparison(build_document(some_run, answer_chars=500)))


@pytest.mark.parametrize("language", LANGUAGES)
def test_thirty_cases_fill_a_hundred_lines_and_more(language: str) -> None:
    text = analysis(document(full_run()), language)
    assert len(text.splitlines()) > 100
    assert set(TITLES[language]) <= set(text.splitlines())


def test_a_first_run_that_missed_its_baseline_tells_the_verdict_and_the_method_of_its_comparison() -> None:
    built = document(full_run())
    missed_it = built["comparison"] | {"kind": "improvement", "verdicts": [], "because": None, "reason": "no baseline"}
    for against in ("baseline", "base"):  # as earlier builds said of every gate without a baseline
        missed = missed_it | {"against": against}
        told = analysis({**built, "gate": missed}, "en")
        assert re.search(r"^BETTER: ", told, re.MULTILINE)
        assert re.search(r"^ *Method +: .+ test", told, re.MULTILINE)


def test_a_document_from_disk_gives_the_same_text(tmp_path: Path) -> None:
    built = document(full_run())
    write_json(built, tmp_path / "run.json")
    assert analysis(read_document(tmp_path / "run.json"), "fr") == analysis(built, "fr")


@pytest.mark.parametrize(
    ("base", "tuned", "words"),
    [
        (0.5, 0.6, "✓ Fine-tuning EFFICACE"),
        (0.5, 0.53, "~ Fine-tuning MODÉRÉ"),
        (0.5, 0.51, "✗ Fine-tuning INSUFFISANT"),
    ],
)
def test_the_grade_of_a_proved_gain_is_written_with_its_mark(base: float, tuned: float, words: str) -> None:
    proved = run(*(relevance(f"a/{place}", base + place / 1000, tuned + place / 900) for place in range(30)))
    text = analysis(document(proved), "fr")
    assert words in text
    assert text.index("MEILLEUR : Pertinence de finetuned") < text.index("Métadonnées") < text.index(words)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(
    "changed",
    [
        {"cut_short": {"results": 30, "planned": 60}},
        {"settings": {"benchmark": {"limit": 30}}},
    ],
    ids=["interrupted", "limited"],
)
def test_a_part_of_a_run_has_its_interval_and_no_word_of_praise(language: str, changed: dict[str, Any]) -> None:
    some = document(run(*(relevance(f"a/{place}", 0.1, 0.9) for place in range(30)), **changed))
    first = analysis(some, language).split("\n\n")[1]
    assert {"en": "NO VERDICT: Relevance", "fr": "PAS DE VERDICT : Pertinence"}[language] in first
    assert not re.search("BETTER|MEILLEUR|EFFECTIVE|EFFICACE", analysis(some, language))


def test_a_great_gain_of_few_cases_is_not_praised() -> None:
    text = analysis(document(run(relevance("a/1", 0.1, 0.9), relevance("a/2", 0.5, 0.5))), "en")
    assert "NO CHANGE SHOWN: Relevance of finetuned" in text
    assert not re.search("EFFECTIVE|MODERATE|BETTER", text)


def test_a_base_of_zero_is_judged_in_points_and_says_so() -> None:
    assert "+40.0 points of 100, as a mean of zero" in analysis(document(run(relevance("a/1", 0.0, 0.4))), "en")


def test_the_text_says_what_it_is_not_and_how_many_cases_it_rests_on() -> None:
    text = " ".join(analysis(document(full_run()), "en").split())
    assert "n = 30)" in text
    assert "the tables describe these cases" in text


def test_unscored_results_are_counted_in_words() -> None:
    some = document(run(relevance("a/1", None, 0.4), relevance("a/2", 0.2, 0.4)))
    assert "Unscored, and left out of the means: Relevance of base 1/2." in analysis(some, "en")


def test_a_single_variant_is_described_without_a_verdict() -> None:
    text = analysis(document(full_run(variants=("base",))), "en")
    assert "Only base answered" in text
    assert "Weakest category of base" in text
    assert re.search(r"LoRA adapter *: none", text)
    assert "EFFECTIVE" not in text


def test_several_adapters_each_have_rankings_and_a_verdict() -> None:
    text = analysis(document(full_run(variants=("base", "v1", "v2"))), "en")
    assert all(f"Top 5 improvements: base -> {name}" in text for name in ("v1", "v2"))
    assert all(f"BETTER: Relevance of {name}" in " ".join(text.split()) for name in ("v1", "v2"))


def test_a_run_without_any_result_is_still_readable() -> None:
    assert "NO VERDICT" in analysis(document(run()), "en")


def test_what_the_run_recorded_about_itself_is_listed_whatever_its_shape() -> None:
    some = document(
        run(adapters={"v1": {"hash": "ab"}}, gpus=[{"name": "A GPU", "memory_bytes": 1}], sizes=[], seed=None)
    )
    text = analysis(some, "en")
    for name, value in {
        "soundness.sound": "yes",
        "adapters.v1.hash": "ab",
        "gpus": "name A GPU, memory_bytes 1",
        "sizes": "none",
        "seed": "not recorded",
    }.items():
        assert any(line.split(" : ") == [name.ljust(len(line.split(" : ")[0])), value] for line in text.splitlines()), (
            name
        )


def test_only_settings_that_differ_from_their_defaults_are_listed() -> None:
    chosen = {"generation": {"temperature": 0.7, "top_p": 0.5, "gone": 1}}
    text = analysis(document(run(settings=chosen)), "en")
    assert "generation.top_p" in text
    assert "generation.gone" in text
    assert "generation.temperature" not in text


def test_what_no_phase_accounts_for_is_told() -> None:
    timings = {"total_s": 10.0, "load_s": 3.0, "generation_s": 4.0, "scoring_s": 1.0, "other_s": 2.0}
    [rest] = [line for line in analysis(document(run(timings=timings)), "en").splitlines() if "the rest" in line]
    assert rest.endswith(": 2.000")


def test_an_answer_cannot_control_the_terminal() -> None:
    some = result(
        "a/1", {"relevance": {"base": 0.0, "finetuned": 1.0}}, texts={"base": "\x1b[31m", "finetuned": "\x00"}
    )
    assert "\x1b" not in analysis(document(run(some)), "en")


@pytest.mark.parametrize(("language", "words"), [("en", "left 3 streams open"), ("fr", "laissé 3 flux ouverts")])
def test_streams_that_a_server_left_open_are_a_caution(language: str, words: str) -> None:
    asked = run(relevance("a/1", 1.0, 2.0), backend={"backend": "server", "streams_left_open": 3})
    assert words in " ".join(analysis(document(asked), language).split())


def test_an_unknown_language_names_the_known_ones() -> None:
    with pytest.raises(UsageError, match="'de' is not one of en, fr"):
        analysis(document(run()), "de")


def test_tables_stay_aligned_with_accents_and_wide_characters() -> None:
    text = analysis(document(full_run(("été", "e\u0301te\u0301", "日本語の音声コマンド", "long-" * 20), 2)), "fr")
    tables = [list(group) for boxes, group in itertools.groupby(text.splitlines(), _is_box) if boxes]
    assert len(tables) == 6
    for table in tables:
        assert len({cell_len(line) for line in table}) == 1


def _is_box(line: str) -> bool:
    return line[:1] in set("┌│├└")


def test_a_table_parts_its_blocks() -> None:
    table = Table([Column("a", left=True), Column("n")], [["bc", Number(1)]], [["d", Number(10)]])
    shown = Text().render(Report("", "en", [Section("s", "", [table])]))
    assert shown.splitlines()[-7:] == [
        "┌────┬────┐",
        "│ a  │  n │",
        "├────┼────┤",
        "│ bc │  1 │",
        "├────┼────┤",
        "│ d  │ 10 │",
        "└────┴────┘",
    ]


def test_shortened_text_keeps_to_its_cells() -> None:
    assert shorten("un\n texte  long", 9) == "un texte…"
    assert shorten_middle("category-one-of-many-1", 11) == "categ…any-1"
    assert cell_len(shorten("日本語テキスト", 6)) <= 6
    assert cell_len(shorten_middle("日本語テキスト", 6)) <= 6


def test_differences_in_the_text_are_over_the_results_that_both_have() -> None:
    easy = [relevance(f"easy/{number}", 1.0, 1.0) for number in range(5)]
    hard = [relevance(f"hard/{number}", 0.0, None) for number in range(5)]
    text = analysis(document(run(*easy, *hard)), "en")
    assert re.search(r"│ Relevance │ 0.500 │ +1.000 │ +\+0.000 │ +\+0.0% │ 10/10, 5/10 │", text)
    assert re.search(r"│ All +│ 10 │ 0.500 -> 1.000 │ +\+0.0% │", text)
    assert "finetuned: Relevance 1.000 -> 1.000, +0.0% relative (paired results: 5)" in " ".join(text.split())


def test_answers_that_are_alike_as_far_as_they_are_kept_are_not_taken_for_equal() -> None:
    for length, said in ((20, True), (30, False)):
        texts = dict.fromkeys(("base", "finetuned"), "encore une fois. " * length)
        rows = [result(f"a/{place}", {"relevance": dict.fromkeys(texts, 0.5)}, texts=texts) for place in range(30)]
        assert ("barely differ from the base's" in analysis(document(run(*rows)), "en")) is said


def test_the_speed_of_a_resumed_run_is_that_of_its_last_session() -> None:
    rows = [relevance(f"a/{place}", 0.5, 0.5) for place in range(50)]  # 1,200 tokens, most of them of another session
    passes = {name: {"answers": 5, "tokens": 60, "seconds": 1.0} for name in ("base", "finetuned")}
    timings = {"total_s": 3.0, "generation_s": 2.0}
    assert "60.0 tokens/s" in " ".join(summary_lines(document(run(*rows, passes=passes, timings=timings)), {}, 100))
