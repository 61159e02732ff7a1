"""Why a trial came to its verdict, in the reader's language."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_llmbench.core.locale import N_
from pytest_llmbench.reports.serving.words import ServingWords

_SENTENCES = {
    "surely_held": N_("{count}: surely at least {quantile} of all do"),
    "surely_broken": N_("{count}: surely fewer than {quantile} of all do"),
    "held_as_asked": N_("{count}, and so many were asked for"),
    "not_sure": N_("{count}: not sure against {quantile}"),
    "requests_sent": N_("{count}, and the {sent} requests that were left are sent"),
    "time_over": N_("{count}, and its time was over"),
    "client_late": N_(
        "the load generator was the bottleneck: its event loop was {lag_ms} ms late, {allowed_ms} ms are allowed; run "
        "it on a machine that is free"
    ),
    "client_busy": N_(
        "the load generator was the bottleneck: it used {cpu} of a core, {allowed} are allowed; run it on a machine "
        "that is free"
    ),
    "client_stood_still": N_(
        "the load generator itself stood still for {standstill_s} s, {allowed_s} s are allowed: answers were not seen "
        "when they came; keep its machine awake, its container unpaused and its CPU free"
    ),
    "server_gone": N_("the server is gone: {error}"),
    "server_busy": N_("the server was not idle after {waited_s} s: somebody else uses it, or it hangs"),
    "users_stopped": N_("the simulated users stopped"),
    "process_died": N_("process {process} of {processes} of the load generator died"),
}
_SHARES = ("cpu", "allowed")
_WHOLE = ("lag_ms", "allowed_ms")


def trial_reason(trial: Mapping[str, Any], say: ServingWords) -> str:
    """The sentence of its `code`, filled with its `values`; as it was written where that is all there is."""
    sentence = _SENTENCES.get(trial.get("code", ""))
    if sentence is None:
        return str(trial["reason"])
    told = {name: _told(name, value, say) for name, value in trial["values"].items()}
    return say(sentence, **told, count=_counted(told, say) if "good" in told else "")


def _counted(told: Mapping[str, str], say: ServingWords) -> str:
    count = say("{good} of {judged} answers came within {limit_s} s", **told)
    if "failed" not in told:
        return count
    return say("{count}; {failed} failed: {error}", count=count, failed=told["failed"], error=told["error"])


def _told(name: str, value: object, say: ServingWords) -> str:
    if not isinstance(value, (int, float)):
        return str(value)
    if name in _SHARES:
        return say.share(value)
    return say.plain(value, 0 if name in _WHOLE else 4)
