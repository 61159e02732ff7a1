"""A tuning as sections: whether the winner beats the baseline, the settings to run, and every server that was tried."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from pytest_llmbench.context.tuning.document import (
    Outcome,
    RoundDocument,
    TrialOutcome,
    TuningDocument,
    TuningTrial,
    UsersDocument,
    Value,
)
from pytest_llmbench.core.locale import N_, UNSCORED, Words, words
from pytest_llmbench.reports.blocks import (
    Cell,
    Chart,
    Column,
    Depth,
    Fact,
    Facts,
    Name,
    Number,
    Report,
    Section,
    Sentences,
    Table,
    Verdict,
    Verdicts,
)
from pytest_llmbench.runs.context_document import NumberWithInterval

TRIAL_OUTCOMES: Mapping[TrialOutcome, str] = {
    "measured": N_("measured"),
    "surely_worse": N_("surely worse, ended early"),
    "wrong_answers": N_("answers wrong"),
    "short_context": N_("holds too short a context"),
    "not_started": N_("did not start"),
    "died": N_("died"),
    "failed": N_("not measured"),
}
_SIGNS: Mapping[Outcome, Verdicts] = {
    "better": "pass",
    "no_better": "inconclusive",
    "not_told_apart": "inconclusive",
    "baseline_best": "inconclusive",
    "unconfirmed": "none",
}


def tuning_report(
    document: TuningDocument,
    language: str,
    *,
    draw: Callable[[Path], object] | None = None,
    figure: str | None = None,
    paths: Mapping[str, Path] | None = None,
) -> Report:
    """A tuning's document. `draw` writes its figure, which stands beside the report as the file `figure`.

    Raises:
        UsageError: the language is unknown.
    """
    say = words(language)
    return Report(say("LAUNCH SETTINGS"), language, list(_sections(document, say, draw, figure, paths or {})))


def _sections(
    document: TuningDocument,
    say: Words,
    draw: Callable[[Path], object] | None,
    figure: str | None,
    paths: Mapping[str, Path],
) -> Iterator[Section]:
    yield Section(
        "answer",
        say("Answer"),
        [
            Verdict(_SIGNS[document.outcome], sentence(document, say), depth=Depth.BRIEF),
            *([Sentences([_cut_short(document, say)], listed=False, depth=Depth.BRIEF)] if document.cut_short else ()),
            Sentences([_promise(document, say)], listed=False),
        ],
    )
    yield Section("settings", say("Settings to run"), [Facts(list(_advised(document, say)), depth=Depth.BRIEF)])
    chart = [Chart(say("Users held, trial by trial"), draw, figure)] if draw else []
    yield Section("trials", say("Trials"), [_trials(document, say), *chart, *_reasons(document, say)])
    if document.rounds:
        yield Section("rounds", say("Measured again, in turns"), [_rounds(document.rounds, say)])
    yield Section("files", "", [Facts([(kind, str(path)) for kind, path in paths.items()], depth=Depth.BRIEF)])


def sentence(document: TuningDocument, say: Words) -> str:
    """The verdict in one sentence."""
    return _compared(document, document.ratio, say) if document.ratio else _not_compared(document, say)


def _not_compared(document: TuningDocument, say: Words) -> str:
    """Where there is no factor: why, and what that means."""
    if document.outcome == "baseline_best" and document.cut_short:
        return say("None of the settings that were tried so far seem to hold more users than the baseline.")
    if document.outcome == "baseline_best":
        return say("No settings seemed to hold more users than the baseline; keep it.")
    if document.outcome == "not_told_apart":
        return say(
            "Not told apart: searches ended before it was seen how many users are held at most. Keep the baseline, or "
            "raise tune.trial_time, tune.budget or load.max_users and tune again."
        )
    return say(
        "The settings of trial {number} seem to hold most users, but were not compared with the baseline again.",
        number=document.winner,
    )


def _compared(document: TuningDocument, ratio: NumberWithInterval, say: Words) -> str:
    """By which factor the winner holds more users than the baseline."""
    values = {"factor": say.number(ratio.value), "low": say.number(ratio.low), "high": say.number(ratio.high)}
    if document.outcome == "better" and document.at_least:
        return say(
            "The winner holds at least {factor} times the users of the baseline (95 % interval from {low}): its "
            "searches ended before it was seen how many it holds at most.",
            **values,
        )
    if document.outcome == "better":
        return say(
            "The winner holds {factor} times the users of the baseline (95 % interval {low} to {high}).", **values
        )
    return say(
        "The winner is no better than the baseline, as far as was measured: it holds {factor} times its users "
        "(95 % interval {low} to {high}). Keep the baseline, or measure more rounds.",
        **values,
    )


def _cut_short(document: TuningDocument, say: Words) -> str:
    trials = say.plural("{count} trial", "{count} trials", len(document.trials))
    rounds = say.plural("{count} round", "{count} rounds", len(document.rounds))
    return say(
        "Cut short: this is what was known after {trials} and {rounds} of confirmation. Resuming goes on from here.",
        trials=trials,
        rounds=rounds,
    )


def _value_text(value: Value, say: Words) -> str:
    """A setting's value as a reader knows it."""
    match value:
        case None:
            return say("the server's own")
        case bool():
            return say("on") if value else say("off")
    return str(value)


