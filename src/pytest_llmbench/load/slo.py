"""Judges the calls of a trial by the latency promise (SLO) while they come, in the order they were asked."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence

from pytest_llmbench.load.client import Call
from pytest_llmbench.load.reasons import Code, Reason
from pytest_llmbench.load.records import SLO, Request, TrialLimits, Verdict
from pytest_llmbench.load.sequential_test import FEWEST_ANSWERS, decision, design_effect

_STALL_LIMITS = 2.0
"""How many limits a single stall of the whole server, such as a garbage collection, may last."""

_LAG_SHARE, _LEAST_LAG_S = 0.01, 0.01
_STANDSTILL_SHARE, _LEAST_STANDSTILL_S, _MOST_OF_A_SHORT_LIMIT = 0.1, 0.25, 0.5


@dataclasses.dataclass(frozen=True, slots=True)
class Judgement:
    """What the answers so far say."""

    verdict: Verdict
    why: Reason


class Judge:
    """Takes calls in the order they were asked, so that quick answers are not counted before slow ones.

    A call that is still open past the limit is late already and need not be waited for. Calls before `warm_up_s` are
    not judged. The answers of one user, and those asked about the same time, are alike: they count as fewer by their
    design effect. What one stall of the whole server explains counts as one late answer, however many it held up.
    """

    def __init__(self, slo: SLO, level: float, requests: int, error_rate: float, warm_up_s: float) -> None:
        self._slo = slo
        self._block = max(2, round(level))
        self._requests = requests
        self._error_rate = error_rate
        self._warm_up_s = warm_up_s
        self._next = 0
        self._judged: list[Call] = []
        self._good: list[bool] = []
        self._errors = Counter[str]()
        self._waits_for_proof = False

    def look(self, calls: Sequence[Call], origin: float, now: float) -> Judgement | None:
        """The verdict, once the calls allow one or so many were judged as were asked for."""
        known = len(self._good)
        while self._next < len(calls) and len(self._good) < self._requests:
            call = calls[self._next]
            if call.started - origin >= self._warm_up_s:
                request = call.glimpse(origin, now)
                if call.ended is None and self._slo.judged_s(request) <= self._slo.limit_s:
                    break
                self._judged.append(call)
                self._good.append(self._slo.good(request))
                if self._slo.failed(request):
                    self._errors[str(request.error)] += 1
            self._next += 1
        if len(self._good) == known and not self._waits_for_proof:
            return None
        return self._judgement(now)

    def requests(self, origin: float, now: float) -> tuple[Request, ...]:
        """What was judged so far."""
        return tuple(call.record(origin, now) for call in self._judged)

    @property
    def good(self) -> int:
        """How many of the judged answers kept the limit."""
        return sum(self._good)

    @property
    def judged(self) -> int:
        """How many answers were judged."""
        return len(self._good)

    @property
    def complete(self) -> bool:
        """Whether as many were judged as were asked for."""
        return len(self._good) == self._requests

    def reason(self, code: Code, **values: float) -> Reason:
        """The reason of a judgement, with how many were good, and how those that failed did."""
        failed = [{"failed": number, "error": error} for error, number in self._errors.most_common(1)]
        count = {"good": self.good, "judged": self.judged, "limit_s": self._slo.limit_s}
        return Reason(code, {**count, **(failed[0] if failed else {}), **values})

    def _judgement(self, now: float) -> Judgement | None:
        good, count, quantile = sum(self._good), len(self._good), self._slo.quantile
        sure = None
        if count >= FEWEST_ANSWERS or quantile >= 1:
            alike = self._design_effect()
            sure = decision(good / alike, (count - good) / alike, quantile, self._error_rate)
            if sure == "broken" and quantile < 1:
                late = count - good - max(0, self._in_one_stall(now) - 1)
                sure = decision(good / alike, late / alike, quantile, self._error_rate)
                self._waits_for_proof = sure is None
        if sure == "held":
            return Judgement("held", self.reason("surely_held", quantile=quantile))
        if sure == "broken":
            return Judgement("broken", self.reason("surely_broken", quantile=quantile))
        if count < self._requests or (self._waits_for_proof and self._time_will_tell(now)):
            return None
        if quantile >= 1 and good == count:
            return Judgement("held", self.reason("held_as_asked"))
        return Judgement("undecided", self.reason("not_sure", quantile=quantile))

    def _in_one_stall(self, now: float) -> int:
        """The most of the answers that were not good which one stall can explain: they were asked within its length."""
        longest_s = _STALL_LIMITS * self._slo.limit_s
        bad = [call for call, good in zip(self._judged, self._good, strict=True) if not good]
        starts = [call.started for call in bad if self._may_be_stalled(call, now)]
        most = first = 0
        for last, started in enumerate(starts):
            while started - starts[first] > longest_s:
                first += 1
            most = max(most, last - first + 1)
        return most

    def _may_be_stalled(self, call: Call, now: float) -> bool:
        """Whether it took no longer than a stall and the limit together."""
        return (call.ended or now) - call.started <= (_STALL_LIMITS + 1) * self._slo.limit_s

    def _time_will_tell(self, now: float) -> bool:
        return any(call.ended is None and self._may_be_stalled(call, now) for call in self._judged)

    def _design_effect(self) -> float:
        by_user = design_effect(self._good, [call.user for call in self._judged])
        by_time = design_effect(self._good, [place // self._block for place in range(len(self._good))])
        return max(by_user, by_time)


@dataclasses.dataclass(frozen=True, slots=True)
class Allowed:
    """How late, how long away and how busy the load generator may be."""

    lag_s: float
    standstill_s: float
    cpu: float

    @classmethod
    def by(cls, limits: TrialLimits, slo: SLO) -> Allowed:
        """What the limits say, and where they say nothing, what the promise bears."""
        lag_s, standstill_s = limits.max_loop_lag_s, limits.max_standstill_s
        if lag_s is None:
            lag_s = max(_LEAST_LAG_S, _LAG_SHARE * slo.limit_s)
        if standstill_s is None:
            least_s = min(_LEAST_STANDSTILL_S, _MOST_OF_A_SHORT_LIMIT * slo.limit_s)
            standstill_s = max(least_s, _STANDSTILL_SHARE * slo.limit_s, lag_s)
        return cls(lag_s, standstill_s, limits.max_client_cpu)

    def fault(self, lag_s: float, standstill_s: float, cpu: float) -> Judgement | None:
        """What the load generator did wrong. Late again and again it is the bottleneck, which more processes mend."""
        if lag_s > self.lag_s:
            return _fault("client_late", lag_ms=lag_s * 1000, allowed_ms=self.lag_s * 1000)
        if cpu > self.cpu:
            return _fault("client_busy", cpu=cpu, allowed=self.cpu)
        if standstill_s > self.standstill_s:
            return _fault("client_stood_still", standstill_s=standstill_s, allowed_s=self.standstill_s)
        return None


def _fault(code: Code, **values: float) -> Judgement:
    return Judgement("invalid", Reason(code, {name: round(value, 4) for name, value in values.items()}))
