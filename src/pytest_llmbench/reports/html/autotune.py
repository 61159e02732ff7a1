"""The report on live servers as one page, in the look and with the parts of the benchmark's page."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from pytest_llmbench.autotune.document import Finding, LimitsDocument, TargetLimits, TemperatureGrid
from pytest_llmbench.core.locale import UNSCORED
from pytest_llmbench.reports.blocks import Report, Section
from pytest_llmbench.reports.charts import search_page as charts
from pytest_llmbench.reports.html.facts import FactGroup
from pytest_llmbench.reports.html.words import script_texts
from pytest_llmbench.reports.outcomes import SIGNS
from pytest_llmbench.reports.renderers.html import Html
from pytest_llmbench.reports.renderers.templates import asset, template
from pytest_llmbench.reports.serving.answers import (
    answer,
    cost,
    interval,
    main_finding,
    noted,
    other_findings,
    remarks,
    score_text,
    setting,
    temperature_answer,
    trial_errors,
    value_text,
)
from pytest_llmbench.reports.serving.facts import target_facts, worded_facts
from pytest_llmbench.reports.serving.trial_rows import COLUMN_TITLES, COLUMNS, trial_row
from pytest_llmbench.reports.serving.words import QUESTION_TITLES, ServingWords, serving_words, trial_reason

_SURE = 0.95


def render_limits_page(document: LimitsDocument, language: str, added: Sequence[Section] = ()) -> str:
    """The whole page of a document, as built or as read back from disk; the same document gives the same page.

    `added` are sections of plugins.

    Raises:
        UsageError: the language is unknown.
    """
    say = serving_words(language)
    targets = document.targets
    return template("html", "serving.html.j2").render(
        say=say,
        language=language,
        heading=_heading(targets, say),
        timestamp=document.metadata.timestamp,
        targets=[_target(target, f"s{place}", document.required_users, say) for place, target in enumerate(targets, 1)],
        comparison=_comparison(targets, say) if len(targets) > 1 else None,
        provenance=_provenance(document, say),
        added=Html().sections(Report("", language, added)),
        style=asset("report.css") + asset("serving.css"),
        early_script=asset("early.js"),
        theme_script=asset("theme.js"),
        theme_words=json.dumps(script_texts(say), ensure_ascii=False).replace("<", "\\u003c"),
    )


def _heading(targets: Sequence[TargetLimits], say: ServingWords) -> str:
    if len(targets) > 1:
        return say("Limits of {count} servers or models", count=len(targets))
    return say("Limits of {name}", name=targets[0].name)


def _target(target: TargetLimits, name: str, required: int | None, say: ServingWords) -> dict[str, Any]:
    main, grid = main_finding(target), target.temperature
    others = [
        _question(target, finding, required, say)
        | {"curve": charts.curve_in_page(finding, f"{name}{finding.question}", say, small=True)}
        for finding in other_findings(target)
    ]
    has = {"why": main, "curves": main, "others": others or grid, "trials": target.findings}
    return {
        "name": target.name,
        "facts": target_facts(target, say),
        "main": _main(target, main, name, required, say) if main else None,
        "others": others,
        "grid": None if grid is None else _grid(grid, name, say),
        "tables": [_trials(finding, say) for finding in target.findings.values()],
        "sections": [section for section, there in has.items() if there],
    }


def _question(target: TargetLimits, finding: Finding, required: int | None, say: ServingWords) -> dict[str, Any]:
    why = target.why[finding.question]
    return {
        "finding": finding,
        "title": say(QUESTION_TITLES[finding.question]),
        "answer": answer(finding, say),
        "remarks": [*remarks(finding, say, required)],
        "setting": setting(finding, say),
        "cause": say.cause(why.cause),
        "why": why.sentences[say.language],
        "advice": why.to_try[say.language],
    }


def _main(target: TargetLimits, finding: Finding, name: str, required: int | None, say: ServingWords) -> dict[str, Any]:
    tone = _tone(finding)
    return {
        **_question(target, finding, required, say),
        "tone": tone,
        "symbol": SIGNS[tone],
        "curve": charts.curve_in_page(finding, f"{name}c", say),
        "latency": charts.latency_in_page(finding, f"{name}l", say),
        "timeline": charts.timeline_in_page(finding, f"{name}t", say),
        "timeline_summary": charts.timeline_summary(finding, say),
    }


def _tone(finding: Finding) -> str:
    """Good news, bad news, or not known for sure."""
    chance = finding.chance_required
    if not finding.held or (chance is not None and chance < 1 - _SURE):
        return "fail"
    return "pass" if (finding.decided if chance is None else chance >= _SURE and finding.decided) else "inconclusive"


def _trials(finding: Finding, say: ServingWords) -> dict[str, Any]:
    """The trials with what was recorded; a column without any value is left out."""
    rows = [trial_row(trial, say) for trial in finding.trials]
    kept = [place for place in range(len(COLUMNS)) if any(row[place] != UNSCORED for row in rows)]
    return {
        "title": say("Trials: {question}", question=say(QUESTION_TITLES[finding.question])),
        "cost": cost(finding, say),
        "columns": [say(COLUMN_TITLES[COLUMNS[place]]) for place in kept],
        "rows": [
            {"cells": [row[place] for place in kept], "verdict": trial.verdict, "reason": trial_reason(trial, say)}
            for trial, row in zip(finding.trials, rows, strict=True)
        ],
        "errors": [(error, say.count(count)) for error, count in trial_errors([finding]).items()],
        "notes": noted(finding, say),
    }


def _grid(grid: TemperatureGrid, name: str, say: ServingWords) -> dict[str, Any]:
    return {
        "answer": temperature_answer(grid, say),
        "charts": charts.temperatures(grid, f"{name}q", say),
        "columns": [say("Temperature"), *(say.metric(name) for name in grid.metrics)],
        "rows": [
            [say.plain(point.temperature), *(score_text(point.scores.get(name), say) for name in grid.metrics)]
            for point in grid.points
        ],
    }


def _comparison(targets: Sequence[TargetLimits], say: ServingWords) -> dict[str, Any]:
    questions = list(dict.fromkeys(name for target in targets for name in target.findings))
    columns = [
        say("Target"),
        say("Server"),
        say("Engine"),
        *(say(QUESTION_TITLES[name]) for name in questions),
        say("Cause"),
    ]
    return {"columns": columns, "rows": [list(_compared(target, questions, say)) for target in targets]}


def _compared(target: TargetLimits, questions: Sequence[str], say: ServingWords) -> Iterator[str]:
    found, main = target.findings, main_finding(target)
    yield from (target.name, target.url, target.engine or UNSCORED)
    for name in questions:
        yield f"{value_text(found[name], say)} ({interval(found[name], say)})" if name in found else UNSCORED
    yield UNSCORED if main is None else say.cause(target.why[main.question].cause)


def _provenance(document: LimitsDocument, say: ServingWords) -> list[FactGroup]:
    metadata = document.metadata
    run = {"timestamp": metadata.timestamp, "command": metadata.command, "git": metadata.git}
    groups = [
        FactGroup(say("Run"), worded_facts(run, say)),
        FactGroup(say("Code"), worded_facts(metadata.versions, say)),
        FactGroup(say("Machine"), worded_facts(metadata.machine, say)),
    ]
    return [*groups, FactGroup(say("Settings"), worded_facts(metadata.settings, say), folded=True)]
