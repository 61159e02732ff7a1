"""How long a context the real llama.cpp holds, on a model so small that reading a prompt takes no time."""

from __future__ import annotations

import asyncio
import importlib.util
import itertools
from pathlib import Path
from typing import Any

import pytest
from support.tiny_ggufs import byte_level_gguf

from pytest_llmbench.context.context_run import ContextRun, Target
from pytest_llmbench.context.haystack import LANGUAGES, filler_sentences
from pytest_llmbench.core.settings import Settings
from pytest_llmbench.generation.embedded.llamacpp import EmbeddedServer, LlamaOptions, ServedModel
from pytest_llmbench.runs.context_document import ContextTarget

pytestmark = pytest.mark.skipif(importlib.util.find_spec("xllamacpp") is None, reason="needs the package xllamacpp")

SPLIT = LlamaOptions(kv_unified=False)
UNIFIED = LlamaOptions(kv_unified=True)
QUANTIZED = LlamaOptions(kv_unified=False, cache_type_k="q8_0", cache_type_v="q8_0")
SHIFTING = LlamaOptions(context_shift=True)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ServedModel:
    """Its pieces are of one word: training breaks ties by chance, and 256 tokens must have room for a question."""
    lines = [line for language in LANGUAGES for line in itertools.islice(filler_sentences(language, "corpus"), 200)]
    corpus = [f" {word}" for line in lines for word in line.split()]
    path = byte_level_gguf(tmp_path_factory.mktemp("model") / "tiny.gguf", "gpt-2", corpus, heads=1)
    return ServedModel(path, "tiny")


def measured(model: ServedModel, folder: Path, options: LlamaOptions, **server: Any) -> ContextTarget:
    asked = {"depths": [0.5], "languages": "en", "kinds": ["one"], "probes": 5, "answer_tokens": 8}
    settings = Settings.model_validate(
        {
            "context": asked,
            "load": {"latency": 60.0, "measured": "first_token", "scrape": False},
            "output": {"report_dir": folder},
        }
    )
    with EmbeddedServer(model, threads=1, options=options, **server) as running:
        return asyncio.run(ContextRun(settings, Target(running.url)).measure())


def findings(found: ContextTarget) -> dict[str, Any]:
    return {finding.code: finding.values for finding in found.findings}


@pytest.mark.parametrize(
    ("options", "slots", "context"),
    [(SPLIT, 2, 320), (UNIFIED, 2, 256), (QUANTIZED, 1, 448)],
    ids=["split", "unified", "quantized"],
)
def test_the_limit_is_the_context_of_a_slot_to_the_token(
    options: LlamaOptions, slots: int, context: int, model: ServedModel, tmp_path: Path
) -> None:
    """A prompt and the first token of its answer fill the slot."""
    found = measured(model, tmp_path, options, slots=slots, context=context)
    limit = found.limits.accepted
    assert limit is not None
    assert limit.decided
    assert limit.tokens + 1 == found.server.announced_context
    assert limit.probes <= 6
    assert found.counting.exact
    assert all(probe.usage_tokens == probe.length for probe in found.probes if probe.refusal is None)
    assert ("unified_pool_exceeded" in findings(found)) is (options is UNIFIED)
    assert "context_shift" not in findings(found)


def test_a_context_that_is_shifted_is_told(model: ServedModel, tmp_path: Path) -> None:
    found = measured(model, tmp_path, SHIFTING, slots=1, context=512)
    assert findings(found)["context_shift"] == {"context": 512, "prompt_tokens": 511, "answer_tokens": 16}
