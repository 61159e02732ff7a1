from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.tiny_decoders import DECODERS, PAD, VOCABULARY, llama
from transformers import DynamicCache, LlamaConfig

from pytest_llmbench.generation.local.decoding import decode
from pytest_llmbench.generation.rows import Limits, Row, TextPieces
from pytest_llmbench.generation.sampling import Sampling, noise_key

GREEDY = Sampling(0.0, 1.0, do_sample=False)
SAMPLED = Sampling(2.0, 0.95, do_sample=True)
NEW_TOKENS = 16
NEVER = Limits(frozenset(), NEW_TOKENS, 60.0)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    usual = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(usual)


@pytest.fixture(params=DECODERS)
def model(request: pytest.FixtureRequest) -> Any:
    return DECODERS[request.param]()


def prompts(count: int) -> list[list[int]]:
    """Prompts of 1, 4, 7, … tokens."""
    random = torch.Generator().manual_seed(7)
    return [torch.randint(3, VOCABULARY, (1 + 3 * size,), generator=random).tolist() for size in range(count)]


def answered(model: Any, asked: Sequence[list[int]], sampling: Sampling, limits: Limits) -> list[Row]:
    """The rows in the order of their prompts."""
    rows = [Row(index, prompt, noise_key(42, str(prompt), 0)) for index, prompt in enumerate(asked)]
    return sorted(decode(model, rows, sampling, limits, PAD), key=lambda row: row.index)


def cut(tokens: list[int], ends: Collection[int]) -> list[int]:
    """The tokens before the first that ends an answer."""
    return tokens[: next((place for place, token in enumerate(tokens) if token in ends), None)]


def varied_ends(answers: Sequence[list[int]]) -> frozenset[int]:
    """Two tokens that, taken for ends, make the lengths of these answers differ the most."""
    pairs = itertools.combinations(sorted({token for tokens in answers for token in tokens}), 2)
    ends = max(pairs, key=lambda pair: len({len(cut(tokens, pair)) for tokens in answers}))
    assert len({len(cut(tokens, ends)) for tokens in answers}) > 2
    return frozenset(ends)


def generated(model: Any, prompt: list[int]) -> list[int]:
    """What transformers answers, one prompt at a time, without an end."""
    tokens = model.generate(
        torch.tensor([prompt]),
        attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
        max_new_tokens=NEW_TOKENS,
        do_sample=False,
        eos_token_id=None,
        pad_token_id=PAD,
    )
    continuation: list[int] = tokens[0, len(prompt) :].tolist()
    return continuation


def test_greedy_tokens_are_those_of_generate_while_rows_end_one_after_the_other(model: Any) -> None:
    asked = prompts(6)
    whole = [generated(model, prompt) for prompt in asked]
    ends = varied_ends(whole)
    expected = [cut(tokens, ends) for tokens in whole]
    rows = answered(model, asked, GREEDY, Limits(ends, NEW_TOKENS, 60.0))
    assert [row.tokens for row in rows] == expected
    assert [row.finish for row in rows] == ["length" if len(tokens) == NEW_TOKENS else "stop" for tokens in expected]


def test_a_sampled_answer_is_the_same_alone_and_in_any_batch(model: Any) -> None:
    asked = prompts(7)
    alone = [answered(model, [prompt], SAMPLED, NEVER)[0].tokens for prompt in asked]
    limits = Limits(varied_ends(alone), NEW_TOKENS, 60.0)
    alone = [cut(tokens, limits.eos) for tokens in alone]
    assert [row.tokens for row in answered(model, asked, SAMPLED, limits)] == alone
    assert [row.tokens for row in answered(model, asked[::-2], SAMPLED, limits)] == alone[::-2]


def test_the_mean_hidden_state_is_that_of_reading_the_answer_in_one_pass(model: Any) -> None:
    asked = prompts(5)
    ends = varied_ends([row.tokens for row in answered(model, asked, SAMPLED, NEVER)])
    rows = answered(model, asked, SAMPLED, Limits(ends, NEW_TOKENS, 60.0))
    for row in rows:
        fed = row.tokens if row.finish == "stop" else row.tokens[:-1]
        if not fed:
            assert row.hidden_mean is None
            continue
        with torch.inference_mode():
            hidden = model.get_decoder()(torch.tensor([[*row.prompt, *fed]])).last_hidden_state[0]
        assert row.hidden_mean is not None
        torch.testing.assert_close(row.hidden_mean, hidden[len(row.prompt) :].mean(0), rtol=1e-4, atol=1e-5)


