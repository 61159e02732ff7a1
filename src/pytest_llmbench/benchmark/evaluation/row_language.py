"""In which language a test set is asked: what stands around passages, and which general knowledge is looked at."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from pytest_llmbench.benchmark.evaluation.questions import PLACES, WORDLESS
from pytest_llmbench.cases.suites import Case, load_vocabulary
from pytest_llmbench.core.errors import naming
from pytest_llmbench.core.languages import find_language, languages, no_sentences, recognised

_EVERY_BASES = "en"  # what a base of any language was trained on most, and what a fine-tune may forget

_log = logging.getLogger("pytest_llmbench")


class RowLanguage:
    """The language of each case: what its row names, else what the rows are in, else that of the vocabulary.

    Args:
        cases: the test set.
        vocabulary: the project's own; what it names counts last.

    Raises:
        UsageError: a language file or the vocabulary is wrong.
    """

    def __init__(self, cases: Sequence[Case], vocabulary: Path) -> None:
        self._known = languages()
        texts = [text for case in cases for text in (case.prompt, case.reference or "")]
        self._unnamed = recognised(texts, self._known)
        if self._unnamed is None and vocabulary.exists():
            self._unnamed = load_vocabulary(vocabulary).language
        self._cases = cases

    def general(self) -> frozenset[str]:
        """The languages whose general texts and questions are looked at; none for all of them."""
        named = {self._of(case) for case in self._cases}
        codes = {found.code for told in named if told and (found := find_language(told, self._known))}
        return frozenset({*codes, *(told for told in named if told), _EVERY_BASES}) if any(named) else frozenset()

    def context_prompts(self) -> list[str]:
        """What stands around the passages of each case; without words, which is announced, where there are none.

        Raises:
            UsageError: a language file has no `retrieval`, or no place for passages or question in it.
        """
        told = {language: self._context_prompt(language) for language in {self._of(case) for case in self._cases}}
        return [told[self._of(case)] for case in self._cases]

    def _of(self, case: Case) -> str | None:
        return case.language or self._unnamed

    def _context_prompt(self, told: str | None) -> str:
        found = find_language(told, self._known) if told else None
        if found:
            return found.text("retrieval", PLACES)
        why = no_sentences(told, self._known) if told else "nothing says in which language the rows are"
        told = "passages stand before the questions without a word: %s, or give a context prompt"
        _log.warning(told, why, extra=naming("context_prompt"))
        return WORDLESS
