"""Which training rows ask what the benchmark's cases ask: an answer learnt by heart would prove nothing."""

from __future__ import annotations

import dataclasses
import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

from pytest_llmbench.cases.suites import Case
from pytest_llmbench.datasets.near_duplicates import NEAR, NOT_EQUAL, bare, identity, similarities

_ROWS_AT_ONCE = 2048
_FEWEST_WORDS = 2  # a single word is no question that would give a case away
_FEWEST_WORDS_OF_A_PART = 3

Kind = Literal["same", "near", "part"]


@dataclasses.dataclass(frozen=True, slots=True)
class Match:
    """A row that comes too near to a case, or to the reference that the case gives.

    `row` is its place, from 0; `text` what its user says. `similarity` is rapidfuzz's ratio of both bare texts, 0 to 1:
    1 for the `same`, `NEAR` or more for `near` ones; a `part` holds all words of the other in a row.
    """

    row: int
    text: str
    case: str
    source: str
    asked: str
    similarity: float
    kind: Kind


def contamination(rows: Iterable[Mapping[str, Any]], cases: Sequence[Case]) -> list[Match]:
    """The nearest case of each row that is too near to any, in the order of the rows, which are read one by one.

    Rows are in the form of `datasets.rows`; every turn of the user counts. A case counts with its prompt and its
    reference.
    """
    return CaseTexts(cases).contaminated(rows)


def user_turns(rows: Iterable[Mapping[str, Any]]) -> Iterator[tuple[int, str]]:
    """Each turn of the user with the place of its row: what is held against cases."""
    for place, row in enumerate(rows):
        for message in row["prompt"]:
            if message["role"] == "user":
                yield place, message["content"]


def contamination_sentence(matches: Sequence[Match], dataset: str) -> str:
    """What to tell of a dataset that has such rows: how many, and the nearest of them."""
    worst = max(matches, key=lambda match: match.similarity)
    return (
        f"{len(matches)} rows of {dataset} ask what the cases ask, so their answers measure memory; the nearest: "
        f"{worst.text!r:.80} and {worst.case} ({worst.similarity:.0%})"
    )


class CaseTexts:
    """What cases ask and refer to, ready to be compared with."""

    def __init__(self, cases: Iterable[Case]) -> None:
        owners: dict[str, tuple[Case, str]] = {}
        for case in cases:
            for text in filter(None, (case.prompt, case.reference)):
                if bare(text):
                    owners.setdefault(identity(text), (case, text))
        self._identities = list(owners)
        self._owners = list(owners.values())
        self._texts = [bare(text) for _, text in self._owners]
        self._starting: defaultdict[str, list[int]] = defaultdict(list)
        self._holding: defaultdict[str, list[int]] = defaultdict(list)
        for place, text in enumerate(self._texts):
            pairs = _word_pairs(text)
            for pair in pairs[:1]:
                self._starting[pair].append(place)
            for pair in set(pairs):
                self._holding[pair].append(place)

    def contaminated(self, rows: Iterable[Mapping[str, Any]]) -> list[Match]:
        """As `contamination`."""
        said = user_turns(rows)
        nearest: dict[int, Match] = {}
        while batch := list(itertools.islice(said, _ROWS_AT_ONCE)):
            for match in self.matches(batch):
                known = nearest.get(match.row)
                if known is None or known.similarity < match.similarity:
                    nearest[match.row] = match
        return [nearest[row] for row in sorted(nearest)]

    def matches(self, said: Sequence[tuple[int, str]]) -> list[Match]:
        """Every case that one of the texts is too near to; a text comes with the place of its row."""
        return list(self._matches(said)) if self._texts else []

    def _matches(self, said: Sequence[tuple[int, str]]) -> Iterator[Match]:
        from rapidfuzz import fuzz

        texts = [bare(text) for _, text in said]
        for pair in similarities(texts, self._texts):
            row, text = said[pair.first]
            if identity(text) == self._identities[pair.second]:
                yield self._match(row, text, pair.second, 1.0, "same")
            else:
                similarity = pair.similarity if pair.similarity < 1 else NOT_EQUAL
                yield self._match(row, text, pair.second, similarity, "near")
        for (row, text), candidate in zip(said, texts, strict=True):
            for place in self._parts(candidate):
                similarity = fuzz.ratio(candidate, self._texts[place]) / 100
                if similarity < NEAR:
                    yield self._match(row, text, place, similarity, "part")

    def _parts(self, text: str) -> Iterator[int]:
        """The reserved texts that hold all words of `text` in a row, or that it holds."""
        pairs, padded = _word_pairs(text), f" {text} "
        for place in {place for pair in pairs for place in self._starting.get(pair, ())}:
            if f" {self._texts[place]} " in padded:
                yield place
        if len(pairs) + 1 >= _FEWEST_WORDS_OF_A_PART:
            for place in self._holding.get(pairs[0], ()):
                if padded in f" {self._texts[place]} ":
                    yield place

    def _match(self, row: int, text: str, place: int, similarity: float, kind: Kind) -> Match:
        case, asked = self._owners[place]
        return Match(row, text, case.name, case.source, asked, similarity, kind)


def _word_pairs(text: str) -> list[str]:
    """Each two neighbouring words; none of a text of one word."""
    words = text.split()
    return [f"{first} {second}" for first, second in itertools.pairwise(words)] if len(words) >= _FEWEST_WORDS else []
