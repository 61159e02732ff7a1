"""Answers that a run did not ask for but found in the completion cache, where only a server's names vouch for them."""

from __future__ import annotations

import dataclasses
from typing import Any

from pytest_llmbench.core.locale import N_, Words
from pytest_llmbench.runs.typed import RunDocument

CACHED_ANSWERS = N_(
    "{count} of {total} answers of {variant} come from the completion cache, the oldest of {since}: they are "
    "known by the "
    "model's name alone, and the server may have other weights behind it by now (generation.cache: false asks anew)."
)


@dataclasses.dataclass(frozen=True, slots=True)
class CachedAnswers:
    """Those of one variant, by (case, epoch), out of `total` answers; `since` is when the oldest was made."""

    places: frozenset[tuple[str, int]]
    total: int
    since: str

    @property
    def share(self) -> float:
        """Of all the variant's answers."""
        return len(self.places) / self.total

    def told(self, variant: str, say: Words) -> str:
        """How many there are, since when, and what to do."""
        return say(CACHED_ANSWERS, **{**self.data(variant), "since": say.moment(self.since)})

    def data(self, variant: str) -> dict[str, Any]:
        """What that sentence is filled with."""
        return {"variant": variant, "count": len(self.places), "total": self.total, "since": self.since}


def cached_answers(document: RunDocument) -> dict[str, CachedAnswers]:
    """What each variant of a run document was not asked; nothing where the hash of the model is part of the key.

    A server tells no such hash: its weights may have changed behind the same name. Answers of a run that was resumed
    are its own, and not among them.
    """
    if not document.metadata.backend.is_server:
        return {}
    found = {variant: _of(document, variant) for variant in document.variants}
    return {variant: cached for variant, cached in found.items() if cached.places}


def _of(document: RunDocument, variant: str) -> CachedAnswers:
    places, moments, total = set(), [], 0
    for row in document.results:
        answer = row.completions.get(variant)
        total += answer is not None
        if answer is not None and answer.cached:
            places.add((row.case, row.epoch))
            moments.append(answer.timestamp)
    return CachedAnswers(frozenset(places), total, since=min(filter(None, moments), default="?"))
