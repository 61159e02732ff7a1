"""How near two answers are in meaning: cosine of mean last-layer hidden states of the base model, as the reference."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pytest_llmbench.cases.suites import Case
    from pytest_llmbench.core.records import Completion


def cosine_similarity(_case: Case, base: Completion, completion: Completion) -> float | None:
    """A pair metric: `similarity` of the two answers to a case."""
    return similarity(base, completion)


def similarity(first: Completion, second: Completion) -> float | None:
    """The cosine of two answers' embeddings, -1 to 1; exactly 1 for equal texts.

    None, which is unscored, when an answer has no embedding (a server gives none) or a zero one, whose direction is
    undefined.
    """
    if first.embedding is None or second.embedding is None:
        return None
    if first.text == second.text:
        return 1.0
    one, other = _vector(first.embedding), _vector(second.embedding)
    if not one.any() or not other.any():
        return None
    from scipy.spatial.distance import cosine  # scikit-learn's takes over a second to import

    return min(1.0, max(-1.0, 1.0 - float(cosine(one, other))))


def _vector(embedding: str) -> NDArray[np.float64]:
    """The numbers of base64 little-endian float32; float64, so that squares of large states do not overflow."""
    import numpy as np

    return np.frombuffer(base64.b64decode(embedding, validate=True), dtype="<f4").astype(np.float64)
