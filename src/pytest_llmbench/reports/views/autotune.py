"""The limits of live servers as sections: the answers, why each limit is where it is, the trials, the temperatures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pytest_llmbench.autotune.document import Explanation, Finding, LimitsDocument, TargetLimits, TemperatureGrid
from pytest_llmbench.core.locale import UNSCORED
from pytest_llmbench.reports.blocks import (
    Block,
    Cell,
    Column,
    Depth,
    Facts,
    Heading,
    Name,
    Report,
    Section,
    Sentences,
    Table,
)
from pytest_llmbench.reports.serving.answers import (
    answer,
    interval,
    main_finding,
    main_question,
    noted,
    other_findings,
    remarks,
    score_text,
    setting,
    temperature_answer,
    trial_errors,
    value_text,
)
from pytest_llmbench.reports.serving.facts import document_facts, target_facts
from pytest_llmbench.reports.serving.trial_rows import COLUMN_TITLES, COLUMNS, trial_row
from pytest_llmbench.reports.serving.words import QUESTION_TITLES, ServingWords, serving_words, trial_reason

_COLUMNS = ("level", "verdict", "good", "share", "p50", "p95", "p99", "first", "gap", "lag", "cpu")
"""Of a trial; the page has all."""


def autotune_report(
    document: LimitsDocument,
    language: str,
    added: Sequence[Section] = (),
    paths: Mapping[str, Path] | None = None,
) -> Report:
    """A session's document; `added` are sections of plugins. `paths` maps a kind of report to its file.

    Raises:
        UsageError: the language is unknown.
    """
    say = serving_words(language)
    return Report(say("LIMITS OF A LIVE SERVER"), language, list(_sections(document, say, added, paths or {})))


def _sections(
    document: LimitsDocument, say: ServingWords, added: Sequence[Section], paths: Mapping[str, Path]
) -> Iterator[Section]:
    targets = document.targets
    if len(targets) > 1:
        yield Section("compared", say("Comparison"), [_comparison(targets, say)])
    why, trials = say("Why the limit is here"), say("Trials")
    for target in targets:
        name = f"{target.name}: " if len(targets) > 1 else ""
        yield Section(
            "answer", name + say("Answer"), list(_answer(target, document.required_users, say, named=bool(name)))
        )
        for question, finding in target.findings.items():
            title = name + say(QUESTION_TITLES[question])
            yield Section(f"why-{question}", f"{title} - {why}", _why(target.why[question], say))
            yield Section(f"trials-{question}", f"{title} - {trials}", _trials(finding, say), folded=True)
        if target.temperature is not None:
            yield Section("temperature", name + say("Temperature"), _temperature(target.temperature, say))
    yield from added
    facts = [fact for target in targets for fact in target_facts(target, say)]
    made_of = Facts([*facts, *document_facts(document, say)])
    yield Section("settings", say("Settings and provenance"), [made_of], folded=True)
    yield Section("files", "", [Facts([(kind, str(path)) for kind, path in paths.items()], depth=Depth.BRIEF)])


def _comparison(targets: Sequence[TargetLimits], say: ServingWords) -> Table:
    questions = list(dict.fromkeys(name for target in targets for name in target.findings))
    titles = [*(say(QUESTION_TITLES[name]) for name in questions), say("Cause")]
    rows: list[list[Cell]] = []
    for target in targets:
        main, found = main_finding(target), target.findings
        cells = [
            f"{value_text(found[name], say)} ({interval(found[name], say)})" if name in found else UNSCORED
            for name in questions
        ]
        cause = UNSCORED if main is None else say.cause(target.why[main.question].cause)
        rows.append([Name(target.name), *cells, cause])
    return Table([Column(say("Target"), left=True), *map(Column, titles)], rows)


def _answer(target: TargetLimits, required: int | None, say: ServingWords, *, named: bool) -> Iterator[Block]:
    """The main answer and why first; in brief the others in a line each."""
    if named:
        yield Heading(target.name, depth=Depth.BRIEF, until=Depth.BRIEF)
    main, others = main_question(target), other_findings(target)
    if main is not None:
        finding = target.findings[main]
        yield Heading(answer(finding, say), depth=Depth.BRIEF)
        yield Sentences(list(remarks(finding, say, required)), listed=False, depth=Depth.BRIEF)
        yield Sentences([setting(finding, say)], listed=False)
        yield from _why_in_brief(target.why[main], say)
    for finding in others:
        yield Heading(answer(finding, say))
        yield Sentences([*remarks(finding, say, required), setting(finding, say)], listed=False)
    in_brief = [_other(target, finding, say) for finding in others]
    if target.temperature is not None:
        yield Heading(temperature_answer(target.temperature, say))
        in_brief.append(temperature_answer(target.temperature, say))
    if in_brief:
        yield Heading(_head(say("Other questions"), say), depth=Depth.BRIEF, until=Depth.BRIEF)
        yield Sentences(in_brief, depth=Depth.BRIEF, until=Depth.BRIEF)
    if main is None and not in_brief:
        yield Sentences([say("Nothing was measured.")], listed=False, depth=Depth.BRIEF)


def _why_in_brief(why: Explanation, say: ServingWords) -> Iterator[Block]:
    for title, lines in ((say("Why the limit is here"), why.sentences), (say("What to try next"), why.to_try)):
        yield Heading(_head(title, say), depth=Depth.BRIEF, until=Depth.BRIEF)
        yield Sentences(lines[say.language], depth=Depth.BRIEF, until=Depth.BRIEF)


def _other(target: TargetLimits, finding: Finding, say: ServingWords) -> str:
    cause = say.cause(target.why[finding.question].cause)
    return say("{answer}. Cause: {cause}.", answer=answer(finding, say), cause=cause)


def _why(why: Explanation, say: ServingWords) -> list[Block]:
    language = say.language
    return [
        Sentences(why.sentences[language], listed=False),
        Heading(_head(say("What to try next"), say)),
        Sentences(why.to_try[language]),
    ]


def _trials(finding: Finding, say: ServingWords) -> list[Block]:
    places = [COLUMNS.index(name) for name in _COLUMNS]
    rows = [trial_row(trial, say) for trial in finding.trials]
    columns = [Column(say(COLUMN_TITLES[name])) for name in _COLUMNS]
    reasons = [
        say("{place}. {name}", place=place, name=trial_reason(trial, say))
        for place, trial in enumerate(finding.trials, 1)
    ]
    errors = [f"{count} x {error}" for error, count in trial_errors([finding]).items()]
    blocks: list[Block] = [
        Table(columns, [[row[place] for place in places] for row in rows]),
        Sentences(
            [
                say(
                    "In the order they were run. Good: within the limit and without an error. Invalid trials do not "
                    "count in the estimate. Latencies are of all answers but those that failed within the limit; what "
                    "was cut off or failed later counts with the time it had by then, the least it would have taken."
                )
            ],
            listed=False,
        ),
        Sentences(reasons, listed=False),
        Heading(say("Errors")),
        Sentences(errors or [say("No request failed.")], listed=False),
    ]
    if finding.notes:
        blocks += [Heading(say("Noted during the search")), Sentences(noted(finding, say))]
    return blocks


def _temperature(grid: TemperatureGrid, say: ServingWords) -> list[Block]:
    rows: list[list[Cell]] = [
        [say.plain(point.temperature), *(score_text(point.scores.get(name), say) for name in grid.metrics)]
        for point in grid.points
    ]
    columns = [Column(say("Temperature")), *(Column(say.metric(name)) for name in grid.metrics)]
    return [
        Table(columns, rows),
        Sentences([say("Means of the quality metrics with their 95 % intervals.")], listed=False),
    ]


def _head(title: str, say: ServingWords) -> str:
    return say("{name}: {value}", name=title, value="").rstrip()
