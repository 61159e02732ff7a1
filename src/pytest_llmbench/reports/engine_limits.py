"""What an engine's answers do not promise or lack, in the reader's words: engines tell it by a key each."""

from __future__ import annotations

from collections.abc import Mapping

from pytest_llmbench.core.locale import N_, Words
from pytest_llmbench.runs.typed import AnsweringBackend

_LIMITS: Mapping[str, str] = {
    "rounds_by_batch": N_(
        "How many answers are computed at once changes how they round: where two tokens are almost equally likely, an "
        "answer may differ from one run to the next (generation.batch_size: 1 avoids it)."
    ),
    "own_noise": N_("Sampling draws from the engine's own noise: at the same seed, other engines give other answers."),
    "no_hidden_states": N_("The engine shows no hidden states: cosine similarity is unscored, perplexity not known."),
    "base_not_compared": N_("The base under its adapters was not compared with the raw base."),
}
"""By the key that a run carries: files hold it, so no key changes its meaning."""


def engine_limits(backend: AnsweringBackend, say: Words) -> list[str]:
    """A sentence for each limit that the engine of a run told of; keys of newer versions are left out."""
    return [say(_LIMITS[key]) for key in backend.limits if key in _LIMITS]
