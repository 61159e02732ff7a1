"""Sentences and numbers in the reader's language: English stands where it is used, French in `locale/fr.po` (gettext).

`say("{count} answers failed", count=3)` is extracted by `make messages`; a text that is used through a table is marked
there with `N_`, or `NN_` where it has a plural.
"""

from __future__ import annotations

import dataclasses
import datetime
import functools
import gettext
import io
import math
from collections.abc import Mapping
from pathlib import Path

from pytest_llmbench.core.errors import NotReadyError, UsageError

LANGUAGES = ("en", "fr")
UNSCORED = "-"
CATALOGUES = Path(__file__).parent.parent / "locale"
_FEW_DIGITS_FROM = 100
_MARKED_FROM, _ROUNDING = 1000, 1e-9


def N_(text: str) -> str:  # noqa: N802  # the name that gettext's tools look for
    """Mark a text of a table for translation; it is translated where it is said."""
    return text


def NN_(singular: str, plural: str) -> tuple[str, str]:  # noqa: N802
    """Mark a text that depends on a number, for `Words.plural`."""
    return singular, plural


METRICS = {
    "relevance": N_("Relevance"),
    "keywords": N_("Keywords found (share)"),
    "tool_accuracy": N_("Tool accuracy"),
    "call_accuracy": N_("Call accuracy"),
    "cosine_similarity": N_("Cosine similarity to base"),
    "latency_s": N_("Latency (s)"),
    "tokens_per_s": N_("Tokens per second"),
    "bleu": N_("BLEU"),
    "chrf": N_("chrF"),
    "rouge_1": N_("ROUGE-1"),
    "rouge_2": N_("ROUGE-2"),
    "rouge_l": N_("ROUGE-L"),
    "semantic_similarity": N_("similarity of sentences"),
    "exact_match": N_("exact match"),
    "repetition": N_("repetition"),
    "runaway_dialogue": N_("runaway dialogue"),
}
OUTCOMES = {
    "passed": N_("passed"),
    "failed": N_("failed"),
    "skipped": N_("skipped"),
    "xfailed": N_("xfailed"),
    "xpassed": N_("xpassed"),
}
_OUTCOME_COUNTS = {
    "passed": NN_("{count} passed", "{count} passed"),
    "failed": NN_("{count} failed", "{count} failed"),
    "skipped": NN_("{count} skipped", "{count} skipped"),
    "xfailed": NN_("{count} xfailed", "{count} xfailed"),
    "xpassed": NN_("{count} xpassed", "{count} xpassed"),
}


@dataclasses.dataclass(frozen=True, slots=True)
class Words:
    """One language: translated sentences with their placeholders filled, and numbers with its marks."""

    language: str

    def __call__(self, text: str, /, **values: object) -> str:
        """The sentence in this language, its placeholders filled."""
        return self.translated(text).format(**values)

    def translated(self, text: str) -> str:
        """The sentence in this language, its placeholders open."""
        return _translations(self.language).gettext(text)

    def plural(self, singular: str, plural: str, count: float, /, **values: object) -> str:
        """The form that the language has for so many; `{count}` is the number, unless `values` writes it otherwise."""
        number = _plural_number(self.language, count)
        chosen = _translations(self.language).ngettext(singular, plural, number)
        return chosen.format(**{"count": count, **values})

    def in_context(self, context: str, text: str, /, **values: object) -> str:
        """The sentence where one English text is several ones in another language; `context` tells them apart."""
        return _translations(self.language).pgettext(context, text).format(**values)

    def metric(self, name: str) -> str:
        """The metric's label; a metric of the user's own keeps its name."""
        return self(METRICS[name]) if name in METRICS else name

    def outcome(self, name: str) -> str:
        """What became of an item, in the reader's words."""
        return self(OUTCOMES[name]) if name in OUTCOMES else name

    def outcome_counts(self, counts: Mapping[str, int]) -> str:
        """How many items came to each outcome: `30 passed, 2 failed`."""
        return ", ".join(
            self.plural(*_OUTCOME_COUNTS[name], count, count=self.count(count))
            if name in _OUTCOME_COUNTS
            else f"{self.count(count)} {name}"
            for name, count in counts.items()
        )

    def number(self, value: float | None, *, signed: bool = False) -> str:
        """Three decimals, one from 100 up; a dash for what is unscored."""
        if value is None:
            return UNSCORED
        digits = 1 if abs(value) >= _FEW_DIGITS_FROM else 3
        return self.marked(f"{value:{'+' if signed else ''},.{digits}f}")

    def percent(self, share: float | None, *, signed: bool = False) -> str:
        """A share of one as a percentage."""
        return UNSCORED if share is None else self(N_("{value}%"), value=self.hundredths(share, signed=signed))

    def hundredths(self, share: float, *, signed: bool = False) -> str:
        """A share of one in hundredths."""
        return self.marked(f"{share * 100:{'+' if signed else ''}.1f}")

    def tenths(self, value: float) -> str:
        """A number with one decimal."""
        return self.marked(f"{value:.1f}")

    def count(self, number: int) -> str:
        """A whole number with marks between its thousands."""
        return self.marked(f"{number:,}")

    def tick(self, value: float) -> str:
        """A round number on an axis, with marks between its thousands."""
        if _MARKED_FROM <= abs(value) < math.inf and abs(value - round(value)) <= _ROUNDING * abs(value):
            return self.count(round(value))
        return self.marked(f"{value:g}")

    @property
    def decimal_mark(self) -> str:
        """What stands between a number and its fraction."""
        return _decimal_mark(self.language)

    def marked(self, number: str) -> str:
        """A number as Python writes it, with the language's marks for decimals and thousands."""
        if "," not in number:
            return number.replace(".", _decimal_mark(self.language))
        whole, dot, fraction = number.partition(".")
        mark = dot and _decimal_mark(self.language)
        return f"{whole.replace(',', thousands_mark(self.language))}{mark}{fraction}"

    def moment(self, timestamp: str) -> str:
        """When something was made, from its ISO timestamp, to the minute and in its own time zone."""
        try:
            made = datetime.datetime.fromisoformat(timestamp)
        except ValueError:  # of an older document, or written by hand
            return timestamp
        day = {"year": f"{made:%Y}", "month": f"{made:%m}", "day": f"{made:%d}"}
        return self(N_("{year}-{month}-{day} {time}"), time=f"{made:%H:%M %Z}".strip(), **day)


