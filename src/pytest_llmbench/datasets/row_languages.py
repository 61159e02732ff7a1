"""In which language a source's rows are asked: as they say, as the order says, or as their texts read."""

from __future__ import annotations

import itertools
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from pytest_llmbench.cases.suites import load_vocabulary
from pytest_llmbench.core.documents import read_yaml
from pytest_llmbench.core.errors import UsageError, located
from pytest_llmbench.core.languages import (
    Language,
    find_language,
    languages,
    no_sentences,
    read_language,
    recognised,
    told_language,
)
from pytest_llmbench.datasets.chunks import read_chunks
from pytest_llmbench.datasets.llm_prompts import Writing, writing_of
from pytest_llmbench.datasets.phrasing import Phrasing, phrasing_of
from pytest_llmbench.datasets.row_formats import answer_text, user_text
from pytest_llmbench.datasets.rows import stream_rows

if TYPE_CHECKING:
    from pytest_llmbench.datasets.order import Order

Origin = Literal["chunks", "rows", "templates", "vocabulary"]

_SAMPLE = 200  # records whose texts tell the language


class RowLanguages:
    """The sentences for each row of an order.

    A phrasing file or a language that the order names holds for all rows. Else a row is asked in the language that it
    names; one that names none in that of its file (`language:` of templates or a vocabulary), in that which its texts
    are in, or in that of the project's vocabulary.
    """

    def __init__(self, order: Order, origin: Origin) -> None:
        self._order, self._origin = order, origin
        self._own = read_language(order.phrasing) if order.phrasing else None
        self._phrasings: dict[str | None, Phrasing] = {}
        self._writings: dict[str | None, Writing] = {}
        if order.language:
            self._language(None, None)
        self.notes: list[str] = []
        """In which language was asked what named none, once that was needed."""

    def phrasing(self, told: str | None, line: int | None = None) -> Phrasing:
        """Questions and noise for a row that names that language, or none; `line` is where it does so.

        Raises:
            UsageError: there are none, or a file is wrong.
        """
        if told not in self._phrasings:
            self._phrasings[told] = phrasing_of(self._own or self._language(told, line))
        return self._phrasings[told]

    def writing(self, told: str | None, line: int | None = None) -> Writing:
        """How a model is asked for rows in that language. Raises UsageError as `phrasing` does."""
        if told not in self._writings:
            self._writings[told] = writing_of(self._own_writing or self._language(told, line))
        return self._writings[told]

    @cached_property
    def _own_writing(self) -> Language | None:
        """The file that the order names, or, where it only has questions and noise, the one of its language."""
        if self._own is None or "writing" in self._own.document.data:
            return self._own
        return find_language(self._own.code, self._known)

    def _language(self, told: str | None, line: int | None) -> Language:
        if self._order.language:
            return self._named(self._order.language, "language: ")
        if told is None:
            return self._unnamed
        return self._named(told, located(self._order.source, line, "") if line else f"{self._order.source}: ")

    def _named(self, told: str, where: str) -> Language:
        found = find_language(told, self._known)
        if found is None:
            how = "or give a language file of your own as phrasing, or another language"
            raise UsageError(f"{where}{no_sentences(told, self._known)}, {how}", names=("phrasing", "language"))
        return found

    @cached_property
    def _known(self) -> dict[str, Language]:
        return languages()

    @cached_property
    def _unnamed(self) -> Language:
        """The language of what names none."""
        source = self._order.source
        if self._origin in ("templates", "vocabulary"):
            if told := told_language(read_yaml(source).data):
                return self._named(told, f"{source}: ")
        elif told := recognised(self._texts(), self._known):
            self.notes.append(f"asked in '{told}', as the texts of {source} read; another language can be given")
            return self._named(told, f"{source}: ")
        vocabulary = self._order.vocabulary
        if vocabulary.exists() and (told := load_vocabulary(vocabulary).language):
            self.notes.append(f"asked in '{told}', the language of {vocabulary}; another language can be given")
            return self._named(told, f"{vocabulary}: ")
        known = ", ".join(self._known)
        raise UsageError(
            f"{source}: nothing says in which language to ask; give the language ({known}), or a file as phrasing",
            names=("language", "phrasing"),
        )

    def _texts(self) -> list[str]:
        if self._origin == "chunks":
            return [chunk.text for chunk in itertools.islice(read_chunks(self._order.source), _SAMPLE)]
        rows = itertools.islice(stream_rows(self._order.source), _SAMPLE)
        return [text for numbered in rows for text in (user_text(numbered.row), answer_text(numbered.row))]
