"""Prompts of exactly so many tokens as the server counts them: built, measured, and mended until they are.

Token counts do not add up, and a longer text may have fewer tokens, so nothing is computed that is not measured. The
text is filled with sentences to just below the target; short words, of which each adds one token in nearly every
tokenizer, make up the rest.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Awaitable, Callable

from pytest_llmbench.context.haystack import first_sentences, texts, unlike_opening
from pytest_llmbench.context.needles import Needle
from pytest_llmbench.core.errors import UsageError

Count = Callable[[str], Awaitable[int]]
"""Prompt tokens of a request with this text as the user's only message, as the server counts them."""

_TRIES = 12  # of each kind of step; two or three are usual
_FIRST_LOOK = 24  # sentences that the first guess at their tokens rests on
_ROOM = 1.5  # sentences that are left to short words
_SALTS = 6  # other short words, where those at hand have no sum that fits
_SECOND = 2


@dataclasses.dataclass(frozen=True, slots=True)
class ExactPrompt:
    """A user's message with its tokens as they were counted, template included."""

    text: str
    tokens: int


class TooShortError(UsageError):
    """A length that not even the question alone fits in; `least` does."""

    def __init__(self, length: int, least: int) -> None:
        super().__init__(
            f"{length} tokens are too few for a prompt: the question with its facts and the chat template alone have "
            f"{least}; ask for longer lengths",
            names=("context.lengths",),
        )
        self.least = least


class InexactError(Exception):
    """No text of just so many tokens was found; `nearest` is the prompt that came nearest."""

    def __init__(self, target: int, nearest: ExactPrompt) -> None:
        super().__init__(f"no prompt of {target} tokens was found, the nearest has {nearest.tokens}")
        self.nearest = nearest


@dataclasses.dataclass(frozen=True, slots=True)
class Draft:
    """What a prompt says but for its length. `seed` is its own: no other prompt begins with the same words.

    With `pool` its sentences are of so many different ones alone, and it has no opening of its own.
    """

    needle: Needle
    seed: str
    pool: int | None = None

    def text(self, count: int, fillers: int = 0, salt: int = 0) -> str:
        """The text with so many sentences and short words; the salt changes these, and the opening, for others."""
        lines = first_sentences(self.needle.language, self.seed, count, different=self.pool)
        for place, line in reversed(self.needle.placed):
            lines.insert(round(place * count), line)
        said = texts()[self.needle.language]
        if fillers:
            draw = random.Random(f"words {self.seed} {salt}")  # noqa: S311  # a text, not a secret
            lines.append(" ".join([said["filler"], *(draw.choice(said["fillers"]) for _ in range(fillers))]))
        if self.pool is None:
            lines.insert(0, unlike_opening(self.needle.language, f"{self.seed} {salt}"))
        return "\n".join([*lines, self.needle.question])


async def exact_prompt(draft: Draft, target: int, count: Count) -> ExactPrompt:
    """The draft's prompt of exactly `target` tokens.

    Raises:
        TooShortError: not even the question fits.
        InexactError: no text of that many tokens was found.
    """
    least = await count(draft.text(0))
    if least > target:
        raise TooShortError(target, least)
    lines, tokens, each = await _filled(draft, target, least, count)
    nearest = ExactPrompt(draft.text(lines), tokens)
    for fewer in range(min(lines, _TRIES) + 1):
        if fewer:
            tokens = await count(draft.text(lines - fewer))
        for salt in range(_SALTS if target - tokens < _TRIES * each else 0):
            known = None if salt else tokens
            found = await _topped_up(draft, lines - fewer, salt, known, target, count)
            if found.tokens == target:
                return found
            nearest = min(nearest, found, key=lambda one: abs(one.tokens - target))
    if not lines:
        raise TooShortError(target, least + round(_TRIES * each))
    raise InexactError(target, nearest)


async def _filled(draft: Draft, target: int, least: int, count: Count) -> tuple[int, int, float]:
    """Sentences that leave a little room below the target, the tokens with them, and about how many each has."""
    each = max(1.0, (await count(draft.text(_FIRST_LOOK)) - least) / _FIRST_LOOK)
    lines, tokens = max(0, int((target - least) / each - _ROOM)), least
    for _ in range(_TRIES):
        tokens = await count(draft.text(lines)) if lines else least
        each = max(1.0, (tokens - least) / lines) if lines else each
        room = target - tokens
        if 0 <= room <= 2 * _ROOM * each or (room < 0 and not lines):
            break
        step = room / each - _ROOM
        lines = max(0, lines + (int(step) or (1 if step > 0 else -1)))
    while tokens > target and lines:
        lines -= 1
        tokens = await count(draft.text(lines)) if lines else least
    return lines, tokens, each


async def _topped_up(draft: Draft, lines: int, salt: int, known: int | None, target: int, count: Count) -> ExactPrompt:
    """The prompt with as many short words as bring it nearest to the target, by the tokens that they have here.

    `known` are its tokens without any, where they were counted before.
    """
    text = draft.text(lines, 0, salt)
    best = ExactPrompt(text, await count(text) if known is None else known)
    words, tokens, seen = 0, best.tokens, {0}
    each = 1.0
    while best.tokens != target and len(seen) < _TRIES:
        words = max(0, words + (round((target - tokens) / each) or (1 if tokens < target else -1)))
        if words in seen:
            break
        seen.add(words)
        text = draft.text(lines, words, salt)
        tokens = await count(text)
        each = max(1.0, (tokens - best.tokens) / words) if len(seen) == _SECOND else each
        best = min(best, ExactPrompt(text, tokens), key=lambda one: abs(one.tokens - target))
    return best
