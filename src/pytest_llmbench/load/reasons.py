"""Why a trial came to its verdict, as a code with its numbers: programs decide by the code, reports make the words."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

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
BOTTLENECKS: frozenset[str] = frozenset({"client_late", "client_busy"})
"""The load generator could not keep up, which more processes mend."""

_COUNT = "{good} of {judged} answers came within {limit_s:g} s"
_FAILED = "; {failed} failed: {error}"
_ENGLISH: Mapping[Code, str] = {
    "surely_held": "{count}: surely at least {quantile:.4g} of all do",
    "surely_broken": "{count}: surely fewer than {quantile:.4g} of all do",
    "held_as_asked": "{count}, and so many were asked for",
    "not_sure": "{count}: not sure against {quantile:.4g}",
    "requests_sent": "{count}, and the {sent} requests that were left are sent",
    "time_over": "{count}, and its time was over",
    "client_late": "the load generator was the bottleneck: its event loop was {lag_ms:.0f} ms late, {allowed_ms:.0f} "
    "ms are allowed; run it on a machine that is free",
    "client_busy": "the load generator was the bottleneck: it used {cpu:.0%} of a core, {allowed:.0%} are allowed; run "
    "it on a machine that is free",
    "client_stood_still": "the load generator itself stood still for {standstill_s:.2g} s, {allowed_s:.2g} s are "
    "allowed: answers were not seen when they came; keep its machine awake, its container unpaused and its CPU free",
    "server_gone": "the server is gone: {error}",
    "server_busy": "the server was not idle after {waited_s:g} s: somebody else uses it, or it hangs",
    "users_stopped": "the simulated users stopped",
    "process_died": "process {process} of {processes} of the load generator died",
    "refused": "{error}",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Reason:
    """What decided a trial. `values` are the numbers of that code, and the server's own words as `error`.

    Those that count answers have `good`, `judged` and `limit_s`, and with failures among them `failed` and `error`.
    As a text it is in English.
    """

    code: Code
    values: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __str__(self) -> str:
        counted = "good" in self.values
        parts = [_COUNT, _FAILED] if self.values.get("failed") else [_COUNT]
        count = "".join(parts).format(**self.values) if counted else ""
        return _ENGLISH[self.code].format(count=count, **self.values)
