"""Keeping training rows away from the prompts a model is judged by: the same words, or nearly the same."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterable

NEAR = 0.8
"""From this similarity on (difflib's ratio of matching characters, 0 to 1) two prompts count as the same."""

_LIGATURES = str.maketrans({"œ": "oe", "æ": "ae"})
_NO_WORD = re.compile(r"[\W_]+")


def without_accents(text: str) -> str:
    """The text with its letters bare: é as e, ç as c."""
    decomposed = unicodedata.normalize("NFKD", text)
    return "".join(character for character in decomposed if not unicodedata.combining(character))


def bare(prompt: str) -> str:
    """The prompt without case, accents and punctuation, its words apart by one space."""
    return _NO_WORD.sub(" ", without_accents(without_accents(prompt).casefold().translate(_LIGATURES))).strip()


class Reserved:
    """Prompts that no training row may repeat.

    A text is too near to one of them when, both bare, one holds all the words of the other in a row, or their
    similarity is `NEAR` or more.
    """

    def __init__(self, prompts: Iterable[str]) -> None:
        self._matchers: dict[str, difflib.SequenceMatcher[str]] = {}
        for prompt in map(bare, prompts):
            # SequenceMatcher prepares its second text, so each reserved prompt is prepared once.
            self._matchers.setdefault(prompt, difflib.SequenceMatcher(None, "", prompt, autojunk=False))

    def nearest(self, text: str) -> str | None:
        """The first reserved prompt, bare, that `text` is too near to; None when there is none."""
        candidate = bare(text)
        padded = f" {candidate} "
        for prompt, matcher in self._matchers.items():
            if f" {prompt} " in padded or padded in f" {prompt} ":
                return prompt
            matcher.set_seq1(candidate)
            if matcher.real_quick_ratio() >= NEAR and matcher.quick_ratio() >= NEAR and matcher.ratio() >= NEAR:
                return prompt
        return None
