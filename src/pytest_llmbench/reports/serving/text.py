"""The whole report as text, in English or French."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pytest_llmbench.autotune.diagnosis.phases import Finding
from pytest_llmbench.core.text_cells import one_line
from pytest_llmbench.reports.serving.answers import (
    Target,
    answer,
    interval,
    main_finding,
    remarks,
    required_of,
    score_text,
    setting,
    temperature_answer,
    trial_errors,
    value_text,
)
from pytest_llmbench.reports.serving.facts import document_facts, target_facts
from pytest_llmbench.reports.serving.trial_rows import COLUMNS, trial_row
from pytest_llmbench.reports.serving.words import ServingWords, serving_words
from pytest_llmbench.reports.tables import WIDTH, aligned, boxed, wrapped

_IN_TEXT = ("level", "verdict", "good", "share", "p50", "p95", "p99", "first", "gap", "lag", "cpu")


def analysis(document: Mapping[str, Any], language: str) -> str:
    """The text of a document, as built or as read back from disk.

    Raises:
        UsageError: the language is unknown.
    """
    say = serving_words(language)
    lines = ["=" * WIDTH, say("report_title").center(WIDTH).rstrip(), "=" * WIDTH]
    for title, body in _sections(document, say):
        lines += ["", one_line(title), "-" * WIDTH, *body]
    return "\n".join(lines) + "\n"


def _sections(document: Mapping[str, Any], say: ServingWords) -> Iterator[tuple[str, Sequence[str]]]:
    targets = document["targets"]
    if len(targets) > 1:
        yield say("compare"), _comparison(targets, say)
    for target in targets:
        name = f"{target['name']}: " if len(targets) > 1 else ""
        yield f"{name}{say('nav_answer')}", _answers(target, document, say)
        for question, finding in target["findings"].items():
            title = f"{name}{say(f'question_{question}')}"
            yield f"{title} - {say('why')}", _why(target["why"][question], say)
            yield f"{title} - {say('trials')}", _trials(finding, say)
        if target["temperature"] is not None:
            yield f"{name}{say('temperature')}", _temperature(target["temperature"], say)
    yield say("settings_and_provenance"), _facts(document, say)


def _comparison(targets: Sequence[Target], say: ServingWords) -> list[str]:
    questions = list(dict.fromkeys(name for target in targets for name in target["findings"]))
    header = [say("target"), *(say(f"question_{name}") for name in questions), say("cause")]
    rows = []
    for target in targets:
        main, found = main_finding(target), target["findings"]
        cells = [
            f"{value_text(found[name], say)} [{interval(found[name], say)}]" if name in found else say("dash")
            for name in questions
        ]
        cause = say("dash") if main is None else say.cause(target["why"][main["question"]]["cause"])
        rows.append([one_line(target["name"]), *cells, cause])
    return boxed([header], rows)


def _answers(target: Target, document: Mapping[str, Any], say: ServingWords) -> list[str]:
    sentences: list[str] = []
    for finding in target["findings"].values():
        sentences += [f"{answer(finding, say)}.", *remarks(finding, say, required_of(document))]
        sentences += [f"{setting(finding, say)}.", ""]
    if target["temperature"] is not None:
        sentences.append(temperature_answer(target["temperature"], say))
    return wrapped(map(one_line, sentences)) or [say("nothing_measured")]


def _why(why: Mapping[str, Any], say: ServingWords) -> list[str]:
    language = say("language")
    advice = [f"- {line}" for line in why["try"][language]]
    return wrapped(
        map(one_line, [*why["sentences"][language], "", say("colon", name=say("to_try"), value="").rstrip(), *advice])
    )


def _trials(finding: Finding, say: ServingWords) -> list[str]:
    places = [COLUMNS.index(name) for name in _IN_TEXT]
    rows = [trial_row(trial, say) for trial in finding["trials"]]
    header = [say(f"column_{name}") for name in _IN_TEXT]
    table = boxed([header], [[row[place] for place in places] for row in rows])
    reasons = [f"{place}. {one_line(trial['reason'])}" for place, trial in enumerate(finding["trials"], 1)]
    errors = [f"{count} x {one_line(error)}" for error, count in trial_errors([finding]).items()]
    lines = [
        *table,
        *wrapped([say("trials_caption")]),
        "",
        *wrapped(reasons),
        "",
        say("errors_title"),
        *wrapped(errors or [say("errors_none")]),
    ]
    notes = wrapped(map(one_line, finding["notes"]))
    return [*lines, "", say("noted"), *notes] if notes else lines


def _temperature(grid: Mapping[str, Any], say: ServingWords) -> list[str]:
    header = [say("temperature"), *(say.metric(name) for name in grid["metrics"])]
    rows = [
        [say.plain(point["temperature"]), *(score_text(point["scores"].get(name), say) for name in grid["metrics"])]
        for point in grid["points"]
    ]
    return [*boxed([header], rows), *wrapped([say("temperature_caption")])]


def _facts(document: Mapping[str, Any], say: ServingWords) -> list[str]:
    facts = [fact for target in document["targets"] for fact in target_facts(target, say)]
    return aligned([(name, one_line(value)) for name, value in [*facts, *document_facts(document, say)]])
