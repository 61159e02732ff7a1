"""The answers in sentences: how many, how sure, under which promise, and what that rests on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pytest_llmbench.autotune.document import (
    Asked,
    Finding,
    GridMean,
    QuestionName,
    TargetLimits,
    TemperatureGrid,
    TrialContradiction,
)
from pytest_llmbench.autotune.finding_notes import finding_notes
from pytest_llmbench.autotune.temperature_grid import why_recommended
from pytest_llmbench.core.locale import N_, NN_, UNSCORED
from pytest_llmbench.reports.serving.words import QUESTIONS, ServingWords, slo_text

_HELD = NN_("{value} (95 % sure: {interval}) keeps {slo}", "{value} (95 % sure: {interval}) keep {slo}")
_CAPPED = NN_("{value} or more keeps {slo}; no more was tried", "{value} or more keep {slo}; no more were tried")
_UNSURE = NN_(
    "{value} or more (95 % sure: {interval}) keeps {slo}; no more was tried",
    "{value} or more (95 % sure: {interval}) keep {slo}; no more were tried",
)
_NOT_HELD = NN_(
    "Not even {value} keeps {slo} (95 % sure: {interval})", "Not even {value} keep {slo} (95 % sure: {interval})"
)
_LEFT_OPEN = NN_(
    "{count} stream was left open after its answer had ended; that end is what was timed.",
    "{count} streams were left open after their answer had ended; its end is what was timed.",
)
_RESUMED = NN_(
    "{count} of these trials is from an earlier session that was resumed.",
    "{count} of these trials are from an earlier session that was resumed.",
)
_ARRIVALS = {
    "staggered": N_("arrivals spread over a cycle"),
    "burst": N_("everyone at once"),
    "poisson": N_("arrivals at random (Poisson)"),
}


def main_question(target: TargetLimits) -> QuestionName | None:
    """The question whose answer comes first; None where no search was made."""
    return next((name for name in QUESTIONS if name in target.findings), None)


def main_finding(target: TargetLimits) -> Finding | None:
    """Its finding."""
    name = main_question(target)
    return None if name is None else target.findings[name]


def other_findings(target: TargetLimits) -> list[Finding]:
    """All findings but the main one."""
    main = main_question(target)
    return [finding for name, finding in target.findings.items() if name != main]


def answer(finding: Finding, say: ServingWords) -> str:
    """`8 users (95 % sure: 7 to 9) keep 95 % of answers below 3 s`; `8 users or more ...` where no more was tried."""
    forms, value = _HELD, finding.value
    if not finding.held:
        forms, value = _NOT_HELD, _lowest(finding)
    elif finding.capped:
        forms = _UNSURE if finding.unbounded and finding.low < value else _CAPPED
    sentence = say.plural(
        *forms,
        value,
        value=say.amount(finding.question, value),
        interval=interval(finding, say),
        slo=slo_text(finding.slo, say),
    )
    if finding.users_held is None:
        return sentence
    return say("{answer}, {held}", answer=sentence, held=say.at("users", finding.users_held))


def _lowest(finding: Finding) -> float:
    return min((float(trial.level) for trial in finding.trials), default=1.0)


def interval(finding: Finding, say: ServingWords) -> str:
    """`7 to 9`, or `7 or more` where it goes on beyond what was tried."""
    low = say.plain(finding.low)
    if finding.unbounded:
        return say("{low} or more", low=low)
    return say("{low} to {high}", low=low, high=say.plain(finding.high))


def value_text(finding: Finding, say: ServingWords) -> str:
    """The value alone, with its unit; a plus where it may be more."""
    return say.amount(finding.question, finding.value, more=bool(finding.capped and finding.held))


def number_text(finding: Finding, say: ServingWords) -> str:
    """The value as a bare number; a plus where it may be more."""
    return say.plain(finding.value) + ("+" if finding.capped and finding.held else "")


def remarks(finding: Finding, say: ServingWords, required: int | None = None) -> Iterator[str]:
    """What must be known beside the answer."""
    if finding.slo.is_strict:
        yield say("Under this promise a whole trial passes or fails: the limit is where half of all trials pass.")
    if odd := finding.contradiction:
        yield say(
            "Not decided: trials contradict each other. In one at {level}, {good} of {total} answers kept the "
            "promise, in the others up to {others_up_to} {others_good} of {others_total}. Something disturbed "
            "the server or the way to it meanwhile: search again when nothing else is at work.",
            **_odd(odd, finding, say),
        )
    elif not finding.decided:
        yield _undecided(finding, say)
    if finding.any_fall:
        yield say(
            "The answers do not speak for the fitted curve, as where the share stays close to the promise over "
            "many levels: the value and its interval are what any falling curve allows."
        )
    if required is not None and finding.question == "users":
        yield from _required(finding, say, required)
    if finding.cut_off_at_value is not None:
        share = say.share(finding.cut_off_at_value)
        yield say(
            "{share} of the answers end at the limit of {count} tokens.", share=share, count=say.plain(finding.value)
        )
    if left_open := sum(trial.left_open for trial in finding.trials):
        yield say.plural(*_LEFT_OPEN, left_open, count=say.count(left_open))
    if finding.asked_nobody and finding.tested_at:
        yield say(
            "The search was finished on {moment}: nothing was asked this time, and the trials are those of then.",
            moment=say.moment(finding.tested_at),
        )
    elif finding.resumed_trials:
        yield say.plural(*_RESUMED, finding.resumed_trials, count=say.count(finding.resumed_trials))
    yield from _from_machines(finding, say)
    yield from _stood_still(finding, say)


def _undecided(finding: Finding, say: ServingWords) -> str:
    """By what a search ended before it was sure."""
    sent = say.requests(finding.sent)
    if finding.ended_by == "time":
        return say(
            "Not decided: load.time_limit ended the search after {sent}, before the estimate was sure. A longer one "
            "narrows it.",
            sent=sent,
        )
    return say(
        "Not decided: {sent} were spent before the estimate was sure. A larger load.budget narrows it.", sent=sent
    )


def _odd(odd: TrialContradiction, finding: Finding, say: ServingWords) -> dict[str, str]:
    """The numbers of trials that contradict each other."""
    counts = {name: say.count(odd[name]) for name in ("good", "total", "others_good", "others_total")}
    ends = {name: say.amount(finding.question, odd[name]) for name in ("level", "others_up_to")}
    return counts | ends


def _required(finding: Finding, say: ServingWords, required: int) -> Iterator[str]:
    tried, chance, amount = finding.highest_tried, finding.chance_required, say.amount
    if chance is not None:
        yield say(
            "Required: {required}. They are held with a probability of {chance}.",
            required=amount("users", required),
            chance=say.share(chance),
        )
    elif tried is not None and tried < required:
        yield say(
            "Required: {required}. No more than {tried} were tried, so whether they are held is not known.",
            required=amount("users", required),
            tried=amount("users", tried),
        )


def _stood_still(finding: Finding, say: ServingWords) -> Iterator[str]:
    """Of trials that are invalid because the load generator was not there for a while."""
    paused = [trial for trial in finding.trials if trial.code == "client_stood_still"]
    if paused:
        yield say(
            "{count} of {all} do not count: the load generator itself stood still for up to {longest} (a "
            "paused machine or container, no free CPU), so that answers were not seen when they came. Such "
            "trials are repeated.",
            count=say.count(len(paused)),
            all=say.trials(len(finding.trials)),
            longest=say.seconds(max(trial.standstill_s or 0.0 for trial in paused)),
        )


def _from_machines(finding: Finding, say: ServingWords) -> Iterator[str]:
    """Of load that came from several machines, whose clocks are not one."""
    compared = [trial.clocks for trial in finding.trials if trial.clocks]
    if compared:
        yield say(
            "Load came through Ray (machines: {machines}). Their clocks differed by up to {skew} from this one's, "
            "compared to within {error} before each trial; a latency is measured by one clock alone.",
            machines=say.count(max(one.machines for one in compared)),
            skew=say.seconds(max(one.skew_s for one in compared)),
            error=say.seconds(max(one.error_s for one in compared)),
        )


def noted(finding: Finding, say: ServingWords) -> list[str]:
    """What was noted during the search; as it was written where an older document does not hold all it rests on."""
    return list(finding_notes(finding, say)) if "too_short_s" in finding.model_fields_set else list(finding.notes)


def habits(finding: Finding, say: ServingWords) -> str:
    """How the simulated people behave: capacity differs a lot with it. What the question raises is no habit."""
    own = finding.habits
    arrivals = say(_ARRIVALS[own.arrivals])
    if own.arrivals == "poisson":
        return say("{arrivals}, each with a single message", arrivals=arrivals)
    talk = {"messages": say.count(own.messages), "cooldown": say.limit(own.cooldown_s)}
    if finding.question == "history":
        return say(
            "{arrivals}, {messages} messages a conversation, {cooldown} between messages", arrivals=arrivals, **talk
        )
    return say(
        "{arrivals}, {messages} messages a conversation, history of {history}, {cooldown} between messages",
        arrivals=arrivals,
        history=say.count(own.history),
        **talk,
    )


def cost(finding: Finding, say: ServingWords) -> str:
    """`14 trials, 950 requests, 321 s`."""
    return say(
        "{trials}, {requests}, {duration}",
        trials=say.trials(len(finding.trials)),
        requests=say.requests(finding.sent),
        duration=say.seconds(finding.duration_s),
    )


def setting(finding: Finding, say: ServingWords) -> str:
    """The habits, and what the search cost."""
    return say("{habits}; {cost}", habits=habits(finding, say), cost=cost(finding, say))


def temperature_answer(grid: TemperatureGrid, say: ServingWords) -> str:
    """Which temperature stands out, and why."""
    if grid.ignored:
        return say(
            "Temperature: every answer is the same at every temperature, so none is better. The server ignores "
            "it (its model's own generation settings may not sample), or answers from a cache."
        )
    if grid.best is None:
        return say("Temperature: none stands out. {reason}", reason=grid.reason).rstrip()
    why = grid.reason if grid.in_use is None else why_recommended(grid.points, grid.in_use, grid.best, say)
    return say("Temperature {value}: {reason}", value=say.plain(grid.best), reason=why)


def score_text(score: GridMean | None, say: ServingWords) -> str:
    """A mean with its interval."""
    if score is None or score.mean is None:
        return UNSCORED
    if score.low is None or score.high is None:
        return say.number(score.mean)
    ends = say("{low} to {high}", low=say.number(score.low), high=say.number(score.high))
    return f"{say.number(score.mean)} ({ends})"


def finding_outcome(row: Asked, finding: Finding) -> str:
    """good, late, or failed before the limit was over."""
    if row.good:
        return "good"
    first = finding.slo.latency == "first_token" and row.first_s is not None
    return "late" if (row.wait_s if first else row.ended_s - row.started_s) > finding.slo.limit_s else "failed"


def trial_errors(findings: Sequence[Finding]) -> dict[str, int]:
    """All errors of these searches, the most frequent first."""
    counts: dict[str, int] = {}
    for finding in findings:
        for trial in finding.trials:
            for error, count in trial.errors.items():
                counts[error] = counts.get(error, 0) + count
    return dict(sorted(counts.items(), key=lambda item: -item[1]))
