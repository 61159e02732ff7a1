"""The explanation of a limit in words, with the numbers it rests on."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_llmbench.autotune.diagnosis.explanation import diagnose
from pytest_llmbench.autotune.document import Explanation, Finding, LimitEvidence
from pytest_llmbench.core.locale import N_, UNSCORED
from pytest_llmbench.reports.serving.words import ServingWords, serving_words

_WHY = {
    "slots": N_(
        "Answers are late because they wait for a free slot: the server writes {slots} at a time, the others queue."
    ),
    "slots_uncounted": N_(
        "Answers are late because they wait in the server's queue: up to {waiting} requests stood in line."
    ),
    "kv_cache": N_(
        "Answers are late because the memory for running conversations (KV cache) is full: {running_max} run,"
        " up to {waiting} wait for room."
    ),
    "prefill": N_(
        "Answers are late because the server is busy reading prompts (prefill), and first tokens wait for that."
    ),
    "prefill_pauses": N_(
        "Answers are late because the server stops writing while it reads other people's prompts (prefill): "
        "tokens pause in mid-answer."
    ),
    "history": N_(
        "Answers are late because a longer history is a longer prompt to read (prefill) before the first token."
    ),
    "decode": N_(
        "Answers are late because all running answers share the decoding rate: each token takes {slower} times as long."
    ),
    "alone": N_(
        "Load is not what makes answers late: most late ones would be late on an idle server too, which takes"
        " {latency_low_s} for a typical answer {at_low}."
    ),
    "length": N_(
        "The length of the answers sets the limit: a token takes {token_low_s}, so longer answers do not fit "
        "into {limit} even without more load."
    ),
    "stalls": N_(
        "Load is not what makes answers late: {stray_share} of them are late far below the limit too. "
        "Something stalls the server now and then."
    ),
    "errors": N_(
        "The server refuses or fails requests: {failed} of the {bad} bad answers {at_high} are errors, most "
        'often "{error}" ({error_count}).'
    ),
    "client": N_(
        "The load generator was the bottleneck {at_high} (CPU {cpu} of a core, its own delay {lag}), so the "
        "server's limit is not known beyond {value}."
    ),
    "not_reached": N_("The limit was not reached: {highest}, the most that was allowed, still keep the promise."),
    "nothing_above": N_("No trial above {value} was made that failed the promise, so nothing tells what would."),
    "not_streamed": N_(
        "Answers were not streamed, so the time before the first token and the time to write cannot be told apart."
    ),
    "unknown": N_(
        "Answers are late {at_high}, and the measured split does not tell why: neither a queue, nor reading "
        "prompts, nor slower tokens stand out."
    ),
}
_TRY = {
    "slots": N_("More parallel slots (llama.cpp: --parallel, vLLM: --max-num-seqs), if memory allows."),
    "fewer_tokens": N_("Shorter answers: a lower max_tokens, or a system prompt that asks for brevity."),
    "faster": N_(
        "A faster server: a GPU or a larger one, a second replica behind a load balancer, or a smaller model."
    ),
    "longer_limit": N_(
        "A longer limit than {limit}, if people accept it; or a limit on the first token when answers stream."
    ),
    "cache_memory": N_(
        "More memory for the KV cache: a higher --gpu-memory-utilization, a quantized cache (--kv-cache-dtype"
        " fp8), a smaller model."
    ),
    "shorter_context": N_("A shorter history or system prompt, so that each conversation takes less memory."),
    "prefix_cache": N_(
        "Prefix caching, so that a conversation's earlier messages are not read again (vLLM: "
        "--enable-prefix-caching, llama.cpp: cache_prompt and one slot a user)."
    ),
    "shorter_history": N_("A shorter history or system prompt: less to read for each answer."),
    "chunked_prefill": N_(
        "Chunked prefill (vLLM: --enable-chunked-prefill), so that reading does not stop the writing."
    ),
    "quantize": N_("A quantized model (4 or 8 bits), or speculative decoding: faster tokens."),
    "cap_users": N_("Admit at most {value} at a time, and let the others wait before they are let in."),
    "cap_tokens": N_("Set max_tokens to at most {value}, and look at the share of answers that this cuts off."),
    "cap_history": N_("Send at most {value}, or a summary of what is older."),
    "look_for_stalls": N_(
        "Look for what stalls the server: swapping, model reloads, garbage collection, other programs."
    ),
    "quantile_not_strict": N_("A promise with room for stray stalls: a lower load.quantile."),
    "read_errors": N_("Read the server's log at the time of these errors."),
    "server_limits": N_("Raise the server's own limits: rate limits, queue length, timeouts, open connections."),
    "retry_after": N_(
        "If refusals are intended, let clients wait and ask again: then capacity is the level below them."
    ),
    "more_processes": N_("More client processes: load.processes."),
    "other_machine": N_("Run the load generator on another machine, or on one that is free."),
    "raise_highest": N_("Allow more than {highest} to find the limit."),
    "tighter_limit": N_("Or ask for more: a tighter limit than {limit}."),
    "scrape": N_(
        "Let the server show its queue (llama.cpp: --metrics) with load.scrape on: that tells a queue from prefill."
    ),
    "stream": N_("Stream the answers (server.stream): then the split is measured."),
    "more_budget": N_("More requests for the search: load.budget."),
}


_TIMES = ("first_token_s", "first_token_low_s", "late_first_token_s", "gap_s", "gap_low_s", "gap_p99_s")
_FULL = 0.85  # of its speed alone: more slots at once then bring little
_MOST = 0.5
_ADVICE = {
    "slots": ("slots", "fewer_tokens", "faster", "longer_limit"),
    "kv_cache": ("cache_memory", "shorter_context", "fewer_tokens", "longer_limit"),
    "prefill": ("prefix_cache", "shorter_history", "chunked_prefill", "faster"),
    "decode": ("fewer_tokens", "quantize", "faster", "cap_users"),
    "alone": ("fewer_tokens", "quantize", "longer_limit", "faster"),
    "length": ("cap_tokens", "quantize", "longer_limit", "faster"),
    "stalls": ("look_for_stalls", "quantile_not_strict", "longer_limit"),
    "errors": ("read_errors", "server_limits", "retry_after"),
    "client": ("more_processes", "other_machine"),
    "not_reached": ("raise_highest", "tighter_limit"),
    "unknown": ("scrape", "stream", "more_budget"),
}
_FOR_HISTORY = {
    "prefill": ("cap_history", "prefix_cache", "faster"),
    "alone": ("cap_history", "prefix_cache", "faster"),
}


def explain(finding: Finding) -> Explanation:
    """The cause of this limit, with its evidence, and what to do about it, in every language."""
    cause, evidence = diagnose(finding)
    told = {language: sentences(cause, finding, evidence, language) for language in ("en", "fr")}
    advice = {language: to_try(cause, finding, evidence, language) for language in ("en", "fr")}
    return Explanation.model_validate({"cause": cause, "evidence": evidence, "sentences": told, "try": advice})


def sentences(cause: str, finding: Finding, evidence: LimitEvidence, language: str) -> list[str]:
    """What the cause is, then what was measured."""
    say = serving_words(language)
    found = [_cause(cause, finding, evidence, say)]
    if evidence.late is not None:
        found += _measured(cause, finding, evidence, say)
    return found


def to_try(cause: str, finding: Finding, evidence: LimitEvidence, language: str) -> list[str]:
    """What to do next, the most telling first; what was measured to be of no use is left out."""
    say = serving_words(language)
    advice = (_FOR_HISTORY if finding.question == "history" else {}).get(cause, _ADVICE[cause])
    shared = (evidence.gap_s or 0) / evidence.gap_low_s if evidence.gap_low_s else 0
    if cause == "slots" and evidence.slots and shared > _FULL * evidence.slots > _FULL:
        advice = tuple(one for one in advice if one != "slots")
    if cause == "unknown":
        advice = tuple(_unknown(finding, evidence))
    return [say(_TRY[one], **_known(finding, say)) for one in advice]


def _unknown(finding: Finding, evidence: LimitEvidence) -> Iterator[str]:
    """What would tell next time."""
    if evidence.late is None:
        yield "more_budget"
        return
    if evidence.first_token_s is None:
        yield "stream"
    if evidence.waiting_max is None:
        yield "scrape"
    if not finding.decided:
        yield "more_budget"
    yield "longer_limit"


def _known(finding: Finding, say: ServingWords) -> dict[str, str]:
    question = finding.question
    return {
        "value": say.amount(question, finding.value),
        "highest": say.amount(question, finding.highest),
        "limit": say.limit(finding.slo.limit_s),
    }


def _cause(cause: str, finding: Finding, evidence: LimitEvidence, say: ServingWords) -> str:
    question = finding.question
    key = cause
    if cause == "slots" and not evidence.slots:
        key = "slots_uncounted"
    elif cause == "prefill" and question == "history":
        key = "history"
    elif cause == "unknown" and evidence.late is None:
        key = "nothing_above"
    elif cause == "unknown" and evidence.first_token_s is None:
        key = "not_streamed"
    elif cause == "prefill" and (share := evidence.before_first_share) is not None and share < _MOST:
        key = "prefill_pauses"
    return say(_WHY[key], **_numbers(finding, evidence, say))


def _numbers(finding: Finding, evidence: LimitEvidence, say: ServingWords) -> dict[str, str]:
    """Everything that a sentence may name, in words."""
    question = finding.question
    levels = evidence.levels or [finding.value if evidence.level is None else evidence.level]
    known = evidence.model_dump(exclude_unset=True)
    times = {key: say.seconds(value) for key, value in known.items() if key.endswith("_s")}
    share = {key: say.share(value) for key, value in known.items() if key.endswith("_share")}
    counts = {key: say.plain(known.get(key) or 0) for key in ("slots", "waiting", "waiting_max", "running_max")}
    tokens = evidence.tokens or 0.0
    slower = _ratio(evidence.gap_s, evidence.gap_low_s) or _ratio(evidence.token_s, evidence.token_low_s)
    return {
        **dict.fromkeys(_TIMES, UNSCORED),
        **times,
        **share,
        **counts,
        **_known(finding, say),
        "waiting": say.plain(evidence.waiting_max or evidence.waiting or 0),
        "at_low": say.at(question, evidence.low_level or 0),
        "at_high": say.between(question, levels),
        "tokens": say.plain(tokens, 0),
        "tokens_time": say.seconds(tokens * (evidence.token_low_s or 0.0)),
        "slower": say.plain(slower or 1.0, 1),
        "bad": say.count(evidence.bad),
        "failed": say.count(evidence.failed),
        "late": say.count(evidence.late or 0),
        "error": str(evidence.error or ""),
        "error_count": say.count(evidence.error_count or 0),
        "late_share": say.share((evidence.late or 0) / max(evidence.answers, 1)),
        "cpu": say.share(evidence.client_cpu),
        "lag": say.seconds(evidence.loop_lag_s),
        "prompt_tokens": say.plain(evidence.prompt_tokens or 0, 0),
        "rate": say.plain(evidence.requests_per_s),
    }


def _measured(cause: str, finding: Finding, evidence: LimitEvidence, say: ServingWords) -> Iterator[str]:
    numbers = _numbers(finding, evidence, say)
    if evidence.first_token_s is not None:
        yield say(
            "The first token comes after {first_token_s} {at_high} (median; {late_first_token_s} in late "
            "answers), {first_token_low_s} {at_low}.",
            **numbers,
        )
    if evidence.gap_s is not None and evidence.gap_low_s is not None:
        yield say(
            "From one token to the next it takes {gap_s} {at_high}, {gap_low_s} {at_low} (99 %: {gap_p99_s}).",
            **numbers,
        )
    if cause in ("slots", "prefill", "decode") and evidence.before_first_share is not None:
        yield say("Late answers lost {before_first_share} of their extra time before the first token.", **numbers)
    if cause == "prefill" and evidence.reading_share is not None and finding.question != "history":
        yield say(
            "Reading these prompts one by one takes {reading_share} of the time at {rate} requests/s "
            "({first_token_low_s} each).",
            **numbers,
        )
    if evidence.waiting_max is not None and cause in ("slots", "prefill", "decode", "kv_cache", "unknown"):
        yield say("The server itself showed up to {running_max} requests running and {waiting_max} waiting.", **numbers)
    elif cause == "slots" and evidence.slots:
        yield say(
            "The server does not show its queue; that it has {slots} slots is inferred: so many answers were "
            "written at a time whenever others waited (up to {waiting}).",
            **numbers,
        )
    if cause == "slots" and (_ratio(evidence.gap_s, evidence.gap_low_s) or 1.0) > 1.3:  # noqa: PLR2004  # visibly
        yield say(
            "Tokens also come {slower} times slower when all slots are busy: more slots alone help only in part.",
            **numbers,
        )
    if evidence.error and cause != "errors":
        yield say('Besides, {failed} requests failed, most often "{error}" ({error_count}).', **numbers)


def _ratio(high: float | None, low: float | None) -> float | None:
    return high / low if high and low else None
