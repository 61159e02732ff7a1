from __future__ import annotations

import itertools
import string
from pathlib import Path
from typing import Any

import pytest
from report_runs import full_run, relevance, result, run
from rich.cells import cell_len

from pytest_llmbench.errors import UsageError
from pytest_llmbench.records import Run
from pytest_llmbench.reports import analysis, build_document, read_document, write_json
from pytest_llmbench.reports.catalogue import LANGUAGES
from pytest_llmbench.reports.tables import boxed, shorten, shorten_middle


def document(some_run: Run) -> dict[str, Any]:
    return build_document(some_run, answer_chars=500)


def placeholders(text: str) -> set[str | None]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


def test_every_language_has_the_same_keys_and_placeholders() -> None:
    english = LANGUAGES["en"]
    for language, texts in LANGUAGES.items():
        assert list(texts) == list(english), language
        assert {key: placeholders(text) for key, text in texts.items()} == {
            key: placeholders(text) for key, text in english.items()
        }, language


@pytest.mark.parametrize("language", LANGUAGES)
def test_thirty_cases_fill_a_hundred_lines_and_more(language: str) -> None:
    text = analysis(document(full_run()), language)
    assert len(text.splitlines()) > 100
    for part in ("metadata", "statistics", "by_category", "timing", "soundness", "cases", "recommendations"):
        assert LANGUAGES[language][part] in text.splitlines()


def test_a_document_from_disk_gives_the_same_text(tmp_path: Path) -> None:
    built = document(full_run())
    write_json(built, tmp_path / "run.json")
    assert analysis(read_document(tmp_path / "run.json"), "fr") == analysis(built, "fr")


@pytest.mark.parametrize(
    ("base", "tuned", "words"),
    [
        (0.5, 0.6, "✓ Fine-tuning EFFICACE"),
        (0.5, 0.53, "~ Fine-tuning MODÉRÉ"),
        (0.5, 0.5, "✗ Fine-tuning INSUFFISANT"),
    ],
)
def test_the_grade_is_written_with_its_mark(base: float, tuned: float, words: str) -> None:
    assert words in analysis(document(run(relevance("a/1", base, tuned))), "fr")


def test_a_base_of_zero_is_judged_in_points_and_says_so() -> None:
    assert "+40.0 points of 100, as a mean of zero" in analysis(document(run(relevance("a/1", 0.0, 0.4))), "en")


def test_the_text_says_what_it_is_not_and_how_many_cases_it_rests_on() -> None:
    text = " ".join(analysis(document(full_run()), "en").split())
    assert "describe the cases of this run (30) and nothing more. They are not a test of significance" in text


def test_unscored_results_are_counted_in_words() -> None:
    some = document(run(relevance("a/1", None, 0.4), relevance("a/2", 0.2, 0.4)))
    assert "Unscored: Relevance of base, 1 of 2." in analysis(some, "en")


def test_a_single_variant_is_described_without_a_verdict() -> None:
    text = analysis(document(full_run(variants=("base",))), "en")
    assert "Only base answered" in text
    assert "Weakest category of base" in text
    assert "EFFECTIVE" not in text


def test_several_adapters_each_have_rankings_and_a_verdict() -> None:
    text = analysis(document(full_run(variants=("base", "v1", "v2"))), "en")
    assert all(f"Top 5 improvements: base -> {name}" in text for name in ("v1", "v2"))
    assert all(f"EFFECTIVE for {name}" in text for name in ("v1", "v2"))


def test_a_run_without_any_result_is_still_readable() -> None:
    assert "No verdict for finetuned" in analysis(document(run()), "en")


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
        "settings.generation.top_p": "0.9",
    }.items():
        assert any(line.split(" : ") == [name.ljust(len(line.split(" : ")[0])), value] for line in text.splitlines()), (
            name
        )


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
    assert len(tables) == 4
    for table in tables:
        assert len({cell_len(line) for line in table}) == 1


def _is_box(line: str) -> bool:
    return line[:1] in set("┌│├└")


def test_a_table_parts_its_blocks() -> None:
    assert boxed([["a", "n"]], [["bc", "1"]], [["d", "10"]]) == [
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
