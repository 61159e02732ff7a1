"""Which answers a session has already: what decides an answer, and whether all that would be asked for are stored."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_llmbench.cases.suites import Case
from pytest_llmbench.core.announcing import announce_again
from pytest_llmbench.generation.completion_store import CompletionCache, CompletionJournal, content_key
from pytest_llmbench.generation.provenance import NO_HIDDEN_STATES

if TYPE_CHECKING:
    from pytest_llmbench.core.settings import Settings
    from pytest_llmbench.generation.backend import Backend

_LOOKED_UP_AT_ONCE = 1000
_log = logging.getLogger("pytest_llmbench")


def question(settings: Settings, case: Case) -> Mapping[str, object]:
    """What decides the answer besides who answers: words, tools, and the noise, which the case's name keys."""
    choice = case.tool_choice or settings.server.tool_choice if case.tools else None
    return {
        "case": case.name,
        "messages": [dict(message) for message in case.messages],
        "seed": settings.generation.seed,
        "epoch": case.epoch,
        **({"tools": [dict(tool) for tool in case.tools], "tool_choice": choice} if case.tools else {}),
    }


def embeds(settings: Settings, backend: Backend) -> bool:
    """Whether answers are to have embeddings, which an engine without hidden states is not asked for in vain."""
    if not settings.metrics.cosine_similarity or len(backend.variants) == 1:
        return False
    return NO_HIDDEN_STATES not in (backend.describe().get("limits") or ())


@dataclass(frozen=True, slots=True)
class Stored:
    """Where answers may lie that a session would otherwise ask for: the journal of its run, and the cache."""

    journal: CompletionJournal
    cache: CompletionCache

    def holds_all(self, cases: Sequence[Case], backend: Backend, settings: Settings) -> bool:
        """Whether every variant's answer to every case is there, with its embedding where one is wanted."""
        return all(
            self._holds(cases[at : at + _LOOKED_UP_AT_ONCE], variant, backend, settings)
            for at in range(0, len(cases), _LOOKED_UP_AT_ONCE)
            for variant in backend.variants
        )

    def pair(  # what was found before, and what is known now
        self,
        kept: Mapping[str, Any],
        load: Callable[[], Backend],
        asked: Sequence[Case],
        settings: Settings,
        facts: Mapping[str, Any],
    ) -> Backend | None:
        """A pair that is told from what its last loading found; None where an answer is missing."""
        from pytest_llmbench.generation.local.remembered import RememberedPair

        known = RememberedPair(kept, load, facts)
        return tell_known(known, kept, settings) if self.holds_all(asked, known, settings) else None

    def _holds(self, cases: Sequence[Case], variant: str, backend: Backend, settings: Settings) -> bool:
        identity = backend.identity(variant)
        keys = [content_key(identity, question(settings, case)) for case in cases]
        journaled = self.journal.get_all(keys)
        found = {**self.cache.get(key for key in keys if key not in journaled), **journaled}
        bare = any(one.text and one.embedding is None for one in found.values())
        return found.keys() >= {*keys} and not (embeds(settings, backend) and bare)


def tell_known(known: Backend, kept: Mapping[str, Any], settings: Settings) -> Backend:
    """Announce what the last loading of a pair announced, whose answers are all stored; returns the pair."""
    from pytest_llmbench.generation.local.remembered import announced

    announce_again(announced(kept))
    _log.info("every answer is stored: %s is not loaded", settings.model.base)
    return known
