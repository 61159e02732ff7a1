"""Whether a trial says nothing because of the load generator itself: it could not keep up, or was not there."""

from __future__ import annotations

import dataclasses

from pytest_llmbench.load.reasons import Code, Reason
from pytest_llmbench.load.records import SLO
from pytest_llmbench.load.slo import Judgement
from pytest_llmbench.load.trial_limits import TrialLimits

_LAG_SHARE, _LEAST_LAG_S = 0.01, 0.01
_STANDSTILL_SHARE, _LEAST_STANDSTILL_S, _MOST_OF_A_SHORT_LIMIT = 0.1, 0.25, 0.5


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
