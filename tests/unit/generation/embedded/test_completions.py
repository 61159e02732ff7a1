"""How an answer of llama.cpp ends, and that it was made with the adapters that were asked for."""

from __future__ import annotations

import contextlib
import io
import json
import math
from typing import Any

import pytest

from pytest_llmbench.core.errors import ModelError
from pytest_llmbench.core.settings import GenerationSettings
from pytest_llmbench.generation.embedded.completions import Completions
from pytest_llmbench.generation.rows import Limits, Row

LAST = {
    "stop": True,
    "stop_type": "limit",
    "tokens": [],
    "tokens_predicted": 2,
    "generation_settings": {"lora": [{"id": 0, "scale": 1.0}]},
}


def grown(monkeypatch: pytest.MonkeyPatch, scale: float, limits: Limits) -> Row:
    server: Any = None
    asked = Completions(server, GenerationSettings(), most_tokens=2)
    monkeypatch.setattr(asked, "_events", lambda *_: (event for event in ({"tokens": [5]}, {"tokens": [6]}, LAST)))
    return asked.grow(Row(0, [1], 0), limits, [scale], lambda _: True)


def test_an_answer_as_long_as_it_may_be_is_held_against_the_adapters_it_was_asked_with(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    longest = Limits(frozenset(), 2, 60.0)
    row = grown(monkeypatch, 1.0, longest)
    assert (row.finish, row.made, row.tokens) == ("length", 2, [5, 6])
    with pytest.raises(ModelError, match=r"with its adapters at \[1\.0\], not at \[0\.0\] as asked"):
        grown(monkeypatch, 0.0, longest)


def test_an_answer_that_ends_with_its_last_token_was_not_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    row = grown(monkeypatch, 1.0, Limits(frozenset({6}), 2, 60.0))
    assert (row.finish, row.made, row.tokens) == ("stop", 2, [5])


def test_log_probabilities_that_llama_cpp_cannot_write_are_no_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """It makes a token's NaN null."""
    server: Any = None
    asked, told = Completions(server, GenerationSettings(), most_tokens=2), [{"id": 7, "logprob": None}]
    reply = io.BytesIO(json.dumps({"completion_probabilities": [{"top_logprobs": told}]}).encode())
    monkeypatch.setattr(asked, "_reply", lambda _: contextlib.nullcontext(reply))
    assert math.isnan(asked.likeliest([1], [1.0])[7])