@functools.cache
def words(language: str) -> Words:
    """The words of `en` or `fr`. Raises UsageError for another language."""
    return Words(checked_language(language))


def checked_language(language: str) -> str:
    """The language itself. Raises UsageError where there are no words for it."""
    if language not in LANGUAGES:
        raise UsageError(f"language {language!r} is not one of {', '.join(LANGUAGES)}; set output.language")
    return language


@functools.cache
def thousands_mark(language: str) -> str:
    """What stands between the thousands of a number."""
    if language == "en":
        return ","  # as Python writes it
    from babel.numbers import get_group_symbol

    return get_group_symbol(language)


@functools.cache
def _decimal_mark(language: str) -> str:
    if language == "en":
        return "."  # as Python writes it: nothing has to be read for what is said in the middle of a measurement
    from babel.numbers import get_decimal_symbol

    return get_decimal_symbol(language)


@functools.lru_cache(maxsize=4096)
def _plural_number(language: str, count: float) -> int:
    """A number that gettext has the right form for, 1.5 included: Babel's objects are not kept, only what they say."""
    from babel import Locale

    return 1 if Locale.parse(language).plural_form(count) == "one" else 2


@functools.cache
def _translations(language: str) -> gettext.NullTranslations:
    """The catalogue: the compiled one, or its source where that is newer, as in a checkout before `make`.

    Raises:
        NotReadyError: neither is there.
    """
    if language == "en":
        return gettext.NullTranslations()
    source, made = CATALOGUES / f"{language}.po", CATALOGUES / f"{language}.mo"
    if made.exists() and not (source.exists() and source.stat().st_mtime > made.stat().st_mtime):
        return gettext.GNUTranslations(io.BytesIO(made.read_bytes()))
    if not source.exists():
        raise NotReadyError(f"{made} is missing, so there are no reports in {language!r}: install the package again")
    return gettext.GNUTranslations(io.BytesIO(compiled(source)))


def compiled(source: Path) -> bytes:
    """What `source`, a `.po` file, is as a `.mo` file."""
    from babel.messages.mofile import write_mo
    from babel.messages.pofile import read_po

    written = io.BytesIO()
    with source.open("rb") as text:
        write_mo(written, read_po(text, locale=source.stem))
    return written.getvalue()


def compile_catalogues() -> list[Path]:
    """Write each language's `.mo` file beside its `.po` file, and name them."""
    made = []
    for source in sorted(CATALOGUES.glob("*.po")):
        made.append(source.with_suffix(".mo"))
        made[-1].write_bytes(compiled(source))
    return made
