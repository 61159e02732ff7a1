"""Sentences, numbers and units of the report on a live server, in the reader's language."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from pytest_llmbench.reports.html.words import PageWords, page_words
from pytest_llmbench.reports.serving.catalogue import LANGUAGES

QUESTIONS = ("users", "rate", "history", "max_tokens")
_FINE_BELOW_S = 0.0995
_WHOLE_FROM = 100


@dataclasses.dataclass(frozen=True, slots=True)
class ServingWords(PageWords):
    """The words of all reports and pages, and of this one."""

    def plain(self, value: float, digits: int = 2) -> str:
        """A number with at most so many decimals."""
        return f"{round(value, digits):g}".replace(".", self.texts["decimal_mark"])

    def seconds(self, value: float | None) -> str:
        """A time with its unit: milliseconds while they are few."""
        if value is None:
            return self("dash")
        if abs(value) < _FINE_BELOW_S:
            return self("milliseconds", value=self.plain(value * 1000, 1 if value < 0.01 else 0))  # noqa: PLR2004  # 10 ms
        text = f"{value:.0f}" if abs(value) >= _WHOLE_FROM else f"{value:.2f}" if abs(value) < 1 else f"{value:.1f}"
        return self("seconds", value=text.replace(".", self.texts["decimal_mark"]))

    def limit(self, seconds: float) -> str:
        """The promised time, as it was set, with at least one decimal."""
        text = f"{seconds:.1f}" if round(seconds, 1) == seconds else f"{seconds:g}"
        return self("seconds", value=text.replace(".", self.texts["decimal_mark"]))

    def share(self, value: float) -> str:
        """A share of one in percent, with a decimal only near its ends."""
        digits = 0 if 0.01 <= value <= 0.99 or value in (0, 1) else 1  # noqa: PLR2004  # 1 and 99 %
        return self("percent", value=f"{value * 100:.{digits}f}".replace(".", self.texts["decimal_mark"]))

    def wanted(self, value: float) -> str:
        """The promised share, as it was set."""
        return self("percent", value=self.plain(value * 100, 3))

    def amount(self, question: str, level: float, *, more: bool = False) -> str:
        """A level with its unit: `8 users`, or `8+ users` where it may be more."""
        return self(f"amount_{question}{self._one(level)}", count=self.plain(level) + ("+" if more else ""))

    def at(self, question: str, level: float) -> str:
        """The circumstance of a level: `with 8 users`."""
        return self(f"at_{question}{self._one(level)}", count=self.plain(level))

    def between(self, question: str, levels: Sequence[float]) -> str:
        """The circumstance of several levels: `with 8 to 12 users`."""
        low, high = min(levels), max(levels)
        if low == high:
            return self.at(question, low)
        return self(f"at_{question}", count=self("level_span", low=self.plain(low), high=self.plain(high)))

    def many(self, key: str, count: int) -> str:
        """A counted thing: `1 request`, `3 requests`."""
        return self(f"{key}{self._one(count)}", count=self.count(count))

    def cause(self, name: str) -> str:
        """The short name of a cause."""
        return self(f"cause_{name}")

    def _one(self, count: float) -> str:
        single = abs(count) < 2 if self.texts["language"] == "fr" else count == 1  # noqa: PLR2004  # French counts so
        return "_one" if single else ""


def serving_words(language: str) -> ServingWords:
    """The words in `en` or `fr`. Raises UsageError for another language."""
    return ServingWords(language, {**page_words(language).texts, **LANGUAGES[language]})


def slo_text(slo: Mapping[str, Any], say: ServingWords) -> str:
    """What is promised: `95 % of answers under 3.0 s`."""
    return say(slo_key("slo", slo), share=say.wanted(slo["quantile"]), limit=say.limit(slo["limit_s"]))


def slo_key(prefix: str, slo: Mapping[str, Any]) -> str:
    """The sentence for this kind of promise."""
    strict = "_strict" if slo["quantile"] >= 1 else ""
    return f"{prefix}_{slo['latency']}{strict}"
