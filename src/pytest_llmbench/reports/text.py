"""The analysis of a run as text, in English or French."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pytest_llmbench.core.text_cells import one_line
from pytest_llmbench.core.wording import Words, words
from pytest_llmbench.reports import score_tables
from pytest_llmbench.reports.call_faults import call_summaries, has_calls
from pytest_llmbench.reports.changed_settings import changed_settings
from pytest_llmbench.reports.judgement import opening
from pytest_llmbench.reports.rankings import rankings
from pytest_llmbench.reports.recommendations import recommendations
from pytest_llmbench.reports.routing import is_routed
from pytest_llmbench.reports.routing_text import routing_lines
from pytest_llmbench.reports.tables import WIDTH, aligned, wrapped
from pytest_llmbench.runs.comparison import adapters, told_metadata

_HEADLINE = ("base_model", "lora_adapter", "device", "timestamp")
_SHOWN_ELSEWHERE = {*_HEADLINE, "variants", "timings", "metrics", "settings"}


def analysis(document: Mapping[str, Any], language: str) -> str:
    """The whole text report of a document, as built or as read back from disk.

    Raises:
        UsageError: the language is unknown.
    """
    say = words(language)
    lines = ["=" * WIDTH, say("title").center(WIDTH).rstrip(), "=" * WIDTH]
    for title, body in _sections(document, say):
        lines += ["", title, "-" * WIDTH, *body]
    return "\n".join(lines) + "\n"


def _sections(document: Mapping[str, Any], say: Words) -> Iterator[tuple[str, Sequence[str]]]:
    yield say("verdict_title"), wrapped(opening(document, say))
    yield say("metadata"), _metadata(document, say)
    yield say("statistics"), score_tables.overall(document, say)
    yield say("by_category"), score_tables.by_category(document, say)
    for variant in adapters(document):
        yield from rankings(document, variant, say)
    if is_routed(document):
        yield say("routing"), routing_lines(document, say)
    if has_calls(document):
        yield say("calls_title"), wrapped([*call_summaries(document, say), say("calls_note")])
    yield say("timing"), score_tables.timing(document, say)
    yield say("cases"), score_tables.every_case(document, say)
    yield say("soundness"), _provenance(document, say)
    yield say("recommendations"), wrapped(recommendations(document, say))


def _metadata(document: Mapping[str, Any], say: Words) -> list[str]:
    metadata, totals = told_metadata(document), document["statistics"]
    outcomes = ", ".join(f"{count} {say.outcome(name)}" for name, count in totals["outcomes"].items())
    facts = {key: metadata[key] for key in (*_HEADLINE, "variants")} | {
        "counts": score_tables.counts_text(document, say),
        "outcomes": outcomes,
    }
    return aligned([(say(key), _value(value, say)) for key, value in facts.items()])


def _provenance(document: Mapping[str, Any], say: Words) -> list[str]:
    """What the run recorded about itself, whatever backend and plugins put there; of settings the unusual ones."""
    facts = {key: value for key, value in document["metadata"].items() if key not in _SHOWN_ELSEWHERE}
    lines = aligned([(key, _value(value, say)) for key, value in _flat(facts)]) or [say("unknown")]
    if "settings" not in document["metadata"]:
        return lines
    changed = changed_settings(document["metadata"]["settings"])
    told = aligned([(key, _value(value, say)) for key, value in changed.items()]) or [say("settings_default")]
    return [*lines, "", say("settings_changed"), *told]


def _flat(facts: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in facts.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _value(value: Any, say: Words) -> str:
    match value:
        case None | "":
            text = say("unknown")
        case bool():
            text = say("yes" if value else "no")
        case float():
            text = f"{value:.6g}".replace(".", say("decimal_mark"))
        case list():
            text = ", ".join(_value(item, say) for item in value) or say("none")
        case dict():
            text = ", ".join(f"{key} {_value(item, say)}" for key, item in value.items()) or say("none")
        case _:
            text = str(value)
    return one_line(text)
