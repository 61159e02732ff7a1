"""Which texts are nearly the same, of ten or of ten million, with bounded memory.

Texts are compared bare (`bare`) by rapidfuzz's ratio, `NEAR` or more being near; the same are only those of one
`identity`. Up to EXACT_TEXTS different ones every pair is looked at. Beyond, only neighbours in three orders are: from
their beginnings, from their ends, and with their words sorted. Most near texts stand side by side in one of them.
"""

from __future__ import annotations

import contextlib
import difflib
import functools
import hashlib
import itertools
import re
import sqlite3
import tempfile
import unicodedata
from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, Self

from pytest_llmbench.datasets.disk_sequence import full_folder
from pytest_llmbench.metrics.text import Spelling, is_mark

NEAR = 0.8
"""From this similarity on (0 to 1) two prompts count as the same.

It is rapidfuzz's ratio (Indel): the share of both texts' characters that their longest common subsequence holds.
"""

_AS_HEARD = Spelling()  # neither case nor accents tell two prompts apart
_NO_WORD = re.compile(r"[\W_]+")
_SIGNS = frozenset("-*/#%&")
"""Of those that Unicode calls punctuation: they tell 3-4 from 3*4 and C# from C."""

EXACT_TEXTS = 12_000
COMPARED = 128
"""Characters. Of a longer text four parts are compared, from its beginning to its end: what is filled into a long
template stands in its middle."""
_PARTS = 4
NOT_EQUAL = 0.99
"""The most that texts which are not the same are near: they may be equal in all that is compared."""

_BLOCK = 512  # texts compared with each other in one call
_NEIGHBOURS = 32  # a text is compared with so many before it at least
_WINDOW = 96
_ORDERS = ("head", "tail", "words")
_BELOW_NEAR = 100 * NEAR - 1  # rapidfuzz may miss a pair that is just as near as its cutoff


def bare(prompt: str) -> str:
    """The prompt without case, accents and punctuation, its words apart by one space."""
    spelt = _AS_HEARD.normalise(prompt)
    return " ".join(_NO_WORD.sub(" " if spelt.isascii() else _marks, spelt).split())


def identity(prompt: str) -> str:
    """What the same prompts share: bare, but with signs and emoji, which punctuation is not (3+4 and 3*4, C++ and C#).

    Prompts of one identity are equal when bare, too.
    """
    return " ".join(_NO_WORD.sub(_marks_and_signs, _AS_HEARD.normalise(prompt)).split())


def _marks(between: re.Match[str]) -> str:
    """What stands between letters as blanks, but for the vowel signs of Devanagari and others, which are no letters."""
    return "".join(character if is_mark(character) else " " for character in between[0])


def _marks_and_signs(between: re.Match[str]) -> str:
    return " " if between[0] == " " else "".join(map(_sign, between[0]))


@functools.cache
def _sign(character: str) -> str:
    if is_mark(character):
        return character
    is_sign = character in _SIGNS or unicodedata.category(character).startswith("S")
    return f" {character} " if is_sign else " "


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


class NearPair(NamedTuple):
    """Two texts by their numbers in the order they were added; `similarity` is 0 to 1."""

    first: int
    second: int
    similarity: float


