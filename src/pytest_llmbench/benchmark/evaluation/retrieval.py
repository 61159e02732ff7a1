"""Retrieval: the passages of one's documents that a question is about, to be read by a model that never learnt them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from pytest_llmbench.core.errors import UsageError
from pytest_llmbench.core.extras import required, sentence_encoder
from pytest_llmbench.datasets.chunks import is_chunk, read_chunks
from pytest_llmbench.datasets.near_duplicates import bare, identity
from pytest_llmbench.datasets.record_files import read_records
from pytest_llmbench.datasets.row_formats import answer_text, user_text
from pytest_llmbench.datasets.rows import stream_rows
from pytest_llmbench.metrics.text import words

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Method = Literal["bm25", "embedding", "hybrid"]

_FUSION = 60  # reciprocal rank fusion's constant (Cormack, Clarke and Büttcher 2009)
_POOL = 50  # places that count in a fusion


@dataclasses.dataclass(frozen=True, slots=True)
class Passage:
    """What can be found, and where it stands (`file:line`)."""

    text: str
    source: str


class Ranking(Protocol):
    """Ranks passages for questions."""

    def best(self, questions: Sequence[str], count: int) -> list[list[int]]:
        """For each question the numbers of at most `count` passages, the best first; none that shares nothing."""
        ...


class Retriever:
    """Finds passages with BM25 on words without case and accents, by sentence embeddings, or both fused.

    Args:
        passages: what can be found; at least one.
        method: how they are ranked.

    Raises:
        NotReadyError: the method's package is not installed.
    """

    def __init__(self, passages: Sequence[Passage], method: Method = "bm25") -> None:
        self.passages, self.method = tuple(passages), method
        texts = [passage.text for passage in self.passages]
        self._rankings: list[Ranking] = []
        if method != "embedding":
            self._rankings.append(_Bm25(texts))
        if method != "bm25":
            self._rankings.append(_Embeddings(texts))

    def find(self, questions: Sequence[str], count: int) -> list[list[Passage]]:
        """For each question at most `count` passages, the best first."""
        if len(self._rankings) == 1:
            found = self._rankings[0].best(questions, count)
        else:
            ranked = [ranking.best(questions, _POOL) for ranking in self._rankings]
            found = [_fused(list(places), count) for places in zip(*ranked, strict=True)]
        return [[self.passages[number] for number in numbers] for numbers in found]


def read_passages(path: Path) -> list[Passage]:
    """The chunks of a file; of a dataset in any row form, each question with its answer is a passage.

    Raises:
        UsageError: the file is unreadable, empty, or holds neither chunks nor rows.
    """
    first = next(iter(read_records(path)), None)
    if first is None:
        raise UsageError(f"{path}: the file holds no passage to find")
    if is_chunk(first[1]):
        return [Passage(_headed(chunk), f"{path}:{chunk.line}") for chunk in read_chunks(path)]
    rows = ((numbered.line, numbered.row) for numbered in stream_rows(path))
    once: dict[str, Passage] = {}
    for line, row in rows:
        text = f"{user_text(row)} → {answer_text(row)}"
        once.setdefault(identity(text), Passage(text, f"{path}:{line}"))
    return list(once.values())


def _headed(chunk: Any) -> str:
    """The chunk's text under its title and section, where the text does not name them."""
    heads = [head for head in (chunk.title, chunk.section) if head and bare(head) not in bare(chunk.text)]
    return "\n".join([" - ".join(heads), chunk.text.strip()] if heads else [chunk.text.strip()])


def _fused(places: list[list[int]], count: int) -> list[int]:
    scores: dict[int, float] = {}
    for ranked in places:
        for place, number in enumerate(ranked):
            scores[number] = scores.get(number, 0.0) + 1 / (_FUSION + place + 1)
    return sorted(scores, key=lambda number: (-scores[number], number))[:count]


class _Bm25:
    """Okapi BM25 as Lucene counts it, by bm25s."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._size = len(texts)
        self._index = required("bm25s").BM25()
        # bm25s cannot index a corpus without a word
        self._index.index([words(bare(text)) or ["-"] for text in texts], show_progress=False)

    def best(self, questions: Sequence[str], count: int) -> list[list[int]]:
        asked = [words(bare(question)) for question in questions]
        found = self._index.retrieve(asked, k=min(count, self._size), show_progress=False)
        return [
            [int(number) for number, score in zip(numbers, scores, strict=True) if score > 0]
            for numbers, scores in zip(found.documents, found.scores, strict=True)
        ]


class _Embeddings:
    """Cosine of sentence embeddings (multilingual Universal Sentence Encoder)."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._vectors = _embedded(texts)

    def best(self, questions: Sequence[str], count: int) -> list[list[int]]:
        cosines = _embedded(questions) @ self._vectors.T
        order = (-cosines).argsort(axis=1, kind="stable")[:, :count]
        return [[int(number) for number in numbers] for numbers in order]


def _embedded(texts: Sequence[str]) -> NDArray[np.float32]:
    vectors: NDArray[np.float32] = sentence_encoder().encode(list(texts))
    return vectors
