"""Finding terms in an answer as a reader would: whole words, whatever the spelling of quotes, ligatures or accents.

- A term matches whole words only: "son" is not in "raison" nor in "sons". Plurals and conjugations are other words; a
  suite that accepts them lists them.
- Apostrophes, hyphens, underscores and punctuation separate words: "ordinateur" is in "l'ordinateur", "volume" in
  "volume_up".
- The words of a term may be separated by any white space or by a hyphen: "rendez-vous" is in "rendez vous".
- Ligatures (œ, æ, ﬁ), Unicode composition (NFC, NFD) and the shape of apostrophes never matter; case and accents
  matter when `Spelling` says so.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

_SAME_LETTERS = {
    "œ": "oe",
    "Œ": "Oe",
    "æ": "ae",
    "Æ": "Ae",
    **dict.fromkeys("’‘ʼ＇`´", "'"),
    **dict.fromkeys("‐‑‒–—−", "-"),
    **dict.fromkeys("\u00ad\u200b\u200c\u200d\ufeff", ""),  # soft hyphen and marks of zero width
}
_ODD_LETTER = re.compile(f"[{''.join(_SAME_LETTERS)}]")
_ACCENT = re.compile("[\u0300-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]+")  # combining diacritics
_HYPHEN = re.compile(r"(?<=\w)-(?=\w)")


@dataclass(frozen=True, slots=True)
class Spelling:
    """Which differences of spelling keep two words apart."""

    case_sensitive: bool = False
    accent_sensitive: bool = False

    def normalise(self, text: str) -> str:
        """The form in which two texts that this spelling does not tell apart are equal."""
        return _normalised(text, self.case_sensitive, self.accent_sensitive)


@functools.lru_cache(maxsize=64)  # several metrics look at the same answer
def _normalised(text: str, case_sensitive: bool, accent_sensitive: bool) -> str:  # noqa: FBT001  # a cache key
    text = _ODD_LETTER.sub(lambda match: _SAME_LETTERS[match[0]], text)
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    if not case_sensitive:
        text = text.casefold()
    if not text.isascii():
        text = unicodedata.normalize("NFC", text) if accent_sensitive else without_accents(text)
    return " ".join(_HYPHEN.sub(" ", text).split())


def without_accents(text: str) -> str:
    """The text, in NFC, with its letters bare: é as e, ç as c."""
    return unicodedata.normalize("NFC", _ACCENT.sub("", unicodedata.normalize("NFD", text)))


def found(terms: Iterable[str], text: str) -> list[str]:
    """The terms that stand in `text` as whole words; both must be normalised by the same `Spelling`.

    Plain search and a look at both neighbours: no pattern to compile for each case, and linear in the text.
    """
    return [term for term in terms if _stands_in(term, text)]


def _stands_in(term: str, text: str) -> bool:
    start = text.find(term) if term else -1
    while start >= 0:
        end = start + len(term)
        if not _joined(text, start) and not _joined(text, end):
            return True
        start = text.find(term, start + 1)
    return False


def _joined(text: str, position: int) -> bool:
    """Whether the characters on both sides of `position` belong to one word."""
    return 0 < position < len(text) and _of_a_word(text[position - 1]) and _of_a_word(text[position])


def _of_a_word(character: str) -> bool:
    return character.isalnum() or unicodedata.combining(character) != 0