def test_an_answer_of_nothing_but_its_end_has_no_tokens_and_no_hidden_state() -> None:
    model, prompt = llama(), prompts(1)[0]
    first = generated(model, prompt)[0]
    row = answered(model, [prompt], GREEDY, Limits(frozenset({first}), NEW_TOKENS, 60.0))[0]
    assert (row.tokens, row.finish, row.hidden_mean) == ([], "stop", None)


def test_an_end_token_counts_as_made_and_is_no_part_of_the_answer() -> None:
    model, prompt = llama(), prompts(1)[0]
    whole = generated(model, prompt)
    row = answered(model, [prompt], GREEDY, Limits(frozenset({whole[3]}), NEW_TOKENS, 60.0))[0]
    assert (len(row.tokens), row.made) == (whole.index(whole[3]), whole.index(whole[3]) + 1)


def test_a_text_that_closes_the_turn_ends_an_answer() -> None:
    model, prompt = llama(), prompts(1)[0]
    limits = Limits(frozenset(), NEW_TOKENS, 60.0, ended=lambda tokens: len(tokens) == 2)
    row = answered(model, [prompt], GREEDY, limits)[0]
    assert (len(row.tokens), row.finish) == (2, "stop")


@pytest.mark.parametrize("new_tokens", [1, 3, 20])
@pytest.mark.parametrize("closes_at", [0, 2, 19, 33])
def test_an_answer_has_all_its_tokens_and_no_more_whenever_its_thinking_ends(new_tokens: int, closes_at: int) -> None:
    limits = Limits(
        frozenset(),
        new_tokens,
        60.0,
        max_reasoning_tokens=90,
        thought=lambda tokens, _prompt: closes_at if len(tokens) >= closes_at else None,
    )
    row = Row(0, [32], 0)
    while not limits.is_long(row):
        row.tokens.append(32)
    assert len(row.tokens) == closes_at + new_tokens


@pytest.mark.parametrize(("thought", "expected"), [(0, 4), (3, 7), (5, 9), (None, 10)])
def test_thinking_has_tokens_of_its_own_and_the_answer_no_more_than_its_own(thought: int | None, expected: int) -> None:
    limits = Limits(frozenset(), 4, 60.0, max_reasoning_tokens=6, thought=lambda _tokens, _prompt: thought)
    row = answered(llama(), prompts(1), GREEDY, limits)[0]
    assert (len(row.tokens), row.finish) == (expected, "length")


def test_an_answer_out_of_time_ends_with_what_it_has() -> None:
    row = answered(llama(), prompts(1), GREEDY, Limits(frozenset(), NEW_TOKENS, 0.0))[0]
    assert (len(row.tokens), row.finish) == (1, "timeout")


def test_an_answer_is_charged_its_share_of_the_batch_and_no_more() -> None:
    model, asked = llama(), prompts(5)
    ends = varied_ends([row.tokens for row in answered(model, asked, SAMPLED, NEVER)])
    rows = answered(model, asked, SAMPLED, Limits(ends, NEW_TOKENS, 60.0))
    assert sum(row.share_s for row in rows) == pytest.approx(max(row.latency_s for row in rows))
    assert all(0 < row.share_s < row.latency_s for row in rows)
    alone = answered(model, asked[:1], SAMPLED, NEVER)[0]
    assert alone.share_s == pytest.approx(alone.latency_s)


def test_each_row_has_its_own_times() -> None:
    model, asked = llama(), prompts(5)
    ends = varied_ends([row.tokens for row in answered(model, asked, SAMPLED, NEVER)])
    rows = answered(model, asked, SAMPLED, Limits(ends, NEW_TOKENS, 60.0))
    by_length = sorted(rows, key=lambda row: len(row.tokens) + (row.finish == "stop"))
    assert [row.latency_s for row in by_length] == sorted(row.latency_s for row in rows)
    assert {row.first_token_s for row in rows} == {rows[0].first_token_s}
    assert all(row.first_token_s is not None and row.first_token_s <= row.latency_s for row in rows)


