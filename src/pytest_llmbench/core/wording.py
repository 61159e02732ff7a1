"""Sentences and numbers in the reader's language, English or French."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from pytest_llmbench.core.catalogue import LANGUAGES
from pytest_llmbench.core.errors import UsageError

UNSCORED = "-"
_FEW_DIGITS_FROM = 100


@dataclasses.dataclass(frozen=True, slots=True)
class Words:
    """One language: sentences by key, numbers with its decimal mark."""

    texts: Mapping[str, str]

    def __call__(self, key: str, **values: object) -> str:
        """The sentence of `key` with its placeholders filled."""
        return self.texts[key].format(**values)

    def metric(self, name: str) -> str:
        """The metric's label; a metric of the user's own keeps its name."""
        return self.texts.get(f"metric_{name}", name)

    def outcome(self, name: str) -> str:
        """What became of an item, in the reader's words."""
        return self.texts.get(f"item_{name}", name)

    def number(self, value: float | None, *, signed: bool = False) -> str:
        """Three decimals, one from 100 up; a dash for what is unscored."""
        if value is None:
            return UNSCORED
        digits = 1 if abs(value) >= _FEW_DIGITS_FROM else 3
        return f"{value:{'+' if signed else ''}.{digits}f}".replace(".", self.texts["decimal_mark"])

    def percent(self, share: float | None, *, signed: bool = False) -> str:
        """A share of one as a percentage."""
        return UNSCORED if share is None else self("percent", value=self.hundredths(share, signed=signed))

    def hundredths(self, share: float, *, signed: bool = False) -> str:
        """A share of one in hundredths."""
        return f"{share * 100:{'+' if signed else ''}.1f}".replace(".", self.texts["decimal_mark"])


def words(language: str) -> Words:
    """The words of `en` or `fr`. Raises UsageError for another language."""
    if language not in LANGUAGES:
        raise UsageError(f"language {language!r} is not one of {', '.join(LANGUAGES)}; set output.language")
    return Words(LANGUAGES[language])
