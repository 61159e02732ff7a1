"""The measurements of a context test in their order: accepted, every question at every length, in time, right."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from pytest_llmbench.autotune.questions import promise
from pytest_llmbench.context import side_checks
from pytest_llmbench.context.accepted import AcceptedSearch
from pytest_llmbench.context.in_time import Effort, InTimeSearch
from pytest_llmbench.context.needles import needle, needles
from pytest_llmbench.context.probe_journal import Remembering
from pytest_llmbench.context.prompt_building import Draft, TooShortError
from pytest_llmbench.context.questions import ContextQuestion
from pytest_llmbench.context.right import Rightness, find_right, up_to
from pytest_llmbench.core.errors import ServerError, UsageError
from pytest_llmbench.runs.context_document import ContextLimits, PromiseDocument
from pytest_llmbench.stats import CONFIDENCE

if TYPE_CHECKING:
    from pytest_llmbench.context.announced import Announced
    from pytest_llmbench.context.live_server import LiveServer
    from pytest_llmbench.context.plan import LengthPlan
    from pytest_llmbench.context.probe_journal import ProbeJournal
    from pytest_llmbench.core.settings import Settings
    from pytest_llmbench.runs.context_document import FindingDocument, LimitDocument, LimitName, ProbeDocument


@dataclasses.dataclass(frozen=True, slots=True)
class Step:
    """A probe that came: what it was for, how long its prompt was, what came of it, and how many there were so far.

    `over` tells of the end of a length or a search, with what it came to.
    """

    sought: str
    length: int
    verdict: str
    probes: int
    over: bool = False


Tell = Callable[[Step], None]


class Course:
    """What is measured of one server, and what it came to so far.

    Each step may raise ServerError where the server is gone for good: what was found until then stays.
    """

    def __init__(
        self, settings: Settings, live: LiveServer, announced: Announced, journal: ProbeJournal, tell: Tell
    ) -> None:
        self._context, self._live = settings.context, live
        self._announced, self._journal, self._tell = announced, journal, tell
        self._asker = Remembering(live, journal, self._hear)
        self._begun = time.monotonic()
        given, seed = settings.context, settings.generation.seed
        self.answer_tokens = given.answer_tokens + settings.generation.max_reasoning_tokens
        self._needles = needles(given.depths, given.kinds, given.asked_languages, given.repeats, seed)
        self._plain = needle("one", given.asked_languages[0], 0.5, str(seed))
        slo = promise(settings.load)
        self.promise = PromiseDocument(latency_s=slo.limit_s, quantile=slo.quantile, latency=slo.latency)
        self.lengths: tuple[int, ...] = ()
        self.findings: list[FindingDocument] = []
        self.ran_out_of_time = False
        self._found: dict[LimitName, LimitDocument] = {}

    @property
    def limits(self) -> ContextLimits:
        """Those that were found."""
        return ContextLimits(**self._found)

    @property
    def probes(self) -> list[ProbeDocument]:
        """All that were made, those of a session before this one included."""
        return self._journal.probes

    @property
    def resumed(self) -> int:
        """How many of them were there already."""
        return self._journal.resumed

    @property
    def duration_s(self) -> float:
        """Since it began."""
        return round(time.monotonic() - self._begun, 3)

    async def check_shortest(self, plan: LengthPlan) -> int:
        """The shortest prompt that is tried.

        Raises:
            TooShortError: a question with its facts does not fit in it.
            UsageError: it is longer than `context.max_context`.
        """
        counter = self._live.counter
        least = max([await counter.count(Draft(one, "", counter.pool).text(0)) for one in self._needles])
        shortest = plan.shortest(least)
        if shortest < least:
            raise TooShortError(shortest, least)
        lowest, most = plan.lowest(least), self._context.max_context
        if most is not None and most < lowest:
            raise UsageError(
                f"context.max_context is {most}, and the shortest prompt that the questions fit in has {lowest} "
                "tokens; raise it, or leave it out",
                names=("context.max_context",),
            )
        return lowest

    async def measure(self, plan: LengthPlan, shortest: int) -> None:
        """All of it, or as much as `context.time_limit` allows."""
        await self._accepted(shortest, plan.longest + self.answer_tokens - 1)
        accepted = self._found["accepted"]
        self.lengths = plan.swept(shortest, accepted.tokens, self.answer_tokens)
        if not self.lengths:
            return
        for length in self.lengths:
            await self._ask_all(length)
        whole = plan.reaches(accepted.tokens, self.answer_tokens) and accepted.reason.code != "end_of_range"
        await self._in_time(shortest, accepted.tokens if whole else self.lengths[-1], whole=whole)
        told = any(probe.correct is not None for probe in self._swept(self.lengths[-1]))
        await self._right(accepted.tokens if whole and told else None)
        await self._look_aside(accepted.tokens)

    async def _accepted(self, shortest: int, longest: int) -> None:
        search = AcceptedSearch(self._asker, self._plain, shortest, longest, self._announced.context, self._is_over)
        try:
            self._found["accepted"] = await search.find()
        except ServerError:
            self._found["accepted"] = search.so_far()
            raise
        self._settled("accepted")

    async def _ask_all(self, length: int) -> list[ProbeDocument]:
        asked = []
        for one in self._needles:
            if self._is_over():
                break
            asked.append(await self._asker.ask(ContextQuestion("sweep", length, one, self.answer_tokens)))
        found, facts = sum(probe.found for probe in asked), sum(probe.facts for probe in asked)
        self._say("sweep", length, f"{found} of {facts} facts found", over=True)
        return asked

    async def _in_time(self, shortest: int, ceiling: int, *, whole: bool) -> None:
        """Whole answers need room beside the prompt; first tokens are waited for alone."""
        answer = self.answer_tokens if self.promise.latency == "total" else 1
        effort = Effort(self._context.probes, self._context.precision, answer, self._is_over)
        longest = max(shortest, min(ceiling, self._found["accepted"].tokens + 1 - answer))
        search = InTimeSearch(self._asker, self._plain, self.promise, (shortest, longest), effort)
        known = [probe for probe in self._journal.probes if probe.sought == "sweep"]
        try:
            found = await search.find(known)
        except ServerError:
            self._found["in_time"] = search.so_far()
            raise
        if found is not None:
            self._found["in_time"] = up_to(found, ceiling) if whole else found
            self._settled("in_time")

    async def _right(self, accepted: int | None) -> None:
        rule = Rightness(self._context.margin, 1 - CONFIDENCE)
        swept = {length: self._swept(length) for length in self.lengths}
        if found := await find_right(swept, self._ask_all, rule, accepted):
            self._found["right"] = found
            self._settled("right")

    def _swept(self, length: int) -> list[ProbeDocument]:
        return [probe for probe in self._journal.probes if probe.sought == "sweep" and probe.length == length]

    async def _look_aside(self, accepted: int) -> None:
        """What the server does beside answering."""
        subject = side_checks.Subject(self._announced, accepted, self.lengths[0], self._is_over)
        for check in (side_checks.prefix_cache, side_checks.context_shift, side_checks.shared_pool):
            if not self._is_over() and (found := await check(self._asker, self._plain, subject)):
                self.findings.append(found)

    def _is_over(self) -> bool:
        """Whether the time is, asked where something more would be."""
        limit_s = self._context.time_limit
        self.ran_out_of_time = limit_s is not None and time.monotonic() - self._begun > limit_s
        return self.ran_out_of_time

    def _hear(self, probe: ProbeDocument) -> None:
        self._say(probe.sought, probe.length, _verdict(probe))

    def _settled(self, name: LimitName) -> None:
        limit = self._found[name]
        end = "or more" if limit.high is None else f"to {limit.high}"
        self._say(name, limit.tokens, f"the longest ({limit.low} {end})", over=True)

    def _say(self, sought: str, length: int, verdict: str, *, over: bool = False) -> None:
        self._tell(Step(sought, length, verdict, len(self._journal.probes), over))


def _verdict(probe: ProbeDocument) -> str:
    """What came of a probe, in a few words."""
    if probe.refusal:
        return f"refused ({probe.refusal.code.replace('_', ' ')})"
    if probe.cut:
        return f"cut to {probe.usage_tokens} tokens"
    seconds = probe.first_token_s if probe.first_token_s is not None else probe.total_s
    found = f", {probe.found} of {probe.facts} found" if probe.facts else ""
    return f"{seconds:.2f} s{found}" if seconds is not None else f"accepted{found}"
