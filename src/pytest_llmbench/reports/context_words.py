"""What a context run found, in sentences: the answer first, why each limit is where it is, and what was noticed."""

from __future__ import annotations

import string
from collections.abc import Mapping
from typing import TYPE_CHECKING

from pytest_llmbench.autotune.document import Promise
from pytest_llmbench.core.locale import N_, UNSCORED
from pytest_llmbench.core.text_cells import shorten_middle
from pytest_llmbench.reports.serving.words import ServingWords, slo_text

if TYPE_CHECKING:
    from pytest_llmbench.runs.context_document import (
        ContextTarget,
        CountingMethod,
        FindingDocument,
        LimitDocument,
        LimitName,
        LongestContext,
        NumberWithInterval,
        ProbeKind,
        RefusalCode,
        Value,
    )

LIMIT_TITLES: Mapping[LimitName, str] = {
    "accepted": N_("Accepted"),
    "in_time": N_("In time"),
    "right": N_("Facts still found"),
}
KIND_TITLES: Mapping[ProbeKind, str] = {
    "one": N_("One fact"),
    "several": N_("Several facts"),
    "distractors": N_("Among look-alikes"),
}
REFUSALS: Mapping[RefusalCode, str] = {
    "context_exceeded": N_("context exceeded"),
    "out_of_memory": N_("out of memory"),
    "server_gone": N_("server gone"),
    "timeout": N_("time-out"),
    "http": N_("refused"),
}
COUNTING: Mapping[CountingMethod, str] = {
    "tokenize": N_("by the server itself (/tokenize)"),
    "apply_template": N_("by the server itself, chat template included (/apply-template)"),
    "tokenizer": N_("with the model's tokenizer"),
    "calibrated": N_("calibrated against what the server says it read (usage)"),
}
_BOUND: Mapping[str, str] = {
    "accepted": N_("what binds is how much it accepts"),
    "in_time": N_("what binds is the time it takes"),
    "right": N_("what binds is what it still finds"),
}
_REASONS: Mapping[tuple[str, str], str] = {
    ("accepted", "never"): N_("not even a prompt of {length} tokens is accepted"),
    ("in_time", "never"): N_("even the shortest prompt takes {seconds}; {promised_s} are promised"),
    ("right", "never"): N_("even in {length} tokens only {share} of the facts are found"),
    ("", "end_of_range"): N_("the longest prompt that was asked for was still fine"),
    ("", "not_accepted"): N_("it ends where no longer prompt is accepted"),
    ("", "refused"): N_("a prompt of {length} tokens is refused"),
    ("", "cut"): N_("of a prompt of {length} tokens only {usage_tokens} are read"),
    ("", "late"): N_("beyond it answers are late: they take about {seconds} here, and {promised_s} are promised"),
    ("", "fewer_found"): N_(
        "at {length} tokens {share} of the facts are found, at the shortest length {share_at_shortest} (p {p_value})"
    ),
    ("", "stopped"): N_("the search ended before it was settled"),
}
_TIMED_OUT: Mapping[str, str] = {
    "never": N_("{share_timed_out} of the prompts timed out, even among the shortest; {promised_s} are promised"),
    "late": N_("beyond it too many answers are late: {share_timed_out} timed out, and {promised_s} are promised"),
}
FINDINGS: Mapping[str, str] = {
    "silent_truncation": N_(
        "Prompts are cut without a word: of {length} tokens that were sent, {usage_tokens} were read. What stood in "
        "the rest is lost, and nothing in the answer says so."
    ),
    "context_shift": N_(
        "The context is shifted: after a prompt of {prompt_tokens} tokens the server wrote {answer_tokens}, which is "
        "more than its {context} have room for, and forgot the oldest ones."
    ),
    "prefix_cache_seen": N_(
        "The server remembers prompts: the same one of {length} tokens took {first_s}, then {again_s}. Each prompt of "
        "this test begins in its own way, so that no time here is from memory."
    ),
    "unified_pool_exceeded": N_(
        "All slots share one pool: two prompts at once, {together} tokens together, did not both get an answer, though "
        "each of {slots} slots is announced with {announced} tokens."
    ),
    "announced_differs": N_("The server announces {announced} tokens, and accepts prompts of {accepted}."),
    "count_differs": N_(
        "The count before sending and the server's own (usage) differ by up to {most_off} tokens: limits are as exact "
        "as that."
    ),
    "no_usage": N_("The server does not say how many tokens it read (usage): a prompt that it cut would not be seen."),
    "server_died": N_("The server went away at a prompt of {tokens} tokens."),
    "out_of_memory": N_("The server ran out of memory at a prompt of {tokens} tokens."),
    "weak_at_shortest": N_(
        "Even in the shortest prompts, of {length} tokens, only {share} of the facts are found: the model is too weak "
        "for these questions at every length that was tried."
    ),
    "time_over": N_(
        "The time limit of {seconds} ended the test before all questions were asked: raise context.time_limit, or "
        "resume."
    ),
    "answers_cut": N_(
        "{share} of the answers ended at their token limit, and may lack facts for that alone: raise "
        "context.answer_tokens."
    ),
}
_TIMES = ("_s", "seconds")
_NAME_CELLS = 60


