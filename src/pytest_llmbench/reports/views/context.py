"""How long a context servers hold, as sections: the answer, the three limits, the law of time, what is still found."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llmbench.core.locale import UNSCORED
from pytest_llmbench.reports.blocks import (
    Alert,
    Block,
    Cell,
    Chart,
    Column,
    Depth,
    Fact,
    Facts,
    Name,
    Report,
    Section,
    Sentences,
    Table,
    Verdict,
    Verdicts,
)
from pytest_llmbench.reports.charts import context_page
from pytest_llmbench.reports.context_words import (
    COUNTING,
    LIMIT_TITLES,
    answer_sentence,
    finding_sentence,
    how_sure,
    limit_reason,
    promise_text,
)
from pytest_llmbench.reports.serving.facts import worded_facts
from pytest_llmbench.reports.serving.words import ServingWords, serving_words
from pytest_llmbench.reports.views.context_analysis import fact_blocks, refusals_table, time_blocks
from pytest_llmbench.reports.views.context_comparison import comparison_alerts, comparison_section

if TYPE_CHECKING:
    from pytest_llmbench.runs.context_document import (
        ContextDocument,
        ContextTarget,
    )


def context_report(
    document: ContextDocument,
    language: str,
    *,
    draw: Callable[[Path], object] | None = None,
    figure: str | None = None,
    added: Sequence[Section] = (),
    paths: Mapping[str, Path] | None = None,
) -> Report:
    """A context run. `draw` writes its figure, which stands beside the report as the file `figure`.

    `added` are sections of plugins; `paths` maps a kind of report to its file.

    Raises:
        UsageError: the language is unknown.
    """
    say = serving_words(language)
    sections = [*_sections(document, say), *added, *_ending(document, say, paths or {})]
    if draw is not None:
        picture = Chart(say("Context"), draw, figure, until=Depth.SUMMARY)
        sections.insert(1, Section("figure", "", [picture]))
    return Report(say("HOW LONG A CONTEXT HOLDS"), language, sections, list(_alerts(document, say)))


def _sections(document: ContextDocument, say: ServingWords) -> Iterator[Section]:
    targets = document.targets
    opening: list[Block] = []
    for target in targets:
        opening += _answer(target, say)
    yield Section("answer", "", opening)
    if len(targets) > 1:
        pictures = _charts(context_page.compared_pictures(targets, say))
        yield Section("compared", say("Comparison"), [_compared(targets, say), *pictures])
    if document.comparison is not None:
        yield comparison_section(document.comparison, say)
    for target in targets:
        yield from _target(target, f"{target.name}: " if len(targets) > 1 else "", say)


def _answer(target: ContextTarget, say: ServingWords) -> Iterator[Block]:
    answer = target.answer
    outcome: Verdicts = "none" if answer is None else "fail" if not answer.tokens else "pass"
    if answer is not None and answer.tokens and not answer.decided:
        outcome = "inconclusive"
    yield Verdict(outcome, answer_sentence(target, say), depth=Depth.BRIEF)
    limits = [
        say(
            "{name}: {value}",
            name=say(LIMIT_TITLES[name]),
            value=say(
                "{tokens} ({interval}): {why}", tokens=say.count(limit.tokens), interval=how_sure(limit, say), why=why
            ),
        )
        for name, limit in target.limits.sought()
        for why in [limit_reason(name, limit, say)]
    ]
    yield Sentences(limits, depth=Depth.BRIEF, until=Depth.BRIEF)
    yield Sentences([finding_sentence(one, say) for one in target.findings], depth=Depth.BRIEF, until=Depth.BRIEF)


def _target(target: ContextTarget, name: str, say: ServingWords) -> Iterator[Section]:
    yield Section("limits", name + say("The three limits"), [_limits(target, say), *_found(target, say)])
    analysis = target.analysis
    if analysis is None:
        return
    times = [*time_blocks(analysis, target, say), *_charts(context_page.time_pictures(target, say))]
    yield Section("time", name + say("Time by length"), times)
    facts = [*fact_blocks(analysis, say), *_charts(context_page.fact_pictures(target, say))]
    yield Section("facts", name + say("What is still found, by length and depth"), facts)
    if refused := refusals_table(target.probes, say):
        yield Section("refusals", name + say("Prompts that were refused"), [refused])


def _charts(pictures: Sequence[context_page.Picture]) -> list[Block]:
    return [Chart(one.title, one.save, svg=one.svg, depth=Depth.FULL) for one in pictures]


def _limits(target: ContextTarget, say: ServingWords) -> Table:
    columns = [
        Column(say("Limit"), left=True),
        Column(say("Tokens")),
        Column(say("How sure"), left=True),
        Column(say("Settled"), left=True),
        Column(say("Prompts")),
        Column(say("Why it ends there"), left=True),
    ]
    rows: list[list[Cell]] = [
        [
            say(LIMIT_TITLES[name]),
            say.count(limit.tokens),
            how_sure(limit, say),
            say("yes") if limit.decided else say("no"),
            say.count(limit.probes),
            limit_reason(name, limit, say),
        ]
        for name, limit in target.limits.sought()
    ]
    return Table(columns, rows)


def _found(target: ContextTarget, say: ServingWords) -> Iterator[Block]:
    counted = say("Tokens are the server's prompt tokens, counted {how}.", how=say(COUNTING[target.counting.method]))
    exact = (
        say("Each prompt had exactly as many as were asked for.")
        if target.counting.exact
        else say("A prompt may be off by {count} of them.", count=target.counting.most_off)
    )
    promised = say("The promise: {promise}.", promise=promise_text(target, say))
    yield Sentences([f"{promised} {counted} {exact}"], listed=False)
    yield Sentences([finding_sentence(one, say) for one in target.findings])


def _compared(targets: Sequence[ContextTarget], say: ServingWords) -> Table:
    columns = [
        Column(say("Target"), left=True),
        Column(say("Server"), left=True),
        Column(say("Answer")),
        Column(say("What binds"), left=True),
        *(Column(say(title)) for title in LIMIT_TITLES.values()),
    ]
    rows: list[list[Cell]] = []
    for target in targets:
        limits, answer = dict(target.limits.sought()), target.answer
        cells: list[Cell] = [
            f"{say.count(limits[name].tokens)} ({how_sure(limits[name], say)})" if name in limits else UNSCORED
            for name in LIMIT_TITLES
        ]
        binds = say(LIMIT_TITLES[answer.bound_by]) if answer and answer.bound_by else UNSCORED
        longest = say.count(answer.tokens) if answer else UNSCORED
        rows.append([Name(target.name), Name(target.server.url), longest, binds, *cells])
    return Table(columns, rows)


def _alerts(document: ContextDocument, say: ServingWords) -> Iterator[Alert]:
    """What CI shows beside the report: each answer, what was noticed, and what a comparison found."""
    for target in document.targets:
        yield Alert("notice", say("Context of {name}", name=target.name), [answer_sentence(target, say)])
        if target.findings:
            told = [finding_sentence(one, say) for one in target.findings]
            yield Alert("warning", say("Noticed of {name}", name=target.name), told)
    if document.comparison is not None:
        yield from comparison_alerts(document.comparison, say)


def _ending(document: ContextDocument, say: ServingWords, paths: Mapping[str, Path]) -> Iterator[Section]:
    facts: list[Fact] = []
    for target in document.targets:
        server = target.server
        announced, slots = (
            None if known is None else say.count(known) for known in (server.announced_context, server.slots)
        )
        named = [
            (say("Server"), server.url),
            (say("Model"), target.model),
            (say("Engine"), " ".join(filter(None, (server.kind, server.version)))),
            (say("Announced context"), announced),
            (say("Slots"), slots),
            (say("Prompts"), say.count(len(target.probes))),
            (say("Duration"), say.seconds(target.duration_s)),
        ]
        facts += [(name, value) for name, value in named if value]
    about = document.metadata.model_dump(mode="json", exclude={"settings"})
    made_of = Facts([*facts, *worded_facts(about, say), *worded_facts(document.metadata.settings, say)])
    yield Section("settings", say("Settings and provenance"), [made_of], folded=True)
    yield Section("files", "", [Facts([(kind, str(path)) for kind, path in paths.items()], depth=Depth.BRIEF)])
