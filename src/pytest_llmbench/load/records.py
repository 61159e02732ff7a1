"""What a load trial measures and when it ends: its requests, its verdict, the promise (SLO) they are held against."""

from __future__ import annotations

import dataclasses
import math
import time
from collections import Counter
from typing import TYPE_CHECKING, Literal

from pytest_llmbench.core.errors import UsageError
from pytest_llmbench.load.reasons import Reason

if TYPE_CHECKING:
    from pytest_llmbench.generation.client.answer_judge import Failure


Finish = Literal["stop", "length", "error", "aborted"]
Verdict = Literal["held", "broken", "undecided", "invalid"]

_MOST_CPU = 0.9


@dataclasses.dataclass(frozen=True, slots=True)
class Clocks:
    """How the clocks of the load generator's machines stood to this one's during a trial.

    `skew_s` is the largest difference of their wall clocks, `error_s` the most that a comparison may be wrong by. A
    latency is measured by one clock alone; the comparison puts the requests of several machines in order.
    """

    machines: int
    skew_s: float
    error_s: float


@dataclasses.dataclass(frozen=True, slots=True)
class Request:
    """One message of one user. Times are seconds on the trial's monotonic clock, which starts with the trial.

    `first_token_s` is when the first token of the visible answer came, `first_reasoning_s` the first of all where that
    is not seen: a thought, or a line break before the answer. `tokens` counts all; `tokens_counted` tells that it
    counts stream events, since the server sent no usage. `gaps_s` are the seconds from each token to the next.
    `failure` is the kind of `error`, whose words are for people. "aborted" is a request that the trial itself cut off.
    `left_open` tells that the server did not end the stream after the answer.
    """

    user: int
    message: int
    started_s: float
    first_reasoning_s: float | None
    first_token_s: float | None
    ended_s: float
    tokens: int | None
    tokens_counted: bool
    finish: Finish
    error: str | None
    prompt_tokens: int | None
    gaps_s: tuple[float, ...] = ()
    left_open: bool = False
    failure: Failure | None = None

    @property
    def latency_s(self) -> float:
        """From sending the message to the end of the answer."""
        return self.ended_s - self.started_s


@dataclasses.dataclass(frozen=True, slots=True)
class SLO:
    """The latency promise: the share `quantile` of all answers comes within `limit_s`.

    `latency` is the whole answer's, or that of its first visible token. A quantile of 1 is the strict promise: no
    answer over the limit.

    Raises:
        UsageError: the quantile is not in (0, 1], or the limit is no time.
    """

    quantile: float = 0.95
    limit_s: float = 3.0
    latency: Literal["total", "first_token"] = "total"

    def __post_init__(self) -> None:
        if not 0 < self.quantile <= 1:
            raise UsageError(f"the SLO's quantile must be above 0 and at most 1, such as 0.95, not {self.quantile:g}")
        if not 0 < self.limit_s < math.inf:
            raise UsageError(f"the SLO's limit must be a number of seconds above 0, not {self.limit_s:g}")

    def good(self, request: Request) -> bool:
        """Whether the answer came, without failing, within the limit."""
        if request.finish == "aborted" or self.failed(request):
            return False
        return self.judged_s(request) <= self.limit_s

    def failed(self, request: Request) -> bool:
        """Whether it is an error. Where first tokens are promised, an answer that was cut off after its own is none."""
        cut = request.failure == "late" and request.first_token_s is not None
        return request.error is not None and not (cut and self.latency == "first_token")

    def judged_s(self, request: Request) -> float:
        """The seconds that the limit is for. An answer without a visible token counts with its end."""
        if self.latency == "first_token" and request.first_token_s is not None:
            return request.first_token_s - request.started_s
        return request.latency_s


@dataclasses.dataclass(frozen=True, slots=True)
class Trial:
    """One load level held until it was decided: users, or requests per second with Poisson arrivals; and why.

    `requests` are those that were judged, in the order they were sent and without the warm-up: all up to the first
    one that was still open, within its limit, when the trial ended. So the quick answers are not counted first.
    `sent` counts every request it cost, the warm-up and those left open included.
    `loop_lag_s` is how late the client's own event loop was (95th percentile), `standstill_s` how late it was at worst,
    `client_cpu` its share of one core.
    `idle_after_s` is how long the server took to become idle afterwards, None when it did not in the time allowed.
    `processes` are the load generator's own, `clocks` those of their machines where they are not all on this one.
    """

    level: float
    requests: tuple[Request, ...]
    verdict: Verdict
    why: Reason
    duration_s: float
    loop_lag_s: float
    client_cpu: float
    idle_after_s: float | None = None
    sent: int = 0
    processes: int = 1
    standstill_s: float = 0.0
    clocks: Clocks | None = None

    @property
    def reason(self) -> str:
        """Why, in English."""
        return str(self.why)

    def groups(self, slo: SLO) -> tuple[tuple[int, int], ...]:
        """(good, total) of each user, since the answers of one user are alike."""
        total, good = Counter[int](), Counter[int]()
        for request in self.requests:
            total[request.user] += 1
            good[request.user] += slo.good(request)
        return tuple((good[user], total[user]) for user in sorted(total))


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
