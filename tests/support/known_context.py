"""A server whose context is known: how much it takes, how long that lasts, and how often it answers right.

`KnownContext` says what is true. `SimulatedContext` answers by it at once, with the seconds that it would have taken;
`support.context_server` is the same over HTTP.
"""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal

from pytest_llmbench.context.questions import ContextQuestion
from pytest_llmbench.runs.context_document import ProbeDocument, RefusalDocument

if TYPE_CHECKING:
    from pytest_llmbench.runs.context_document import RefusalCode

Law = Callable[[int], float]
"""Seconds to the first token of a prompt of so many tokens."""

CHUNK = 512


def linear(tokens: int) -> float:
    """A constant and so much a token."""
    return 0.1 + tokens / 4000


def quadratic(tokens: int) -> float:
    """Attention outweighs all else from 8,000 tokens on."""
    return 0.1 + tokens / 8000 + (tokens / 8000) ** 2


def chunked(tokens: int) -> float:
    """Read in chunks: each costs a step of its own, its tokens, and attention to what was read before."""
    whole, rest = divmod(tokens, CHUNK)
    steps = [CHUNK] * whole + ([rest] if rest else [])
    return 0.05 + sum(0.004 + size / 6000 + size * (place * CHUNK + size / 2) / 3e7 for place, size in enumerate(steps))


LAWS: dict[str, Law] = {"linear": linear, "quadratic": quadratic, "chunked": chunked}


@dataclasses.dataclass(frozen=True)
class KnownContext:
    """What is true of a server.

    limit: tokens of the longest prompt that it takes; `beyond` says what it does with a longer one: refuse it, or cut
        it without a word.
    law: seconds to the first token, times lognormal noise whose sigma is `noise`.
    right: the chance that it finds a fact, by depth and length.
    prefix_cache: whether a prompt that it has read before costs nothing.
    loses: what becomes of single requests, by the length.
    """

    limit: int = 8192
    beyond: Literal["refuse", "cut"] = "refuse"
    law: Law = linear
    noise: float = 0.0
    right: Callable[[float, int], float] = lambda _depth, _length: 1.0
    prefix_cache: bool = False
    loses: Callable[[int], RefusalCode | None] = lambda _length: None
    says_limit: bool = True
    seed: int = 0

    def in_time(self, limit_s: float, quantile: float) -> int:
        """The longest prompt of which that share comes in time; the law must rise."""
        from scipy import special

        raised = math.exp(float(special.ndtri(quantile)) * self.noise)
        low, high = 0, self.limit + 1
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self.law(middle) * raised <= limit_s else (low, middle)
        return low

    def words(self, length: int) -> str:
        """What it says to a prompt that is too long."""
        named = f"maximum context length is {self.limit} tokens" if self.says_limit else "prompt is too long"
        return f"This model's {named}, your messages have {length}."


class SimulatedContext:
    """Asks a `KnownContext` without waiting: `asked` counts prompts, `clock_s` the seconds they would have taken."""

    def __init__(self, known: KnownContext) -> None:
        self._known, self._draw = known, random.Random(known.seed)
        self._read: set[str] = set()
        self.asked = 0
        self.clock_s = 0.0

    async def ask(self, question: ContextQuestion) -> ProbeDocument:
        """See `Asker`."""
        self.asked += 1
        known, length = self._known, question.length
        lost = known.loses(length)
        taken = length <= known.limit
        if lost or (not taken and known.beyond == "refuse"):
            told = known.words(length) if not lost else f"simulated {lost}"
            return self._probe(
                question, refusal=RefusalDocument(code=lost or "context_exceeded", status=400, text=told)
            )
        read = min(length, known.limit)
        cached = known.prefix_cache and bool(question.said) and question.said in self._read
        self._read.add(question.said)
        noise = math.exp(self._draw.gauss(0, known.noise)) if known.noise else 1.0
        first = 0.001 if cached else known.law(read) * noise
        self.clock_s += first
        found = sum(self._draw.random() < known.right(question.needle.depth, length) for _ in question.needle.values)
        return self._probe(question, first_token_s=first, total_s=first, usage_tokens=read, found=found)

    async def ask_together(self, questions: Sequence[ContextQuestion]) -> list[ProbeDocument]:
        """See `Asker`: nobody slows another down."""
        return [await self.ask(question) for question in questions]

    def _probe(
        self,
        question: ContextQuestion,
        *,
        refusal: RefusalDocument | None = None,
        first_token_s: float | None = None,
        total_s: float | None = None,
        usage_tokens: int | None = None,
        found: int = 0,
    ) -> ProbeDocument:
        asks = question.sought == "sweep"
        return ProbeDocument(
            id=question.id,
            sought=question.sought,
            length=question.length,
            prompt_tokens=question.length,
            usage_tokens=usage_tokens,
            depth=question.needle.depth if asks else None,
            kind=question.needle.kind,
            language=question.needle.language,
            needle=question.needle.name if asks else None,
            facts=len(question.needle.values) if asks else 0,
            found=found if asks else 0,
            first_token_s=first_token_s,
            total_s=total_s,
            refusal=refusal,
            cut=usage_tokens is not None and usage_tokens < question.length,
            started_s=self.clock_s,
        )