def tokens(count: float, say: ServingWords) -> str:
    """`1 token`, `8,191 tokens`."""
    return say.plural("{count} token", "{count} tokens", count, count=say.count(round(count)))


def how_sure(found: LimitDocument | LongestContext, say: ServingWords) -> str:
    """How sure a limit is: `exact`, `95 % interval 5,900 to 6,300`, or where its interval begins if no end was seen."""
    if found.high is None:
        if found.low == found.tokens:
            return say("at least; no end was seen")
        return say("95 % interval from {low} on", low=say.count(found.low))
    if found.low == found.high:
        return say("exact")
    return say("95 % interval {low} to {high}", low=say.count(found.low), high=say.count(found.high))


def answer_sentence(target: ContextTarget, say: ServingWords) -> str:
    """The answer: how long, how sure, and which limit binds."""
    answer, name = target.answer, shorten_middle(target.name, _NAME_CELLS, "...")
    if answer is None:
        return say("Nothing was measured of {name}.", name=name)
    if not answer.tokens:
        return say(
            "No length was found at which {name} answers in time and finds what is in the context: {why}.",
            name=name,
            why=limit_reason(answer.bound_by or "accepted", _binding(target), say),
        )
    told = {"tokens": tokens(answer.tokens, say), "interval": how_sure(answer, say), "name": name}
    if missing := LIMIT_TITLES.keys() - dict(target.limits.sought()):
        return say(
            "{tokens} ({interval}) is the longest context of {name} as far as it was measured. Not measured: "
            "{missing}.",
            missing=", ".join(say(title) for limit, title in LIMIT_TITLES.items() if limit in missing),
            **told,
        )
    if answer.bound_by is None:
        return say(
            "{tokens} ({interval}) is the longest context that was asked for, and {name} still answers in time and "
            "still finds what is in it: no limit was reached.",
            **told,
        )
    sentence = say(
        "{tokens} ({interval}) is the longest context at which {name} still answers in time and still finds what is in "
        "it: {bound}.",
        bound=say(_BOUND[answer.bound_by]),
        **told,
    )
    if answer.decided:
        return sentence
    return say("{sentence} This is not settled yet: more prompts would narrow the interval.", sentence=sentence)


def _binding(target: ContextTarget) -> LimitDocument:
    return min((limit for _, limit in target.limits.sought()), key=lambda limit: limit.tokens)


def promise_text(target: ContextTarget, say: ServingWords) -> str:
    """`95 % of first tokens under 2.0 s`."""
    promise = target.promise
    return slo_text(Promise(latency=promise.latency, quantile=promise.quantile, limit_s=promise.latency_s), say)


def limit_reason(name: LimitName, limit: LimitDocument, say: ServingWords) -> str:
    """Why a limit is where it is."""
    code = limit.reason.code
    text = _REASONS.get((name, code)) or _REASONS["", code]
    if "share_timed_out" in limit.reason.values:
        text = _TIMED_OUT[code]
    told = _said(text, limit.reason.values, say)
    if code != "refused" or limit.reason.values.get("code") not in REFUSALS:
        return told
    status = limit.reason.values.get("status")
    kind = say(REFUSALS[limit.reason.values["code"]])  # type: ignore[index]  # it is one of them
    return f"{told} ({kind}, HTTP {status})" if status else f"{told} ({kind})"


def finding_sentence(finding: FindingDocument, say: ServingWords) -> str:
    """Something about the server that its limits do not show."""
    return _said(FINDINGS[finding.code], finding.values, say)


def _said(text: str, values: Mapping[str, Value], say: ServingWords) -> str:
    """The sentence; what an older document lacks is a dash."""
    names = [name for _, name, _, _ in string.Formatter().parse(text) if name]
    return say(text, **{name: _value(name, values.get(name), say) for name in names})


def _value(name: str, value: Value, say: ServingWords) -> str:
    match value:
        case None:
            return UNSCORED
        case _ if name == "p_value" and isinstance(value, float):
            return f"< {say.number(0.001)}" if value < 0.001 else f"= {say.number(value)}"  # noqa: PLR2004
        case float() | int() if "share" in name:
            return say.share(float(value))
        case float() | int() if name.endswith(_TIMES):
            return say.seconds(float(value))
        case int():
            return say.count(value)
    return str(value)


def estimate(one: NumberWithInterval, say: ServingWords, factor: float = 1.0) -> str:
    """Seconds with their interval: `0.10 s (0.09 s to 0.11 s)`."""
    value, low, high = (say.seconds(end * factor) for end in (one.value, one.low, one.high))
    return say("{value} ({low} to {high})", value=value, low=low, high=high)
