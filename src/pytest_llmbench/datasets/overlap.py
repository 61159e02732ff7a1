"""When two prompts are nearly the same: of training rows, and of the cases that a model is judged by."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

from pytest_llmbench.metrics.text import Spelling

NEAR = 0.8
"""From this similarity on (0 to 1) two prompts count as the same.

It is rapidfuzz's ratio (Indel): the share of both texts' characters that their longest common subsequence holds.
"""

_BELOW_NEAR = 100 * NEAR - 1  # rapidfuzz counts in hundredths, and may miss a text that is just as near as its cutoff
_AS_HEARD = Spelling()  # neither case nor accents tell two prompts apart
_NO_WORD = re.compile(r"[\W_]+")


def bare(prompt: str) -> str:
    """The prompt without case, accents and punctuation, its words apart by one space."""
    return _NO_WORD.sub(" ", _AS_HEARD.normalise(prompt)).strip()


class Reserved:
    """Prompts that no made row may repeat.

    A text is too near to one of them when, both bare, one holds all the words of the other in a row, or the matching
    blocks of both (difflib's ratio) are `NEAR` of them or more.
    """

    def __init__(self, prompts: Iterable[str]) -> None:
        self._prompts = list(dict.fromkeys(map(bare, prompts)))

    def nearest(self, text: str) -> str | None:
        """The first reserved prompt, bare, that `text` is too near to; None when there is none."""
        from rapidfuzz import fuzz, process

        candidate = bare(text)
        padded = f" {candidate} "
        # Matching blocks are a common subsequence: difflib's ratio is never above Indel's, which is told at once.
        possible = process.extract(candidate, self._prompts, scorer=fuzz.ratio, score_cutoff=_BELOW_NEAR, limit=None)
        places = {place for _, _, place in possible}
        for place, prompt in enumerate(self._prompts):
            if f" {prompt} " in padded or padded in f" {prompt} ":
                return prompt
            if place in places and difflib.SequenceMatcher(None, candidate, prompt, autojunk=False).ratio() >= NEAR:
                return prompt
        return None
