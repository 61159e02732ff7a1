"""The longest prompt that a server takes, to the token: it is bisected, with what the server itself says as a guess.

A length is taken where its prompt is neither refused nor cut. What a server announces, and what its refusals name, is
tried first: two or three prompts then settle it. Refusals that may have another cause (memory, a server that went away)
are believed when they come twice; one that may be over another time is no end that is sure.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from pytest_llmbench.context.questions import Asker, ContextQuestion, is_taken
from pytest_llmbench.context.refusals import may_pass, told_limits
from pytest_llmbench.runs.context_document import LimitDocument, ReasonDocument

if TYPE_CHECKING:
    from pytest_llmbench.context.needles import Needle
    from pytest_llmbench.runs.context_document import ProbeDocument, Value

_AROUND = (-1, 0, 1, 2)  # from a length that is named: engines count the answer's first token in, or not
_MOST_NAMED = 3  # lengths that are believed enough to be tried: some servers name another one each time
_ANSWER_TOKENS = 1


class AcceptedSearch:
    """Bisects between `shortest` and `longest`; `announced` is what the server says of itself, None where it does not.

    The lengths are prompt tokens; each prompt asks for one token of an answer. `spent` tells that the time is over.
    """

    def __init__(  # where, and with what, a search begins
        self,
        asker: Asker,
        needle: Needle,
        shortest: int,
        longest: int,
        announced: int | None = None,
        spent: Callable[[], bool] = lambda: False,
    ) -> None:
        self._asker, self._needle, self._spent = asker, needle, spent
        self._taken, self._refused = 0, longest + 1
        self._shortest, self._longest = shortest, longest
        self._named = {announced} if announced else set[int]()
        self._hints = _around(sorted(self._named))
        self.probes: list[ProbeDocument] = []
        self._last: ProbeDocument | None = None

    async def find(self) -> LimitDocument:
        """The limit. It is exact where `decided`: every prompt had just as many tokens as it was to have.

        Below the shortest prompt it is somewhere, and not decided.
        """
        length = self._shortest
        while not self._spent():
            await self._try(length)
            if not self._taken or self._refused - self._taken <= 1:
                return self._limit(decided=bool(self._taken))
            length = self._next()
        return self.so_far()

    def so_far(self) -> LimitDocument:
        """What is known where the search was ended from outside."""
        found = self._limit(decided=False)
        return found.model_copy(update={"reason": ReasonDocument(code="stopped", values={"tokens": found.tokens})})

    def _next(self) -> int:
        """A hint that still tells something, else the longest length once, else the middle."""
        while self._hints:
            hint = self._hints.pop(0)
            if self._taken < hint < self._refused:
                return hint
        if self._refused == self._longest + 1 and self._taken < self._longest:
            return self._longest
        return (self._taken + self._refused) // 2

    async def _try(self, length: int) -> None:
        probe = await self._ask(length)
        if probe.refusal and probe.refusal.code in ("http", "out_of_memory", "server_gone"):
            probe = await self._ask(length, again=1)
        if is_taken(probe):
            self._taken = max(self._taken, length)
            return
        self._refused, self._last = length, probe
        told = told_limits(probe.refusal.text) if probe.refusal else [probe.usage_tokens or 0]
        news = [limit for limit in told if limit not in self._named][: _MOST_NAMED - len(self._named)]
        self._named.update(news)
        self._hints = [*_around(news), *self._hints]

    async def _ask(self, length: int, again: int = 0) -> ProbeDocument:
        probe = await self._asker.ask(ContextQuestion("accepted", length, self._needle, _ANSWER_TOKENS, again))
        self.probes.append(probe)
        return probe

    def _limit(self, *, decided: bool) -> LimitDocument:
        found = self._taken
        refusal = self._last.refusal if self._last else None
        passing = refusal is not None and may_pass(refusal)
        open_ended = self._last is None or passing
        exact = all(probe.prompt_tokens == probe.length for probe in self.probes)
        return LimitDocument(
            tokens=found,
            low=found,
            high=None if open_ended else self._refused - 1,
            decided=decided and exact and not passing,
            probes=len(self.probes),
            reason=_reason(self._last, found),
        )


def _around(limits: Sequence[int]) -> list[int]:
    return [limit + step for limit in limits for step in _AROUND]


def _reason(refused: ProbeDocument | None, found: int) -> ReasonDocument:
    if refused is None:
        return ReasonDocument(code="end_of_range", values={"tokens": found})
    told = refused.refusal
    if told is None:
        values: dict[str, Value] = {"length": refused.length, "usage_tokens": refused.usage_tokens}
        return ReasonDocument(code="cut" if found else "never", values=values)
    values = {"length": refused.length, "code": told.code, "status": told.status, "text": told.text}
    return ReasonDocument(code="refused" if found else "never", values=values)
