"""The longest prompt whose answers keep the latency promise, under noise, with its interval.

What is known of other lengths is used first. From there lengths double until answers are late, and each further prompt
goes near the crossing (`stats/crossing.py`), a little below, on and above it in turn, until its interval is as narrow
as was asked for, or what may be spent is spent. Where answers do not take longer with the length, those that are late
are counted instead (`stats/late_shares.py`): a single one breaks no promise of 95 %. So are prompts that timed out:
they were late, and nobody knows how late.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from pytest_llmbench.context.promise_points import counted, is_lost, promise_crossing, timed_out, timed_points
from pytest_llmbench.context.questions import Asker, ContextQuestion
from pytest_llmbench.runs.context_document import LimitDocument, ReasonDocument
from pytest_llmbench.stats.crossing import FEWEST, Crossing
from pytest_llmbench.stats.late_shares import ALIKE, Kept

if TYPE_CHECKING:
    from pytest_llmbench.context.needles import Needle
    from pytest_llmbench.runs.context_document import ProbeDocument, PromiseDocument, Value

_CLOSEST, _FARTHEST = 0.03, 0.15  # of the length: how far from the crossing prompts are
_TURNS = (-1.0, 1.0, 0.0)
_LOOKS_AT_CEILING = 3
_BELIEVED = 2  # time-outs at a length, where nothing so long was answered: no answer will come
_FEWEST_NEAR = 12  # fewer may be near together by luck: intervals that were stopped at would hold the truth too seldom


@dataclasses.dataclass(frozen=True, slots=True)
class Effort:
    """What the search may cost, and when it is content: `precision` is half the interval, as a share of the length.

    `spent` tells that the time of the session is over.
    """

    probes: int
    precision: float
    answer_tokens: int
    spent: Callable[[], bool] = lambda: False


class InTimeSearch:
    """Searches between `shortest` and `ceiling`, the longest prompt that is accepted or asked for."""

    def __init__(
        self, asker: Asker, needle: Needle, promise: PromiseDocument, bounds: tuple[int, int], effort: Effort
    ) -> None:
        self._asker, self._needle, self._promise, self._effort = asker, needle, promise, effort
        self._shortest, self._ceiling = bounds
        self._points: list[tuple[float, float]] = []
        self._lost: list[int] = []
        self._failed: ProbeDocument | None = None
        self._known: list[ProbeDocument] = []
        self._asked: dict[int, int] = {}
        self.probes: list[ProbeDocument] = []

    async def find(self, known: Iterable[ProbeDocument] = ()) -> LimitDocument | None:
        """The limit; None where the time was over before anything was known.

        `known` are probes of the same kind of answer that were made before.
        """
        self._known = list(known)
        self._hear(self._known)
        self._end_below_time_outs()
        await self._reach_the_limit()
        if not self._points and not self._lost and self._failed is None:
            return None
        decided = self._is_decided(found := self._crossing())
        while not decided and not self._is_over():
            await self._try(self._next(found))
            decided = self._is_decided(found := self._crossing())
        return self._limit(found, decided=decided)

    def so_far(self) -> LimitDocument:
        """What is known where the search was ended from outside."""
        found = self._limit(self._crossing(), decided=False)
        values: dict[str, Value] = {"promised_s": self._promise.latency_s}
        return found.model_copy(update={"reason": ReasonDocument(code="stopped", values=values)})

    async def _reach_the_limit(self) -> None:
        """Double the length until an answer is late, or there is no longer one."""
        if not self._points and not self._lost and self._failed is None and not self._effort.spent():
            await self._try(self._shortest)
        longest = max((round(size) for size, _ in self._points), default=self._shortest)
        while not self._has_late() and longest < self._ceiling and not self._is_over():
            longest = min(2 * longest, self._ceiling)
            await self._try(longest)

    def _is_over(self) -> bool:
        return len(self.probes) >= self._effort.probes or self._effort.spent()

    def _next(self, found: Crossing | None) -> int:
        """Near the crossing; where there is none yet, between lengths in time and late ones, or at longer ones.

        A time-out where nothing was ever answered is looked at once more.
        """
        if doubted := [probe.length for probe in self._unanswered() if probe.length <= self._ceiling]:
            return min(doubted)
        if self._ends_by_failing(found):
            return self._within(math.sqrt(self._longest_good() * self._ceiling))
        if found is None:
            looks = self._looks()
            longest = max(looks.longest, self._shortest)
            middle = min(2 * longest, self._ceiling) if looks.late == math.inf else math.sqrt(longest * looks.late)
            return self._within(middle * math.exp(_CLOSEST * _TURNS[len(self.probes) % len(_TURNS)]))
        away = min(_FARTHEST, max(_CLOSEST, found.half_width))
        centre = min(max(found.size, self._shortest), self._ceiling)
        return self._within(centre * math.exp(away * _TURNS[len(self.probes) % len(_TURNS)]))

    def _within(self, length: float) -> int:
        return min(max(round(length), self._shortest), self._ceiling)

    async def _try(self, length: int) -> None:
        number = self._asked[length] = self._asked.get(length, 0) + 1
        question = ContextQuestion("in_time", length, self._needle, self._effort.answer_tokens, number)
        probe = await self._asker.ask(question)
        self.probes.append(probe)
        self._hear([probe])
        self._end_below_time_outs()
        refused = probe.refusal is not None and probe.refusal.code != "timeout"
        if number > 1 and refused and length > self._longest_answered():
            self._end_below(probe)

    def _hear(self, probes: Iterable[ProbeDocument]) -> None:
        self._points += timed_points(probes, self._promise)
        self._lost += timed_out(probes, self._promise)

    def _end_below_time_outs(self) -> None:
        unanswered = self._unanswered()
        times = Counter(probe.length for probe in unanswered)
        for probe in unanswered:
            if probe.length <= self._ceiling and times[probe.length] >= _BELIEVED:
                self._end_below(probe)

    def _unanswered(self) -> list[ProbeDocument]:
        """The prompts that were waited for in vain, where none so long was answered: before this search neither."""
        longest = self._longest_answered()
        asked = [*self._known, *self.probes]
        return [probe for probe in asked if probe.length > longest and is_lost(probe, self._promise)]

    def _longest_answered(self) -> int:
        """In time or late, in this search or before it."""
        asked = [*self._known, *self.probes]
        return max((probe.length for probe in asked if timed_points([probe], self._promise)), default=0)

    def _end_below(self, probe: ProbeDocument) -> None:
        """Look no further up: what is lost there is no lateness, but where answers end."""
        self._failed, self._ceiling = probe, max(self._shortest, probe.length - 1)
        self._lost = [length for length in self._lost if length < probe.length]

    def _has_late(self) -> bool:
        return self._failed is not None or self._looks().late < math.inf

    def _looks(self) -> Kept:
        return counted(self._points, self._lost, self._promise)

    def _crossing(self) -> Crossing | None:
        return promise_crossing(self._points, self._lost, self._promise, self._ceiling)

    def _ends_by_failing(self, found: Crossing | None) -> bool:
        """Whether prompts are in time as far as they are answered at all."""
        if self._failed is None:
            return False
        return found.size > self._ceiling if found else self._looks().late == math.inf

    def _is_decided(self, found: Crossing | None) -> bool:
        """Narrow enough, or surely beyond where the search may look."""
        if self._ends_by_failing(found):
            return self._ceiling <= self._longest_good() * (1 + self._effort.precision)
        if len(self._points) < FEWEST:
            return False
        if found is None:
            return self._all_early_at_ceiling() or self._too_late_at_shortest()
        if found.low >= self._ceiling or found.high <= self._shortest:
            return True
        narrow = found.half_width <= self._effort.precision
        return narrow and found.firm and found.measured >= _FEWEST_NEAR

    def _longest_good(self) -> float:
        """The longest length that was answered, and in time."""
        good = [size for size, cost in self._points if cost <= self._promise.latency_s]
        return max(good, default=float(self._shortest))

    def _all_early_at_ceiling(self) -> bool:
        """A cost that does not rise, of which nothing is late there, or surely few enough, and no shorter length is."""
        there = [cost for size, cost in self._points if size >= self._ceiling / ALIKE]
        early = len(there) >= _LOOKS_AT_CEILING and max(there) <= self._promise.latency_s
        looks = self._looks()
        return looks.late == math.inf and (early or looks.surely >= self._ceiling / ALIKE)

    def _too_late_at_shortest(self) -> bool:
        looks = self._looks()
        return not looks.longest and looks.surely_late <= self._shortest * ALIKE

    def _limit(self, found: Crossing | None, *, decided: bool) -> LimitDocument:
        size, low, high = (found.size, found.low, found.high) if found else self._by_looks(decided=decided)
        beyond = size >= self._ceiling
        if found is None and (decided or self._failed is not None):
            beyond = bool(self._points) and self._looks().late == math.inf
        if beyond and self._failed is not None:
            size = low = self._longest_good()
            high = float(self._ceiling)
        tokens = 0 if size < self._shortest else self._within(math.floor(size))
        unseen = found is None and self._looks().late == math.inf
        stopped = not decided and (unseen or self._effort.spent())
        return LimitDocument(
            tokens=tokens,
            low=0 if low < self._shortest else self._within(math.floor(low)),
            high=self._high(high),
            decided=decided,
            probes=len(self.probes),
            reason=self._reason(tokens, crossed=found is not None, beyond=beyond, stopped=stopped),
        )

    def _high(self, high: float) -> int | None:
        """None where nothing shows an end within what may be looked at."""
        if high >= self._ceiling and self._failed is None:
            return None
        return max(math.floor(min(high, self._ceiling)), self._shortest - 1)  # shorter prompts were not tried

    def _by_looks(self, *, decided: bool) -> tuple[float, float, float]:
        """Without a crossing: the lengths up to which few enough are late, surely so, and at which surely too many."""
        looks = self._looks()
        settled = decided and looks.late == math.inf
        return looks.longest, looks.longest if settled else looks.surely, looks.surely_late - 1

    def _reason(self, tokens: int, *, crossed: bool, beyond: bool, stopped: bool) -> ReasonDocument:
        """Its seconds are those of answers nearby: half of them at a crossing, else as many as are promised."""
        promised = self._promise.latency_s
        if self._failed is not None and (beyond or not self._points):
            refusal = self._failed.refusal
            told = {"code": refusal.code, "status": refusal.status, "text": refusal.text} if refusal else {}
            return ReasonDocument(code="refused", values={"length": self._failed.length, **told})
        if beyond:
            return ReasonDocument(code="end_of_range", values={"tokens": tokens})
        if tokens and stopped:
            return ReasonDocument(code="stopped", values={"promised_s": promised})
        seconds = self._nearby(max(tokens, self._shortest), 0.5 if crossed else self._promise.quantile)
        values: dict[str, Value] = {"seconds": seconds, "promised_s": promised}
        if not crossed and seconds <= promised and (lost := self._share_lost(tokens)):  # what came did so in time
            values = {"share_timed_out": lost, "promised_s": promised}
        return ReasonDocument(code="late" if tokens else "never", values=values)

    def _share_lost(self, tokens: int) -> float:
        """Of the prompts that are longer than this, those that timed out."""
        lost = sum(size > tokens for size in self._lost)
        came = sum(size > tokens for size, _ in self._points)
        return round(lost / max(1, lost + came), 4)

    def _nearby(self, tokens: int, share: float) -> float:
        near = sorted(self._points, key=lambda point: abs(point[0] - tokens))[:FEWEST]
        costs = sorted(cost for _, cost in near)
        return round(costs[min(len(costs) - 1, int(share * len(costs)))], 4) if costs else 0.0