def _promise(document: TuningDocument, say: Words) -> str:
    promise = document.promise
    measured = {
        "total": N_("whole answers"),
        "first_token": N_("first tokens"),
    }[promise.latency]
    return say(
        "Promise: {share} % of {what} within {seconds} s, at {context} tokens a request.",
        share=say.marked(f"{100 * promise.quantile:g}"),
        what=say(measured),
        seconds=say.number(promise.latency_s),
        context=say.count(document.context),
    )


def _advised(document: TuningDocument, say: Words) -> Iterator[Fact]:
    advised, baseline = document.advised, document.trial(document.baseline)
    for name, value in advised.settings.items():
        shown, before = _value_text(value, say), baseline.settings[name]
        if before != value:
            shown = say("{value} (baseline: {before})", value=shown, before=_value_text(before, say))
        yield name, shown
    yield say("as a command"), advised.command


def _trials(document: TuningDocument, say: Words) -> Table:
    names = [one.name for one in document.parameters]
    columns = [
        Column("#"),
        *(Column(name) for name in names),
        Column(say("Users")),
        Column(say("95 % interval")),
        Column(say("Outcome"), left=True),
    ]
    return Table(columns, [_row(document, trial, names, say) for trial in document.trials])


def _row(document: TuningDocument, trial: TuningTrial, names: list[str], say: Words) -> list[Cell]:
    outcome = say(TRIAL_OUTCOMES[trial.outcome])
    marks = {document.baseline: say("baseline"), document.winner: say("winner")}
    if mark := marks.get(trial.number):
        outcome = f"{outcome}, {mark}"
    held = trial.held
    return [
        Number(trial.number),
        *(_value_text(trial.settings[name], say) for name in names),
        UNSCORED if held is None else _users(held, say),
        UNSCORED if held is None else _ends(held, say),
        outcome,
    ]


def _users(held: UsersDocument, say: Words) -> str:
    return say("{low} or more", low=held.users) if held.more else f"{held.users}"


def _ends(held: UsersDocument, say: Words) -> str:
    """Of the interval: where more may be held, nothing shows its upper end."""
    return say("{low} or more", low=held.low) if held.more else say("{low} to {high}", low=held.low, high=held.high)


def _reasons(document: TuningDocument, say: Words) -> Iterator[Sentences]:
    """Why settings could not be run, in the servers' own words."""
    told = [
        say("Trial {number}: {reason}", number=trial.number, reason=trial.reason)
        for trial in document.trials
        if trial.reason
    ]
    if told:
        yield Sentences(told, depth=Depth.FULL)


def _rounds(rounds: tuple[RoundDocument, ...], say: Words) -> Table:
    columns = [
        Column("#"),
        Column(say("Baseline")),
        Column(say("Winner")),
        Column(say.in_context("round", "First"), left=True),
    ]
    rows: list[list[Cell]] = [
        [
            Number(number),
            _interval(made.baseline, say),
            _interval(made.winner, say),
            Name(say("winner") if made.winner_first else say("baseline")),
        ]
        for number, made in enumerate(rounds, start=1)
    ]
    return Table(columns, rows)


def _interval(held: UsersDocument, say: Words) -> str:
    return say("{users} ({interval})", users=_users(held, say), interval=_ends(held, say))
