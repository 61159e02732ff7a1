"""Why a trial came to its verdict, as a code with its numbers: programs decide by the code, reports make the words."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

from pytest_llmbench.core.locale import N_, Words, words

Code = Literal[
    "surely_held",
    "surely_broken",
    "held_as_asked",
    "not_sure",
    "requests_sent",
    "time_over",
    "client_late",
    "client_busy",
    "client_stood_still",
    "server_gone",
    "server_busy",
    "users_stopped",
    "process_died",
    "refused",
]
EndedBy = Literal["confidence", "budget", "time"]
"""What ends a search: that it is sure enough, or all that it may cost."""

BOTTLENECKS: frozenset[str] = frozenset({"client_late", "client_busy"})
"""The load generator could not keep up, which more processes mend."""

_COUNT = N_("{good} of {judged} answers came within {limit_s} s")
_FAILED = N_("{count}; {failed} failed: {error}")
_SENTENCES: Mapping[Code, str] = {
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
    "refused": "{error}",  # the server's own words
}
_PERCENTAGES = ("cpu", "allowed")
_WHOLE = ("lag_ms", "allowed_ms")
_ROUGH = ("standstill_s", "allowed_s")


@dataclasses.dataclass(frozen=True, slots=True)
class Reason:
    """What decided a trial. `values` are the numbers of that code, and the server's own words as `error`.

    Those that count answers have `good`, `judged` and `limit_s`, and with failures among them `failed` and `error`.
    As a text it is in English.
    """

    code: Code
    values: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __str__(self) -> str:
        return reason_text(self.code, self.values, words("en"))


def reason_text(code: Code, values: Mapping[str, Any], say: Words) -> str:
    """Why a trial came to its verdict, in the reader's language."""
    told = {name: _told(name, value, say) for name, value in values.items()}
    count = say(_COUNT, **told) if "good" in told else ""
    if values.get("failed"):
        count = say(_FAILED, **told, count=count)
    return say(_SENTENCES[code], **told, count=count)


def _told(name: str, value: object, say: Words) -> str:
    if not isinstance(value, int | float):
        return str(value)
    if name in _PERCENTAGES:
        return say(N_("{value} %"), value=say.marked(f"{value * 100:.0f}"))
    if name in _WHOLE:
        return f"{value:.0f}"
    if isinstance(value, int):
        return str(value)
    return say.marked(f"{value:.2g}" if name in _ROUGH else f"{value:.4g}")