class Split:
    """A model whose embedding is on the device `meta` and the rest on the CPU, dispatched as accelerate does it."""

    config = LlamaConfig(num_hidden_layers=1)

    def __init__(self) -> None:
        self.decoder, self.steps = _States(), 0

    def parameters(self) -> Iterator[Any]:
        return iter(SimpleNamespace(device=device, is_meta=False) for device in ("cuda:0", "cuda:1"))

    def get_input_embeddings(self) -> Any:
        return SimpleNamespace(weight=torch.empty(1, device="meta"))

    def get_decoder(self) -> torch.nn.Module:
        return self.decoder

    def __call__(self, **given: Any) -> Any:
        """Tensors are brought to the first device, and the states stay on the last."""
        return self.forward(**{name: one.to("meta") if hasattr(one, "to") else one for name, one in given.items()})

    def forward(self, input_ids: Any, past_key_values: Any, logits_to_keep: Any, **_others: Any) -> Any:
        rows, width = input_ids.shape
        kept = torch.zeros(rows, 1, width, 4)
        past_key_values.update(kept, kept, 0)
        self.decoder(rows, width)
        if hasattr(logits_to_keep, "device"):
            raise RuntimeError("indices should be on the same device as the indexed tensor")  # as CUDA says it
        logits = torch.zeros(rows, logits_to_keep, VOCABULARY)
        logits[..., 5] = 1
        logits[0, :, 6] = 2 if self.steps == 0 else 0
        self.steps += 1
        return SimpleNamespace(logits=logits)


class Renamed(Split):
    """The cache's name of transformers 5.24, which warns of the one before."""

    def forward(self, input_ids: Any, cache: Any, logits_to_keep: Any, **others: Any) -> Any:  # type: ignore[override]
        assert not others.keys() & {"past_key_values"}
        return super().forward(input_ids, cache, logits_to_keep)


class _States(torch.nn.Module):
    def forward(self, rows: int, width: int) -> Any:
        return SimpleNamespace(last_hidden_state=torch.ones(rows, width, 8))


@pytest.mark.parametrize("kind", [Split, Renamed])
def test_layers_on_several_devices_answer_and_rows_that_ended_leave_the_cache(
    kind: type[Split], monkeypatch: pytest.MonkeyPatch
) -> None:
    usual, chosen_on = DynamicCache.batch_select_indices, set[str]()

    def noted(cache: DynamicCache, indices: torch.Tensor) -> None:
        chosen_on.add(indices.device.type)
        usual(cache, indices)

    monkeypatch.setattr(DynamicCache, "batch_select_indices", noted)
    rows = answered(kind(), [[3], [3, 4]], GREEDY, Limits(frozenset({6}), 3, 60.0))
    assert [(row.finish, row.tokens) for row in rows] == [("stop", []), ("length", [5, 5, 5])]
    assert chosen_on == {"cpu"}


def test_nothing_is_left_on_the_model_even_when_the_reader_stops_early() -> None:
    model = llama()
    under_way = decode(model, [Row(0, [5], 0), Row(1, [6], 1)], GREEDY, NEVER, PAD)
    next(under_way)
    del under_way
    assert not model.get_decoder()._forward_hooks


def of_bytes(tokens: Sequence[int]) -> str:
    """A token a byte, so that a letter with an accent takes two."""
    return bytes(tokens).decode("utf-8", errors="replace")


@given(st.text(alphabet=st.characters(exclude_characters="\N{REPLACEMENT CHARACTER}", codec="utf-8"), max_size=30))
def test_the_pieces_together_are_the_answer_and_no_half_character_is_shown(text: str) -> None:
    heard: list[str] = []
    pieces, tokens = TextPieces(of_bytes, heard.append), list(text.encode())
    for count in range(1, len(tokens) + 1):
        pieces.take(tokens[:count])
    pieces.end(tokens)
    assert "".join(heard) == text.strip()


def test_text_that_later_tokens_change_is_shown_whole_again() -> None:
    heard: list[str] = []
    pieces = TextPieces(lambda tokens: "abc"[: len(tokens)] if len(tokens) < 3 else "xyz", heard.append)
    for count in (1, 2):
        pieces.take(range(count))
    pieces.end(range(3))
    assert heard == ["a", "b", "\nxyz"]
