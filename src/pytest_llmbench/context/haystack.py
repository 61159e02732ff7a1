"""The text that facts are hidden in: sentences of a language without an end, and never the same text twice."""

from __future__ import annotations

import functools
import random
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pytest_llmbench.core.documents import read_yaml

LANGUAGES = ("en", "fr")
_TEXTS = Path(__file__).with_name("texts.yaml")
_SLOT = re.compile(r"\{(\w+)\}")


@functools.cache
def texts() -> Mapping[str, Mapping[str, Any]]:
    """What prompts are made of, by language."""
    found: Mapping[str, Mapping[str, Any]] = read_yaml(_TEXTS).data
    return found


def filler_sentences(language: str, seed: str, *, different: int | None = None) -> Iterator[str]:
    """Sentences without an end, in an order that the seed fixes.

    With `different` they are of a pool of so many alone, the same for every seed: servers that count tokens only in
    `usage` are asked once what each of them costs.
    """
    draw = random.Random(f"{language} {seed}")  # noqa: S311  # a text, not a secret
    if different is not None:
        known = pool(language, different)
        while True:
            yield from draw.sample(known, len(known))
    while True:
        yield _sentence(language, draw)


@functools.lru_cache(maxsize=4)
def _begun(language: str, seed: str, different: int | None) -> tuple[Iterator[str], list[str]]:
    return filler_sentences(language, seed, different=different), []


def first_sentences(language: str, seed: str, count: int, *, different: int | None = None) -> list[str]:
    """So many of them, from the first on; those of the last few seeds are kept."""
    rest, known = _begun(language, seed, different)
    while len(known) < count:
        known.append(next(rest))
    return known[:count]


def unlike_opening(language: str, seed: str) -> str:
    """The first line of a prompt: words that no other prompt begins with, so that no server knows its beginning."""
    draw = random.Random(f"opening {language} {seed}")  # noqa: S311
    words = [draw.choice(values) for values in texts()[language]["slots"].values()]
    draw.shuffle(words)
    return str(texts()[language]["opening"]).format(volume=" ".join([str(draw.randrange(1000, 10_000)), *words]))


def _sentence(language: str, draw: random.Random) -> str:
    said = texts()[language]
    pattern: str = draw.choice(said["sentences"])
    return _SLOT.sub(lambda slot: str(draw.choice(said["slots"][slot[1]])), pattern)


@functools.cache
def pool(language: str, size: int) -> tuple[str, ...]:
    """So many different sentences, the same ones every time."""
    draw = random.Random(f"pool {language}")  # noqa: S311
    known = dict[str, None]()
    while len(known) < size:
        known[_sentence(language, draw)] = None
    return tuple(known)
