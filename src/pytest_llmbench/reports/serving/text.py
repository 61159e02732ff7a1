"""The whole report as text, in English or French."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pytest_llmbench.autotune.diagnosis.phases import Finding
from pytest_llmbench.core.locale import UNSCORED
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
    lines = ["=" * WIDTH, say("LIMITS OF A LIVE SERVER").center(WIDTH).rstrip(), "=" * WIDTH]
    for title, body in _sections(document, say):
        lines += ["", one_line(title), "-" * WIDTH, *body]
    return "\n".join(lines) + "\n"


def _sections(document: Mapping[str, Any], say: ServingWords) -> Iterator[tuple[str, Sequence[str]]]:
    targets = document["targets"]
    if len(targets) > 1:
        yield say("Comparison"), _comparison(targets, say)
    for target in targets:
        name = f"{target['name']}: " if len(targets) > 1 else ""
        yield f"{name}{say('Answer')}", _answers(target, document, say)
        for question, finding in target["findings"].items():
            title = f"{name}{say(f'question_{question}')}"
            yield f"{title} - {say('Why the limit is here')}", _why(target["why"][question], say)
            yield f"{title} - {say('Trials')}", _trials(finding, say)
        if target["temperature"] is not None:
            yield f"{name}{say('Temperature')}", _temperature(target["temperature"], say)
    yield say("Settings and provenance"), _facts(document, say)


def _comparison(targets: Sequence[Target], say: ServingWords) -> list[str]:
    questions = list(dict.fromkeys(name for target in targets for name in target["findings"]))
    header = [say("Target"), *(say(f"question_{name}") for name in questions), say("Cause")]
    rows = []
    for target in targets:
        main, found = main_finding(target), target["findings"]
        cells = [
            f"{value_text(found[name], say)} [{interval(found[name], say)}]" if name in found else UNSCORED
            for name in questions
        ]
        cause = UNSCORED if main is None else say.cause(target["why"][main["question"]]["cause"])
        rows.append([one_line(target["name"]), *cells, cause])
    return boxed([header], rows)


def _answers(target: Target, document: Mapping[str, Any], say: ServingWords) -> list[str]:
    sentences: list[str] = []
    for finding in target["findings"].values():
        sentences += [f"{answer(finding, say)}.", *remarks(finding, say, required_of(document))]
        sentences += [f"{setting(finding, say)}.", ""]
    if target["temperature"] is not None:
        sentences.append(temperature_answer(target["temperature"], say))
    return wrapped(map(one_line, sentences)) or [say("Nothing was measured.")]


def _why(why: Mapping[str, Any], say: ServingWords) -> list[str]:
    language = say.language
    advice = [f"- {line}" for line in why["try"][language]]
    return wrapped(
        map(
            one_line,
            [
                *why["sentences"][language],
                "",
                say("{name}: {value}", name=say("What to try next"), value="").rstrip(),
                *advice,
            ],
        )
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
        *wrapped(
            [
                say(
                    "In the order they were run. Good: within the limit and without an error. Invalid trials do not "
                    "count in the estimate. Latencies are of all answers but those that failed within the limit; what "
                    "was cut off or failed later counts with the time it had by then, the least it would have taken."
                )
            ]
        ),
        "",
        *wrapped(reasons),
        "",
        say("Errors"),
        *wrapped(errors or [say("No request failed.")]),
    ]
    notes = wrapped(map(one_line, finding["notes"]))
    return [*lines, "", say("Noted during the search"), *notes] if notes else lines


def _temperature(grid: Mapping[str, Any], say: ServingWords) -> list[str]:
    header = [say("Temperature"), *(say.metric(name) for name in grid["metrics"])]
    rows = [
        [say.plain(point["temperature"]), *(score_text(point["scores"].get(name), say) for name in grid["metrics"])]
        for point in grid["points"]
    ]
    return [*boxed([header], rows), *wrapped([say("Means of the quality metrics with their 95 % intervals.")])]


def _facts(document: Mapping[str, Any], say: ServingWords) -> list[str]:
    facts = [fact for target in document["targets"] for fact in target_facts(target, say)]
    return aligned([(name, one_line(value)) for name, value in [*facts, *document_facts(document, say)]])
