"""The lines at the end of a session: the answer, why, what to try, the other questions, where the files are."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pytest_llmbench.core.text_cells import one_line
from pytest_llmbench.reports.serving.answers import (
    Target,
    answer,
    main_question,
    other_findings,
    remarks,
    required_of,
    temperature_answer,
)
from pytest_llmbench.reports.serving.words import ServingWords, serving_words
from pytest_llmbench.reports.tables import aligned

_MOST_ADVICE = 3
_MOST_REASONS = 3


def summary_lines(
    document: Mapping[str, Any], width: int, paths: Mapping[str, Path] | None = None, language: str = "en"
) -> list[str]:
    """What a terminal shows, no wider than `width`. `paths` maps a kind of report to its file."""
    say = serving_words(language)
    lines: list[str] = []
    for target in document["targets"]:
        if len(document["targets"]) > 1:
            lines += ["", *_wrapped(target["name"], width)]
        lines += _target(target, document, say, width)
    files = aligned([(kind, str(path)) for kind, path in (paths or {}).items()])
    return [*lines, *([""] if files else []), *files]


def _target(target: Target, document: Mapping[str, Any], say: ServingWords, width: int) -> Iterator[str]:
    main = main_question(target)
    if main is not None:
        finding, why = target["findings"][main], target["why"][main]
        yield from _wrapped(answer(finding, say), width)
        for remark in remarks(finding, say, required_of(document)):
            yield from _wrapped(remark, width)
        yield from _listed(_head("why", say), why["sentences"][say.language][:_MOST_REASONS], width)
        yield from _listed(_head("to_try", say), why["try"][say.language][:_MOST_ADVICE], width)
    others = [_other(target, finding, say) for finding in other_findings(target)]
    if target["temperature"] is not None:
        others.append(temperature_answer(target["temperature"], say))
    if others:
        yield from _listed(_head("others", say), others, width)
    if main is None and not others:
        yield say("Nothing was measured.")


def _other(target: Target, finding: Mapping[str, Any], say: ServingWords) -> str:
    cause = say.cause(target["why"][finding["question"]]["cause"])
    return say("{answer}. Cause: {cause}.", answer=answer(finding, say), cause=cause)


def _listed(title: str, sentences: list[str], width: int) -> Iterator[str]:
    yield title
    for sentence in sentences:
        yield from _wrapped(sentence, width, first="  - ", later="    ")


def _head(key: str, say: ServingWords) -> str:
    return say("{name}: {value}", name=say(key), value="").rstrip()


def _wrapped(text: str, width: int, *, first: str = "", later: str = "  ") -> list[str]:
    return textwrap.wrap(one_line(text), max(width, 20), initial_indent=first, subsequent_indent=later) or [""]
