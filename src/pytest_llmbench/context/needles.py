"""Facts that are hidden in a long text, and the question about one of them, several, or one among look-alikes."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from pytest_llmbench.context.haystack import texts
from pytest_llmbench.metrics.text import Spelling, found

if TYPE_CHECKING:
    from pytest_llmbench.runs.context_document import ProbeKind

KINDS: tuple[ProbeKind, ...] = ("one", "several", "distractors")

_SEVERAL = 3
_DISTRACTORS = 4
_APART = 0.1  # of the text, between the facts of one question
_PLAIN = Spelling()


@dataclasses.dataclass(frozen=True, slots=True)
class Needle:
    """A question, its facts, and what a right answer holds.

    `facts` and `distractors` are sentences with their places in the text (0 its beginning, 1 its end). `values` are
    what was asked for; `wrong` what only look-alikes hold. Needles of the same `name` are the same question.
    """

    name: str
    kind: ProbeKind
    language: str
    depth: float
    question: str
    facts: tuple[tuple[float, str], ...]
    values: tuple[str, ...]
    distractors: tuple[tuple[float, str], ...] = ()
    wrong: tuple[str, ...] = ()

    def found_in(self, answer: str) -> int:
        """How many of the values the answer holds; none where it holds a look-alike's as well."""
        normalised = _PLAIN.normalise(answer)
        return 0 if found(self.wrong, normalised) else len(found(self.values, normalised))

    @property
    def placed(self) -> list[tuple[float, str]]:
        """All its sentences with their places, from the beginning on."""
        return sorted((*self.facts, *self.distractors))


def needles(
    depths: Sequence[float], kinds: Iterable[ProbeKind], languages: Iterable[str], repeats: int, seed: int
) -> list[Needle]:
    """Every question of a length: each kind in each language at each depth, so many times with other facts."""
    wanted = [(kind, language) for kind in kinds for language in languages]
    return [
        needle(kind, language, depth, f"{seed}-{number}")
        for number in range(repeats)
        for depth in depths
        for kind, language in wanted
    ]


def needle(kind: ProbeKind, language: str, depth: float, seed: str) -> Needle:
    """One question about facts at this depth; the seed fixes places and codes."""
    draw = random.Random(f"{kind} {language} {depth:g} {seed}")  # noqa: S311  # facts, not secrets
    said = texts()[language]
    count = {"one": 1, "several": _SEVERAL, "distractors": 1 + _DISTRACTORS}[kind]
    places: list[str] = draw.sample(said["places"], count)
    codes = [str(code) for code in draw.sample(range(10_000, 100_000), count)]
    lines = [str(said["fact"]).format(place=place, code=code) for place, code in zip(places, codes, strict=True)]
    asked = _SEVERAL if kind == "several" else 1
    if kind == "several":
        question = str(said["several"]).format(places=str(said["and"]).join(places))
    else:
        question = str(said["one"]).format(place=places[0])
    spots = [min(1.0, max(0.0, depth + (place - (asked - 1) / 2) * _APART)) for place in range(asked)]
    others = [(place + 0.5) / _DISTRACTORS for place in range(count - asked)]
    return Needle(
        name=f"{language}-{kind}-{depth:g}-{seed}",
        kind=kind,
        language=language,
        depth=depth,
        question=question,
        facts=tuple(zip(spots, lines[:asked], strict=True)),
        values=tuple(codes[:asked]),
        distractors=tuple(zip(others, lines[asked:], strict=True)),
        wrong=tuple(codes[asked:]),
    )
