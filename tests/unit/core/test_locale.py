"""The French catalogue has all that the source says, with the same placeholders; numbers and plurals."""

from __future__ import annotations

import functools
import re
import string
import tomllib
from pathlib import Path
from typing import cast

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


def french() -> Catalog:
    with (locale.CATALOGUES / "fr.po").open("rb") as source:
        return read_po(source, locale="fr")


def forms(text: object) -> list[str]:
    return [text] if isinstance(text, str) else list(cast("tuple[str, ...]", text))


def placeholders(text: str) -> tuple[set[str], list[str]]:
    """Those with names, and those of what is announced, which are filled in their order."""
    named = {name for _, name, *_ in string.Formatter().parse(text) if name is not None}
    return named, re.findall(r"%(?:\.\d+)?[sdrf%]", text)


def mappings() -> list[tuple[str, str]]:
    """Where `make messages` looks."""
    told = tomllib.loads((PACKAGE.parents[1] / "pyproject.toml").read_text(encoding="utf-8"))
    found = [(one["method"], one["pattern"]) for one in told["tool"]["babel"]["mappings"]]
    return [(pattern, method) for method, patterns in found for pattern in forms(patterns)]


@functools.cache
def said() -> dict[tuple[object, str | None], str]:
    """All that the source says, with its context, and the file that says it."""
    extracted = extract_from_dir(PACKAGE, method_map=mappings(), keywords=KEYWORDS)
    return {(text, context): file for file, _, text, _, context in extracted}


@pytest.mark.filterwarnings("ignore:Skipping f-string")
def test_everything_that_the_source_says_is_in_the_catalogue_and_nothing_else() -> None:
    catalogue = french()
    known = {(message.id, message.context) for message in catalogue if message.id}
    assert {key: file for key, file in said().items() if key not in known} == {}
    assert known - said().keys() == set()


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


@pytest.mark.parametrize(
    ("language", "number", "axis", "moment"),
    [
        ("en", "12,345.7", "1,000,000", "2026-11-29 12:00 UTC"),
        ("fr", "12 345,7", "1 000 000", "29/11/2026 12:00 UTC"),
    ],
)
def test_long_numbers_and_dates_are_as_the_language_has_them(
    language: str, number: str, axis: str, moment: str
) -> None:
    say = words(language)
    seen = (say.number(12345.678), say.tick(1e6), say.moment("2026-11-29T12:00:00+00:00"))
    assert tuple(one.replace("\u202f", " ") for one in seen) == (number, axis, moment)
    assert say.moment("yesterday") == "yesterday"


@pytest.mark.parametrize(
    ("language", "told"),
    [
        ("en", "1 passed, 1,200 failed, 0 skipped, 2 {odd}"),
        ("fr", "1 réussi, 1\u202f200 échoués, 0 ignoré, 2 {odd}"),
    ],
)
def test_outcomes_are_counted_in_the_grammar_of_the_language(language: str, told: str) -> None:
    assert words(language).outcome_counts({"passed": 1, "failed": 1200, "skipped": 0, "{odd}": 2}) == told


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
