"""What a reader of a search's number must know besides it, in the reader's language."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from pytest_llmbench.autotune.document import Finding, TrialEntry
from pytest_llmbench.core.locale import NN_, Words

_FEW = 0.02
_COUNTED = {
    "users": NN_("{count} user", "{count} users"),
    "requests/s": NN_("{count} request/s", "{count} requests/s"),
    "messages": NN_("{count} message", "{count} messages"),
    "tokens": NN_("{count} token", "{count} tokens"),
}


def finding_notes(made: Finding, say: Words) -> Iterator[str]:
    """The notes of a finding, from its other keys."""
    valid = made.valid_trials
    if not made.held:
        yield from _why_nothing(made, valid, say)
    elif failed := _errors(trial for trial in valid if trial.level > made.value):
        bad = sum(trial.total - trial.good for trial in valid if trial.level > made.value)
        if sum(failed.values()) > bad / 2:
            most = failed.most_common(1)[0][0]
            yield say("above it answers fail rather than come late, most often with {error}", error=most)
    if invalid := len(made.trials) - len(valid):
        yield say("{count} of {all} trials were invalid and count for nothing", count=invalid, all=len(made.trials))
    yield from _about_the_fit(made, say)
    yield from _about_the_end(made, say)
    yield from _about_lengths(made, say)
    if made.too_short_s is not None:
        yield say(
            "trials lasted {seconds} s at most: a queue that grows more slowly is not seen, and the true rate may be "
            "lower; more load.budget makes them longer",
            seconds=f"{made.too_short_s:.0f}",
        )
    if any(trial.tokens_counted for trial in valid):
        yield say("the server sends no usage: tokens are counted by stream events")


def _why_nothing(made: Finding, valid: Sequence[TrialEntry], say: Words) -> Iterator[str]:
    """Why not even the lowest level keeps the promise."""
    lowest = [trial for trial in valid if trial.level == min(one.level for one in valid)]
    failed = _errors(lowest)
    total, good = sum(trial.total for trial in lowest), sum(trial.good for trial in lowest)
    level = _counted(lowest[0].level, made, say) if lowest else ""
    where = say("at {level}, the least that was tried, ", level=level) if lowest else ""
    if sum(failed.values()) > (total - good) / 2:
        most, count = failed.most_common(1)[0]
        yield say(
            "nothing is held because answers fail, not because they are slow: {where}{count} of {total} with {error}",
            where=where,
            count=count,
            total=total,
            error=most,
        )
    else:
        yield say(
            "nothing is held: {where}{good} of {total} answers came within {limit_s} s",
            where=where,
            good=good,
            total=total,
            limit_s=say.tick(made.slo.limit_s),
        )


def _about_the_fit(made: Finding, say: Words) -> Iterator[str]:
    if odd := made.contradiction:
        yield say(
            "trials contradict each other: {good} of {total} answers kept the promise in one at {level}, {others_good} "
            "of {others_total} in the others up to {others_level}; something disturbed it: search again when nothing "
            "else is at work",
            good=odd.good,
            total=odd.total,
            level=_counted(odd.level, made, say),
            others_good=odd.others_good,
            others_total=odd.others_total,
            others_level=_counted(odd.others_up_to, made, say),
        )
    if made.any_fall:
        yield say("the answers do not speak for the fitted curve: the interval is what any falling curve allows")


def _about_the_end(made: Finding, say: Words) -> Iterator[str]:
    """Where a search ended before it was sure, and by what."""
    tried = made.highest_tried
    if made.unbounded and not made.decided and tried is not None and tried < made.highest:
        level = _counted(tried, made, say)
        if made.ended_by == "time":
            yield say("load.time_limit ended the search at {level}: nothing above was tried", level=level)
        else:
            yield say("the budget ended the search at {level}: nothing above was tried", level=level)
    if not made.decided and not made.contradiction:
        if made.ended_by == "time":
            yield say("not decided after {count} requests; a longer load.time_limit narrows it down", count=made.sent)
        else:
            yield say("not decided after {count} requests; more load.budget narrows it down", count=made.sent)


def _about_lengths(made: Finding, say: Words) -> Iterator[str]:
    cut = made.cut_off
    if cut is None or not cut:
        return
    longest = cut[-1]
    if longest.share <= _FEW:
        yield say(
            "answers hardly ever reach {complete} tokens ({share} are cut off at {longest}): longer limits change "
            "nothing",
            complete=say.tick(next(one.level for one in cut if one.share <= _FEW)),
            share=say("{value}%", value=f"{longest.share * 100:.0f}"),
            longest=say.tick(longest.level),
        )


def _counted(level: float, made: Finding, say: Words) -> str:
    """`1 user`, `2 users`, `1.5 requests/s`."""
    return say.plural(*_COUNTED[made.unit], level, count=say.marked(f"{level:.4g}"))


def _errors(trials: Iterable[TrialEntry]) -> Counter[str]:
    failed: Counter[str] = Counter()
    for trial in trials:
        failed.update(trial.errors)
    return failed