class NearTexts:
    """Collects texts on disk and then tells which are near. Use it as a context manager: the disk is given back.

    Memory is about 20 bytes a text.

    Raises:
        NotReadyError: the temporary folder is full.
    """

    def __init__(self) -> None:
        self.count = 0
        self._different: int | None = None
        with contextlib.ExitStack() as made:
            try:
                folder = made.enter_context(tempfile.TemporaryDirectory(prefix="llmbench-"))
                self._database = made.enter_context(contextlib.closing(sqlite3.connect(f"{folder}/texts.sqlite")))
                self._database.execute("PRAGMA journal_mode=OFF")
                self._database.execute("PRAGMA synchronous=OFF")
                self._database.execute(
                    "CREATE TABLE texts (number INTEGER PRIMARY KEY, head TEXT, tail TEXT, words TEXT, whole BLOB)"
                )
            except (OSError, sqlite3.Error) as error:
                raise full_folder(error) from error
            self._disk = made.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._disk.close()

    def add(self, texts: Iterable[str]) -> None:
        """Add texts, numbered from 0 in the order they come."""
        self._different = None
        try:
            self._database.executemany("INSERT INTO texts VALUES (?, ?, ?, ?, ?)", map(self._row, texts))
        except sqlite3.Error as error:
            raise full_folder(error) from error

    def _row(self, text: str) -> tuple[int, str, str, str, bytes]:
        head, whole = _compared(bare(text)), identity(text)
        self.count += 1
        told = b"" if head == whole else hashlib.blake2b(whole.encode("utf-8", "replace"), digest_size=16).digest()
        return self.count - 1, head, head[::-1], " ".join(sorted(head.split())), told

    @property
    def exact(self) -> bool:
        """Whether every pair is looked at."""
        if self._different is None:
            ((self._different,),) = self._selected("SELECT count(*) FROM (SELECT DISTINCT head, whole FROM texts)")
        return self._different <= EXACT_TEXTS

    def pairs(self) -> Iterator[NearPair]:
        """Pairs of near texts: of equal ones each with the first of them, of the others each pair of first ones once.

        Texts of no letter or digit are near to none but each other.
        """
        yield from self._equal()
        if self.exact:
            yield from _all_pairs(self._firsts("length(head), head"))
        else:
            for order in _ORDERS:
                yield from _neighbours(self._firsts(f"{order}, number"))

    def clusters(self) -> array[int]:
        """For each text the least number of its cluster: texts that a chain of near pairs leads to."""
        parents = array("L", range(self.count))
        for pair in self.pairs():
            first, second = sorted((_root(parents, pair.first), _root(parents, pair.second)))
            parents[second] = first
        for number in range(self.count):
            parents[number] = _root(parents, number)
        return parents

    def _equal(self) -> Iterator[NearPair]:
        rows = self._selected("SELECT head, whole, number FROM texts ORDER BY head, whole, number")
        first: tuple[str, bytes, int] | None = None
        for row in rows:
            if first and row[:2] == first[:2]:
                yield NearPair(first[2], row[2], 1.0)
            else:
                first = row

    def _firsts(self, order: str) -> Iterator[tuple[int, str]]:
        query = f"SELECT min(number) AS number, head, tail, words FROM texts GROUP BY head, whole ORDER BY {order}"  # noqa: S608 - of _ORDERS
        return ((number, head) for number, head, _, _ in self._selected(query))

    def _selected(self, query: str) -> Iterator[Any]:
        """What a query gives; what is sorted is on disk too."""
        try:
            yield from self._database.execute(query)
        except sqlite3.Error as error:
            raise full_folder(error) from error


def similarities(texts: Sequence[str], others: Sequence[str]) -> Iterator[NearPair]:
    """The near pairs of a bare text of each list, by their places. Memory is bounded by the length of `others`."""
    import numpy as np
    from rapidfuzz import fuzz, process

    for start in range(0, len(texts), _BLOCK):
        block = texts[start : start + _BLOCK]
        scores = process.cdist(block, others, scorer=fuzz.ratio, score_cutoff=_BELOW_NEAR, dtype=np.float32, workers=-1)
        rows, columns = np.nonzero(scores >= 100 * NEAR)
        for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
            yield NearPair(start + row, column, float(scores[row, column]) / 100)


def _compared(text: str) -> str:
    if len(text) <= COMPARED:
        return text
    size = COMPARED // _PARTS
    starts = (round(part * (len(text) - size) / (_PARTS - 1)) for part in range(_PARTS))
    return "".join(text[start : start + size] for start in starts)


def _all_pairs(texts: Iterable[tuple[int, str]]) -> Iterator[NearPair]:
    """All near pairs of texts that come by length: a text is compared with those it is not too short for."""
    numbered = [(number, text) for number, text in texts if text]
    for start in range(0, len(numbered), _BLOCK):
        block = numbered[start : start + _BLOCK]
        longest = len(block[-1][1]) * (2 - NEAR) / NEAR  # a longer one has too many characters of its own
        end = next((at for at in range(start, len(numbered)) if len(numbered[at][1]) > longest), len(numbered))
        for pair in similarities([text for _, text in block], [text for _, text in numbered[start:end]]):
            if pair.first < pair.second:
                yield _different(block[pair.first][0], numbered[start + pair.second][0], pair.similarity)


def _neighbours(texts: Iterator[tuple[int, str]]) -> Iterator[NearPair]:
    """Near pairs of texts that stand in one window."""
    window: list[tuple[int, str]] = []
    while fresh := list(itertools.islice(texts, _WINDOW - len(window))):
        known = len(window)
        window += [(number, text) for number, text in fresh if text]
        compared = [text for _, text in window]
        for pair in similarities(compared, compared):
            if pair.first < pair.second >= known:
                yield _different(window[pair.first][0], window[pair.second][0], pair.similarity)
        window = window[-_NEIGHBOURS:]


def _different(first: int, second: int, similarity: float) -> NearPair:
    """Two texts of which it is known that they are not the same."""
    return NearPair(first, second, similarity if similarity < 1 else NOT_EQUAL)


def _root(parents: array[int], number: int) -> int:
    while parents[number] != number:
        parents[number] = parents[parents[number]]
        number = parents[number]
    return number
