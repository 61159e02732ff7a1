"""The French catalogue has all that the source says, with the same placeholders; numbers and plurals."""

from __future__ import annotations

import string
from collections.abc import Iterator
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog
from babel.messages.extract import DEFAULT_KEYWORDS, extract_from_dir
from babel.messages.pofile import read_po

import pytest_llmbench
from pytest_llmbench.core import locale
from pytest_llmbench.core.errors import NotReadyError, UsageError
from pytest_llmbench.core.locale import words

PACKAGE = Path(pytest_llmbench.__file__).parent
KEYWORDS = {**DEFAULT_KEYWORDS, "say": None, "plural": (1, 2), "in_context": ((1, "c"), 2), "NN_": (1, 2)}
ROOMS = ("core", "reports", "runs")


def french() -> Catalog:
    with (locale.CATALOGUES / "fr.po").open("rb") as source:
        return read_po(source, locale="fr")


def forms(text: str | list[str] | tuple[str, ...]) -> list[str]:
    return [text] if isinstance(text, str) else list(text)


def placeholders(text: str) -> set[str]:
    return {name for _, name, *_ in string.Formatter().parse(text) if name is not None}


def said() -> Iterator[tuple[str, str | tuple[str, ...], str | None]]:
    methods = [("**.py", "python"), ("**.j2", "jinja2")]
    for room in ROOMS:
        for found in extract_from_dir(PACKAGE / room, method_map=methods, keywords=KEYWORDS):
            file, _, text, _, context = found
            yield f"{room}/{file}", text, context


@pytest.mark.filterwarnings("ignore:Skipping f-string")
def test_everything_that_the_source_says_is_in_the_catalogue() -> None:
    catalogue, keys = french(), known_keys()
    missing = [
        (file, text)
        for file, text, context in said()
        if not (isinstance(text, str) and text in keys) and catalogue.get(text, context) is None
    ]
    assert missing == []


def known_keys() -> set[str]:
    """Sentences that are still known by a key."""
    from pytest_llmbench.reports.evaluation.words import evaluation_words
    from pytest_llmbench.reports.serving.words import serving_words

    return {*serving_words("en").texts, *evaluation_words("en").texts}


def test_every_sentence_is_translated_with_its_placeholders() -> None:
    broken = [
        english
        for message in french()
        if message.id
        for english, translated in zip(forms(message.id), forms(message.string), strict=True)
        if message.fuzzy or not translated or placeholders(translated) != placeholders(english)
    ]
    assert broken == []


@pytest.mark.parametrize(
    ("count", "english", "translated"),
    [
        (0, "0 cases", "0 cas"),
        (1, "1 case", "1 cas"),
        (2, "2 cases", "2 cas"),
        (1_000_000, "1000000 cases", "1000000 cas"),
    ],
)
def test_a_number_has_its_form(count: int, english: str, translated: str) -> None:
    assert words("en").plural("{count} case", "{count} cases", count) == english
    assert words("fr").plural("{count} case", "{count} cases", count) == translated


def test_a_fraction_is_one_in_french_and_several_in_english() -> None:
    assert words("en").plural("{count} request/s", "{count} requests/s", 1.5) == "1.5 requests/s"
    assert words("fr").plural("{count} request/s", "{count} requests/s", 1.5, count="1,5") == "1,5 requête/s"


def test_numbers_have_the_marks_of_their_language() -> None:
    assert [words("en").number(-1.5), words("en").percent(0.123, signed=True), words("en").count(12345)] == [
        "-1.500",
        "+12.3%",
        "12,345",
    ]
    assert [words("fr").number(-1.5), words("fr").percent(0.123, signed=True), words("fr").count(12345)] == [
        "-1,500",
        "+12,3 %",
        "12\u202f345",
    ]


def test_a_context_tells_two_meanings_apart() -> None:
    assert words("fr").in_context("answer", "failed") == "en échec"
    assert words("fr")("failed") == "échoué"


def test_a_language_without_words_is_refused() -> None:
    with pytest.raises(UsageError, match="'de' is not one of en, fr"):
        words("de")


def test_without_any_catalogue_nothing_is_silently_english(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locale, "CATALOGUES", tmp_path)
    locale._translations.cache_clear()
    try:
        with pytest.raises(NotReadyError, match=r"fr\.mo is missing"):
            words("fr")("Verdict")
    finally:
        locale._translations.cache_clear()


def test_a_source_that_is_newer_than_what_was_compiled_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locale, "CATALOGUES", tmp_path)
    locale._translations.cache_clear()
    (tmp_path / "fr.mo").write_bytes(locale.compiled(PACKAGE / "locale" / "fr.po"))
    (tmp_path / "fr.po").write_text(
        'msgid ""\nmsgstr "Content-Type: text/plain; charset=utf-8"\n\nmsgid "new"\nmsgstr "neuf"\n'
    )
    try:
        assert words("fr")("new") == "neuf"
    finally:
        locale._translations.cache_clear()
