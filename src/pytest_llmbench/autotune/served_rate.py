"""How far a rate that a search found can be believed: never above what was served, and only as far as trials lasted.

People who come at random wait for nobody, so close to what the server can do a queue grows slowly: trials end before it
shows, and the rate looks held. Heavy traffic theory tells how long that takes and where it would end (Kingman 1962;
Whitt 1989, "Planning queueing simulations", for the time): with `served` requests a second at most, and times of
service no more irregular than exponential ones, waits exceed t seconds with probability exp(-(served - rate) * t).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_llmbench.autotune.document import TrialEntry
    from pytest_llmbench.autotune.questions import Question
    from pytest_llmbench.load.records import SLO
    from pytest_llmbench.stats.capacity import Capacity

_RELAXATIONS = 10  # that a trial must last for its queue to be as long as it ever is
_LASTING_SPANS = 20  # limits, likewise
_LEAST_ROOM = 0.1  # of the limit, for waiting
_STRICT = 0.01  # late answers that a promise of none is taken for
_ROUNDING = 1e-6
_SURELY = 3.0  # standard deviations of a number of arrivals
_LIKELY = 1.0  # likewise, which a lucky trial may have served more than the server can
_HIDDEN = 1.96  # likewise, at the ends of an interval
_NOT_SEEN = 0.5  # probability that the queue of a rate that looks held was still growing


def believable(
    capacity: Capacity, question: Question, trials: Sequence[TrialEntry], slo: SLO
) -> tuple[Capacity, float | None]:
    """The capacity without what was not served, and how long trials lasted, in seconds, where that was too short.

    There its lower end is what the theory warrants.
    """
    valid = [trial for trial in trials if trial.counts]
    served = served_most(valid)
    lost = [trial.level for trial in valid if _is_lost(trial, slo)]
    if not lost or not served:
        return _as_it_lasted(capacity, question, valid, slo)
    known, lasted_s = _as_it_lasted(capacity.at_most(_step(question, served)), question, valid, slo)
    likely = _step(question, served_most(valid, chance=_LIKELY) or served)
    return replace(known, users=min(known.users, likely), low=min(known.low, likely)), lasted_s


def _as_it_lasted(
    capacity: Capacity, question: Question, valid: Sequence[TrialEntry], slo: SLO
) -> tuple[Capacity, float | None]:
    lost = [trial.level for trial in valid if _is_lost(trial, slo)]
    rate = question.level(capacity.users)
    served = served_most(valid) or 0.0
    most = min(min((level for level in lost if level > rate), default=served), _saturated(valid))
    lasted_s = max((trial.duration_s for trial in valid if trial.level >= rate), default=math.inf)
    enough_s = max(_LASTING_SPANS * slo.limit_s, _RELAXATIONS * _relaxation_s(rate, most) if lost else 0.0)
    if not rate or lasted_s >= enough_s:
        return capacity, None
    warranted = min(served_most(valid, chance=_HIDDEN) or most, most) - _many_waits(slo) / _room_s(valid, slo)
    return capacity.perhaps(_step(question, warranted), _step(question, most), _NOT_SEEN), lasted_s


def served_most(valid: Sequence[TrialEntry], *, chance: float = 0.0) -> float | None:
    """The most requests a second that came and were served, less so many standard deviations of their number.

    None where too few were to tell.
    """
    found = _busiest(valid)
    return _served(found) * (1 - chance / math.sqrt(found.answered)) if found else None


def most_of_all(valid: Sequence[TrialEntry], slo: SLO) -> float | None:
    """The upper end of what the server can do: the most that it served, and as much more as chance may have hidden.

    None where it was not at its limit then: a server that keeps up with what comes does not show what it could do.
    """
    found = _busiest(valid)
    if found is None or not (_is_lost(found, slo) or _is_full(found)):
        return None
    return _served(found) * (1 + _HIDDEN / math.sqrt(found.answered))


def _busiest(valid: Sequence[TrialEntry]) -> TrialEntry | None:
    return max((trial for trial in valid if trial.served_per_s), key=_served, default=None)


def _served(trial: TrialEntry) -> float:
    """No more than came."""
    return min(trial.level, trial.served_per_s or 0.0)


def _saturated(valid: Sequence[TrialEntry]) -> float:
    """The most requests a second that were served where clearly more came; infinite where nowhere."""
    return max((trial.served_per_s or 0.0 for trial in valid if _is_full(trial)), default=math.inf)


def _is_full(trial: TrialEntry) -> bool:
    """Whether clearly more came than was served."""
    rate = trial.served_per_s
    return bool(rate and trial.level > rate * (1 + _SURELY / math.sqrt(trial.answered)))


def _is_lost(trial: TrialEntry, slo: SLO) -> bool:
    return bool(trial.good < slo.quantile * trial.total)


def _many_waits(slo: SLO) -> float:
    """How many times its mean a wait may be at least for the share of the promise to be shorter."""
    return -math.log(max(1 - slo.quantile, _STRICT))


def _step(question: Question, rate: float) -> int:
    """The highest step whose rate is no more than this one."""
    return max(0, math.floor((rate - question.offset) / question.scale + _ROUNDING))


def _relaxation_s(rate: float, served: float) -> float:
    """How long a queue takes to forget that it was empty once."""
    room = 1 - math.sqrt(min(1.0, rate / served)) if served else 0.0
    return 1 / (served * room**2) if room else math.inf


def _room_s(valid: Sequence[TrialEntry], slo: SLO) -> float:
    """The seconds that an answer may wait: what its promise leaves above the latency where it is least."""
    known = [trial.latency_s if slo.latency == "total" else trial.first_token_s for trial in valid]
    usual = [found.p50 for found in known if found is not None and found.p50 is not None]
    return max(slo.limit_s - min(usual, default=0.0), _LEAST_ROOM * slo.limit_s)
