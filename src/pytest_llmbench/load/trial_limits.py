"""When a trial ends, and when it does not count."""

from __future__ import annotations

import dataclasses
import math
import time
from typing import Literal

_MOST_CPU = 0.9


@dataclasses.dataclass(frozen=True, slots=True)
class TrialLimits:
    """When a trial ends, and when it does not count.

    error_rate: the chance of a wrong "held", and of a wrong "broken"; at 0 a trial never ends before its requests do.
    warm_up_s: seconds that are not judged; None for one cycle of the users (three limits with Poisson arrivals, and
        nothing with bursts, where every conversation begins alike).
    drain_s: how long a server may take to become idle.
    max_loop_lag_s: above this lag of the client's own event loop (95th percentile) the trial is invalid; None for 1 %
        of the SLO's limit, at least 10 ms.
    max_standstill_s: when the client noticed nothing for longer than that, even once, the trial is invalid; None for a
        tenth of the SLO's limit, so that no answer turns late that came in nine tenths of it. Limits of a few seconds
        have 0.25 s, as long as a busy machine pauses any program now and then, but never more than half of them. What
        `max_loop_lag_s` allows is allowed in any case.
    max_client_cpu: above this share of a core the client was the bottleneck, and the trial is invalid.
    most_sent: requests that may be sent in all, warm-up included; then what was judged by now is all there is.
    """

    error_rate: float = 0.05
    warm_up_s: float | None = None
    drain_s: float = 60.0
    max_loop_lag_s: float | None = None
    max_standstill_s: float | None = None
    max_client_cpu: float = _MOST_CPU
    most_sent: float = math.inf


@dataclasses.dataclass(frozen=True, slots=True)
class Ends:
    """By when, and after how many requests sent, a trial ends whatever was judged."""

    at: float
    most_sent: float

    def reached(self, sent: int) -> Literal["requests_sent", "time_over"] | None:
        """Which end it was."""
        if sent >= self.most_sent:
            return "requests_sent"
        return "time_over" if time.monotonic() > self.at else None
