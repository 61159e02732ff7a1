from __future__ import annotations

import unicodedata
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmbench.metrics.text import Spelling, found, words

LOOSE = Spelling()
WORDS = st.text("abcdefghijklmnopqrstuvwxyzéèêàùçïôûœ", min_size=1, max_size=8)
FORMS: st.SearchStrategy[Literal["NFC", "NFD"]] = st.sampled_from(["NFC", "NFD"])
SEPARATORS = st.sampled_from([" ", ", ", "'", "’", "-", "_", "\n", "\u00a0", ". ", '"', "(", "{"])


def holds(text: str, term: str, spelling: Spelling = LOOSE) -> bool:
    return found([spelling.normalise(term)], spelling.normalise(text)) != []


@pytest.mark.parametrize(
    ("text", "term"),
    [
        ("Je monte le son.", "son"),
        ("l'ordinateur", "ordinateur"),
        ("L’ordinateur", "l'ordinateur"),
        ("ÉTEINDRE l'écran", "ecran"),
        ("ma sœur", "soeur"),
        ("ma soeur", "sœur"),
        ("un rendez vous", "rendez-vous"),
        ("un rendez-vous", "rendez vous"),
        ("mode\n  avion activé", "mode avion"),
        ("le mode\u00a0avion", "mode avion"),
        ('{"tool": "volume_up"}', "volume"),
        ("je programme en C++.", "C++"),
        ("à 75% du volume", "75%"),
        ("ouvre le fichier.pdf", ".pdf"),
        ("aujourd'hui", "aujourd’hui"),
        ("请把音量调高一点", "音量"),
        ("用Chrome打开第15章", "chrome"),
        ("用Chrome打开第15章", "15"),
        ("音量を上げてください", "音量"),
        ("メールを送る", "メール"),
        ("กรุณาเพิ่มเสียงหน่อย", "เสียง"),
        ("ກະລຸນາເພີ່ມສຽງແດ່", "ສຽງ"),
        ("សូមបង្កើនសំឡេងបន្តិច", "សំឡេង"),
        ("အသံကိုတိုးပေးပါ", "အသံ"),
        ("कृपया किताब खोलो", "किताब"),
        ("⚠️volume", "volume"),
    ],
)
def test_a_term_is_found_as_a_reader_would(text: str, term: str) -> None:
    assert holds(text, term)


@pytest.mark.parametrize(
    ("text", "term"),
    [
        ("la raison", "son"),
        ("les sons", "son"),
        ("sonner", "son"),
        ("les modes avion", "mode avion"),
        ("le volume 15", "5"),
        ("", "son"),
        ("mode, avion", "mode avion"),
        ("किताब", "क"),
        ("किताब", "ताब"),
        ("हिंदी", "दी"),
        ("தமிழ்", "தமி"),
        ("เสียง", "สียง"),
        ("เสียง", "เส"),
        ("มานี", "ม"),
        ("สิบ๑๕", "๕"),
        ("បង្កើន", "បង្"),
        ("បង្កើន", "កើន"),
        ("第15章", "5"),
        ("用Chrome打开", "rome"),
    ],
)
def test_a_part_of_a_word_is_not_a_term(text: str, term: str) -> None:
    assert not holds(text, term)


def test_what_ends_a_syllable_or_chooses_a_look_ties_nothing_to_a_word() -> None:
    burmese = "\u101b\u1014\u103a\u1000\u102f\u1014\u103a"  # Yangon, whose last sign ends a syllable
    assert holds(f"{burmese}\u1019\u103c\u102d\u102f\u1037", burmese)
    assert holds("1\ufe0f\u20e3 allumer", "1")  # a keycap


def test_a_later_whole_word_counts_after_an_earlier_part_of_one() -> None:
    assert holds("la raison du son", "son")


@pytest.mark.parametrize(("spelling", "expected"), [(Spelling(), True), (Spelling(accent_sensitive=True), False)])
def test_accents_matter_only_when_asked(spelling: Spelling, *, expected: bool) -> None:
    assert holds("une pâte", "pate", spelling) is expected


@pytest.mark.parametrize(("spelling", "expected"), [(Spelling(), True), (Spelling(case_sensitive=True), False)])
def test_case_matters_only_when_asked(spelling: Spelling, *, expected: bool) -> None:
    assert holds("Chrome", "chrome", spelling) is expected


def test_terms_come_back_in_their_own_order() -> None:
    assert found(["volume", "le", "son"], "le son du volume") == ["volume", "le", "son"]


@given(before=WORDS, term=WORDS, after=WORDS, left=SEPARATORS, right=SEPARATORS, form=FORMS)
def test_a_separated_term_is_found_in_every_unicode_form(
    before: str, term: str, after: str, left: str, right: str, form: Literal["NFC", "NFD"]
) -> None:
    text = before + left + term + right + after
    for spelling in (Spelling(), Spelling(accent_sensitive=True), Spelling(case_sensitive=True, accent_sensitive=True)):
        assert holds(unicodedata.normalize(form, text), unicodedata.normalize("NFC", term), spelling)
    assert holds(text.upper(), term)


@given(before=WORDS, term=WORDS)
def test_a_term_glued_to_other_letters_is_not_found(before: str, term: str) -> None:
    text = before + "x" + term + "x"
    assert holds(text, term) is (LOOSE.normalise(term) == LOOSE.normalise(text))


@given(st.text(max_size=40), st.text(max_size=10))
def test_any_text_can_be_searched(text: str, term: str) -> None:
    normalised = LOOSE.normalise(term)
    assert holds(text, term) <= (normalised in LOOSE.normalise(text))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("le volume_up, 15 fois", ["le", "volume_up", "15", "fois"]),
        ("把音量 up", ["把", "音", "量", "up"]),
        ("किताब खोलो", ["किताब", "खोलो"]),
        ("เสียง", ["เ", "สี", "ย", "ง"]),
        ("⚠\ufe0f son", ["son"]),
        ("", []),
    ],
)
def test_the_words_of_a_text_keep_their_marks(text: str, expected: list[str]) -> None:
    assert words(text) == expected
