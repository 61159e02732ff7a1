"""Finding terms in an answer as a reader would: whole words, whatever the spelling of quotes, ligatures or accents.

- A term matches whole words only: "son" is not in "raison" nor in "sons". Plurals and conjugations are other words; a
  suite that accepts them lists them.
- Apostrophes, hyphens, underscores and punctuation separate words: "ordinateur" is in "l'ordinateur", "volume" in
  "volume_up".
- Scripts that are written without spaces (Chinese, Japanese, Thai, Lao, Khmer, Burmese) do not show where a word ends:
  a term stands there between any two letters, but never apart from the marks and vowels that belong to its letters.
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
_WITHOUT_SPACES = (
    "\u0e01-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u312f\u31a0-\u31bf\u31f0-\u31ff\u3400-\u4dbf"
    "\u4e00-\u9fff\ua9e0-\ua9ff\uaa60-\uaa7f\uf900-\ufaff\U00020000-\U0003ffff"
)
_OF_NO_SPACES = re.compile(f"[{_WITHOUT_SPACES}]")
_BELONGS_TO_NEXT = frozenset("เแโใไເແໂໃໄ")  # vowels that are written before their consonant, and are letters
_BELONGS_TO_LAST = frozenset("ะาำๅະາຳ")  # and behind it
_TIES = frozenset("\u1039\u17d2")  # what puts the next letter under the last one, in Burmese and Khmer
_LOOKS = frozenset(map(chr, range(0xFE00, 0xFE10)))  # marks that choose a sign's look, as a picture or not
_MARK = "\u0300"
_WORD = re.compile(f"[{_WITHOUT_SPACES}]{_MARK}*|(?:(?![{_WITHOUT_SPACES}])\\w{_MARK}*)+")
_ELIDED = "l|d|j|m|t|s|n|c|qu|jusqu|lorsqu|puisqu|quoiqu"
_LETTERS = f"(?:(?![{_WITHOUT_SPACES}])[^\\W_]{_MARK}*)+"
_ELIDING_WORD = re.compile(f"\\b(?:{_ELIDED})'|[{_WITHOUT_SPACES}]{_MARK}*|{_LETTERS}(?:'{_LETTERS})*")
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
    if not 0 < position < len(text):
        return False
    before, last, after = _letter(text, position - 1), text[position - 1], text[position]
    if not before.isalnum():
        return False
    if is_mark(after):
        return True
    if not after.isalnum():
        return False
    if not (_OF_NO_SPACES.match(before) or _OF_NO_SPACES.match(after)) or (before.isdecimal() and after.isdecimal()):
        return True
    return last in _BELONGS_TO_NEXT or after in _BELONGS_TO_LAST or last in _TIES


def _letter(text: str, at: int) -> str:
    """The character there, or that to which the mark there belongs."""
    while at > 0 and is_mark(text[at]):
        at -= 1
    return text[at]


def is_mark(character: str) -> bool:
    """Whether it is an accent or a vowel sign, which stand for nothing without a letter; a frame round it is none."""
    return not character.isascii() and character not in _LOOKS and unicodedata.category(character) in {"Mn", "Mc"}


def words(text: str) -> list[str]:
    """The words of a text; in scripts that are written without spaces, each letter is one."""
    return _matches(_WORD, text)


def eliding_words(text: str) -> list[str]:
    """As `words`, where an apostrophe ends the French word that it shortens and belongs to any other: l', aujourd'hui.

    Underscores part words.
    """
    return _matches(_ELIDING_WORD, text)


def _matches(pattern: re.Pattern[str], text: str) -> list[str]:
    """What the pattern finds where each mark, of which it knows one, belongs to the letter before it."""
    bare = text if text.isascii() else "".join(_MARK if is_mark(character) else character for character in text)
    return [text[slice(*match.span())] for match in pattern.finditer(bare)]
