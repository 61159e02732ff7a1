"""Rows in slots: the answers of `generate`, bit-equal whatever the neighbours, nothing read twice."""

from __future__ import annotations

import collections
import itertools
from collections.abc import Collection, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from support.tiny_decoders import DECODERS, PAD, VOCABULARY, llama

from pytest_llmbench.generation.local import slots
from pytest_llmbench.generation.local.batch import Asked
from pytest_llmbench.generation.local.continuous import RowEngine
from pytest_llmbench.generation.local.drafts import MOST, Guess, Memory
from pytest_llmbench.generation.rows import Limits, Row
from pytest_llmbench.generation.sampling import Sampling, noise_key
from pytest_llmbench.models.quiet import quiet_libraries

GREEDY = Sampling(0.0, 1.0, do_sample=False)
SAMPLED = Sampling(2.0, 0.95, do_sample=True)
NEW_TOKENS = 8
NEVER = Limits(frozenset(), NEW_TOKENS, 60.0)
ADAPTERS = ("variant_0", "variant_1")


@pytest.fixture(autouse=True)
def _threads_come_back() -> Iterator[None]:
    usual = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(usual)


@pytest.fixture(params=DECODERS)
def model(request: pytest.FixtureRequest) -> Any:
    return DECODERS[request.param]()


@pytest.fixture
def pair() -> Any:
    """A base with two adapters that disagree, without PEFT's wrapper."""
    from peft import get_peft_model

    with quiet_libraries():
        wrapped = get_peft_model(llama(), lora(1), adapter_name=ADAPTERS[0])
        wrapped.add_adapter(ADAPTERS[1], lora(2))
    return wrapped.eval().get_base_model()


def lora(rank: int) -> Any:
    from peft import LoraConfig

    torch.manual_seed(rank)
    return LoraConfig(r=rank, target_modules=["q_proj", "down_proj"], init_lora_weights=False, task_type="CAUSAL_LM")


def mixture() -> Any:
    """Each expert sees as many rows as are sent to it."""
    from transformers import MixtralConfig, MixtralForCausalLM

    torch.manual_seed(0)
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4}
    config = MixtralConfig(vocab_size=VOCABULARY, num_key_value_heads=2, num_local_experts=2, **shape)
    return MixtralForCausalLM(config).eval()


def engine(model: Any, places: int = 8, **how: bool) -> RowEngine:
    return RowEngine(model, PAD, places, **{"exact": True, **how})


def prompts(count: int, shared: int = 0) -> list[list[int]]:
    """Prompts of 1, 4, 7, … tokens behind so many that are the same."""
    random = torch.Generator().manual_seed(7)
    sizes = [shared, *(1 + 3 * size for size in range(count))]
    first, *rest = [torch.randint(3, VOCABULARY, (size,), generator=random).tolist() for size in sizes]
    return [first + own for own in rest]


def answered(
    at: RowEngine,
    asked: Sequence[list[int]],
    sampling: Sampling = SAMPLED,
    limits: Limits = NEVER,
    adapters: Sequence[str | None] = (None,),
) -> list[Row]:
    """The rows of each prompt by each adapter, in this order."""
    rows = [
        Asked(Row(index, prompt, noise_key(42, str(prompt), 0)), limits, adapter)
        for index, (adapter, prompt) in enumerate(itertools.product(adapters, asked))
    ]
    return sorted(at.decode(rows, sampling), key=lambda row: row.index)


class _Gpu(str):
    """The CPU by another name: there memory is taken for whole slots."""

    __slots__ = ()
    type = "cuda"


def without_room(monkeypatch: pytest.MonkeyPatch, positions: int) -> None:
    """Let there be no memory for the keys and values of more than so many positions in all slots."""

    def limited(like: torch.Tensor, *shape: int) -> torch.Tensor:
        if shape[0] * shape[1] > positions:
            raise torch.OutOfMemoryError
        return like.new_zeros(shape)

    monkeypatch.setattr(slots, "_zeros", limited)


def out_of_room(at: RowEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask what there is no memory for, so that fewer rows are next worked on."""
    with monkeypatch.context() as short:
        without_room(short, 0)
        with pytest.raises(torch.OutOfMemoryError):
            answered(at, [[5] * 200] * 8)
    answered(at, [[5] * 200])
    assert at.places == 4


def cut(tokens: list[int], ends: Collection[int]) -> list[int]:
    return tokens[: next((place for place, token in enumerate(tokens) if token in ends), None)]


def generated(model: Any, prompt: list[int]) -> list[int]:
    tokens = model.generate(
        torch.tensor([prompt]),
        attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
        max_new_tokens=NEW_TOKENS,
        do_sample=False,
        eos_token_id=None,
        pad_token_id=PAD,
    )
    return list(tokens[0, len(prompt) :].tolist())


def same_bits(one: Row, other: Row) -> bool:
    if one.hidden_mean is None or other.hidden_mean is None:  # of an answer that ended with its first token
        return one.hidden_mean is other.hidden_mean and not one.tokens and not other.tokens
    return one.tokens == other.tokens and torch.equal(one.hidden_mean, other.hidden_mean)


def test_every_decoder_fits(model: Any) -> None:
    assert engine(model).unfit() is None


def test_greedy_tokens_are_those_of_generate_while_rows_make_room_for_others(model: Any) -> None:
    asked = prompts(5, shared=40)
    whole = [generated(model, prompt) for prompt in asked]
    ends = frozenset(token for tokens in whole[:2] for token in tokens[2:4])
    rows = answered(engine(model, 3), asked, GREEDY, Limits(ends, NEW_TOKENS, 60.0))
    assert [row.tokens for row in rows] == [cut(tokens, ends) for tokens in whole]


@pytest.mark.parametrize(("threads", "places"), [(1, 3), (1, 40), (2, 40)])
def test_an_answer_is_the_same_to_the_bit_alone_and_in_any_company(pair: Any, threads: int, places: int) -> None:
    asked = prompts(5, shared=64) + prompts(8)
    chosen = [(None, 0), (ADAPTERS[0], 3), (ADAPTERS[1], 12)]
    alone = [answered(engine(pair, 1), [asked[place]], adapters=[who])[0] for who, place in chosen]
    torch.set_num_threads(threads)
    voices = (ADAPTERS[1], None, ADAPTERS[0])
    together = answered(engine(pair, places), asked, adapters=voices)
    for (who, place), one in zip(chosen, alone, strict=True):
        assert same_bits(one, together[voices.index(who) * len(asked) + place])


@pytest.mark.parametrize(("sampling", "spared"), [(GREEDY, 1), (Sampling(0.05, 0.95, do_sample=True), 1), (SAMPLED, 0)])
def test_guesses_spare_steps_and_change_no_answer_by_a_bit(model: Any, sampling: Sampling, spared: int) -> None:
    asked = [prompt + prompt[:-1] for prompt in prompts(6, shared=9)]
    long = Limits(frozenset({5, 6}), 80, 60.0)
    step, steps = RowEngine.step_logits, collections.Counter[bool]()

    def counted(at: RowEngine, *fed: Any) -> Any:
        steps[at.guesses] += 1
        return step(at, *fed)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(RowEngine, "step_logits", counted)
        plain, guessing = (answered(engine(model, 4, guesses=on), asked, sampling, long) for on in (False, True))
    assert all(map(same_bits, plain, guessing))
    assert [(row.finish, row.made) for row in plain] == [(row.finish, row.made) for row in guessing]
    assert steps[True] <= steps[False] - spared


def test_guesses_are_tried_where_they_leave_the_bits_of_rows_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    at = engine(llama())
    assert at.unfit() is None
    assert at.guesses
    out_of_room(at, monkeypatch)
    assert at.guesses
    monkeypatch.setattr("pytest_llmbench.generation.local.slots._QUERIES", 1)  # one query is a product with a vector
    unlike = engine(llama())
    assert unlike.unfit() is None
    assert not unlike.guesses
    for dependent in (engine(llama(), exact=False), engine(mixture())):
        assert dependent.unfit() is None
        assert not dependent.guesses


def test_base_and_adapters_of_one_pass_answer_as_each_does_alone_with_peft(pair: Any) -> None:
    from peft import get_peft_model

    asked = prompts(4)
    rows = iter(answered(engine(pair), asked, GREEDY, adapters=(None, *ADAPTERS)))
    with quiet_libraries():
        wrapped = get_peft_model(llama(), lora(1), adapter_name=ADAPTERS[0])
        wrapped.add_adapter(ADAPTERS[1], lora(2))
    wrapped.load_state_dict({f"base_model.model.{name}": value for name, value in pair.state_dict().items()})
    assert [next(rows).tokens for _ in asked] == [generated(llama(), prompt) for prompt in asked]
    for name in ADAPTERS:
        wrapped.set_adapter(name)
        assert [next(rows).tokens for _ in asked] == [generated(wrapped.eval(), prompt) for prompt in asked]


def test_what_was_found_of_adapters_parts_holds_for_fewer_rows_too(pair: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    at = engine(pair)
    answered(at, prompts(2), adapters=ADAPTERS)
    found = at.spared["low_rank_parts"]
    out_of_room(at, monkeypatch)
    assert at.spared["low_rank_parts"] == found is not None


def test_what_prompts_share_is_read_once_a_variant(pair: Any) -> None:
    at, read = engine(pair), []
    decoder = pair.get_decoder()
    hook = decoder.register_forward_pre_hook(
        lambda _module, _args, options: read.append(int((options["input_ids"] != PAD).sum())), with_kwargs=True
    )
    asked = prompts(6, shared=96)
    own = sum(len(prompt) - 96 for prompt in asked)
    one = Limits(frozenset(), 1, 60.0)
    answered(at, asked, limits=one, adapters=(None, ADAPTERS[0]))
    assert sum(read) == 2 * (96 + own)
    read.clear()
    answered(at, asked[:1], limits=one)
    hook.remove()
    assert sum(read) == len(asked[0]) - 96


def test_a_beginning_that_was_read_before_serves_longer_rows_too(pair: Any) -> None:
    asked, at = prompts(4, shared=70), engine(pair, 4)
    short, long = (Limits(frozenset(), count, 60.0) for count in (8, 48))
    answered(at, asked, limits=short)
    rows = answered(at, asked, limits=long)  # whose keys and values take more room
    assert all(map(same_bits, rows, answered(engine(pair, 4), asked, limits=long)))


def test_reading_an_answer_gives_the_hidden_state_that_was_made_while_it_was_written(model: Any) -> None:
    at, asked = engine(model, 3), prompts(5, shared=33)
    rows = answered(at, asked)
    read = at.read([([*row.prompt, *row.tokens[:-1]], len(row.prompt)) for row in rows])
    for row, mean in zip(rows, read, strict=True):
        assert row.hidden_mean is not None
        torch.testing.assert_close(row.hidden_mean, mean, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("guesses", [False, True])
def test_a_row_that_fails_spoils_nobody_who_has_its_slot_later(*, guesses: bool) -> None:
    model, bad = llama(), 60
    limits = Limits(frozenset({bad}), 40, 60.0)  # nobody goes on after saying it
    asked = [prompt for prompt in prompts(6) if bad not in prompt]
    healthy = answered(engine(model, 2), asked, limits=limits)
    model.get_input_embeddings().weight.data[bad] = torch.nan
    broken = [[*range(3, 40), bad], [bad]]
    rows = answered(engine(model, 2, guesses=guesses), [*broken, *asked], limits=limits)
    assert [row.finish for row in rows[:2]] == ["error", "error"]
    assert all(map(same_bits, rows[2:], healthy))


def test_a_guess_that_overflows_spoils_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    model, bad = llama(), 60
    limits = Limits(frozenset({bad}), 40, 60.0)
    asked = [prompt for prompt in prompts(6) if bad not in prompt]
    plain = answered(engine(model), asked, limits=limits)
    model.get_input_embeddings().weight.data[bad] = torch.nan
    monkeypatch.setattr(Memory, "guess", lambda _memory, _most: Guess([bad], 0.99))
    assert all(map(same_bits, answered(engine(model, guesses=True), asked, limits=limits), plain))


def test_reading_a_text_that_overflows_spoils_no_text_in_its_slot() -> None:
    model, bad = llama(), 60
    texts = [([5, 6, 7, 8], 2), ([9, 10], 1)]
    whole = engine(model, 2).read(texts)
    model.get_input_embeddings().weight.data[bad] = torch.nan
    at = engine(model, 2)
    assert all(mean.isnan().all() for mean in at.read([([*range(3, 30), bad], 2)] * 2))
    assert all(map(torch.equal, at.read(texts), whole))


def test_long_prompts_are_read_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    model, asked = llama(), [prompts(1, shared=90)[0], prompts(1, shared=70)[0]]
    whole = answered(engine(model), asked)
    monkeypatch.setattr("pytest_llmbench.generation.local.continuous.READ_AT_ONCE", 33)
    assert all(map(same_bits, answered(engine(model), asked), whole))


def test_times_are_a_rows_own_and_shares_add_up() -> None:
    rows = answered(engine(llama(), 2), prompts(5))
    assert all(0 < (row.first_token_s or 0) <= row.latency_s for row in rows)
    assert all(0 < row.share_s <= row.latency_s for row in rows)
    late = answered(engine(llama(), 2), prompts(3), limits=Limits(frozenset(), NEW_TOKENS, 0.0))
    assert [(len(row.tokens), row.finish) for row in late] == [(1, "timeout")] * 3


def test_nothing_is_left_on_the_model_even_when_the_reader_stops_early(pair: Any) -> None:
    under_way = engine(pair).decode([Asked(Row(0, [5], 0), NEVER, None), Asked(Row(1, [6], 1), NEVER, None)], GREEDY)
    next(under_way)
    del under_way
    assert not pair.get_decoder()._forward_hooks
    assert not any("forward" in vars(module) for module in pair.modules())
    assert pair.config._attn_implementation == "sdpa"


def test_a_model_whose_attention_does_more_is_left_to_padded_batches() -> None:
    from transformers import Gemma2Config, Gemma2ForCausalLM

    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = Gemma2Config(vocab_size=VOCABULARY, head_dim=16, num_key_value_heads=1, **shape)
    capped = Gemma2ForCausalLM._from_config(config, attn_implementation="eager").eval()
    why = engine(capped).unfit()
    assert why is not None
    assert (why.reason, "softcap" in why.met) == ("its layers refuse", True)
    assert capped.config._attn_implementation == "eager"


def test_a_model_whose_layers_lie_on_several_devices_is_left_to_padded_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    model: Any = llama()
    weights = [SimpleNamespace(device=f"cuda:{number}", is_meta=False) for number in (0, 1)]
    monkeypatch.setattr(model, "parameters", lambda: iter(weights))
    assert "its layers lie on several devices" in str(engine(model).unfit())


def test_memory_that_is_short_while_a_model_is_tried_is_no_reason_for_padded_batches(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: Any) -> Any:
        raise RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")

    tried = engine(llama())
    monkeypatch.setattr(tried, "logits", fail)
    with pytest.raises(RuntimeError, match="CUBLAS_STATUS_ALLOC_FAILED"):
        tried.unfit()


def test_finding_out_if_a_model_fits_takes_no_memory_for_all_places(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []

    def noted(like: torch.Tensor, *shape: int) -> torch.Tensor:
        made.append(shape[0])
        return like.new_zeros(shape)

    monkeypatch.setattr(slots, "_zeros", noted)
    assert engine(llama(), places=512).unfit() is None
    assert made
    assert max(made) <= MOST + 2


def test_adapters_that_are_no_plain_lora_share_no_batch() -> None:
    from peft import LoraConfig, get_peft_model

    with quiet_libraries():
        dora = get_peft_model(llama(), LoraConfig(use_dora=True, target_modules=["q_proj"], task_type="CAUSAL_LM"))
    assert not engine(dora.get_base_model()).mixed


def test_long_rows_are_answered_fewer_at_once_than_memory_was_reckoned_for(monkeypatch: pytest.MonkeyPatch) -> None:
    at = engine(llama(), 64)
    answered(at, prompts(3))
    assert at.places == 64
    monkeypatch.setattr("pytest_llmbench.generation.local.continuous.POSITIONS", 1)
    answered(at, prompts(3))
    assert at.places == 32


def test_rows_too_long_for_memory_are_answered_fewer_at_once_and_shorter_ones_as_many_as_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    at, short, long = engine(llama(), 8), prompts(3), [[5] * 100]
    without_room(monkeypatch, 10 * slots.SEEN)
    alone = answered(at, short)
    with pytest.raises(torch.OutOfMemoryError):
        answered(at, long * 8)
    assert len(answered(at, long * 2)) == 2
    assert at.places == 4
    answered(at, [[5] * 95])  # which take about as much: as many would run out of memory again
    assert at.places == 4
    assert [row.tokens for row in answered(at, short)] == [row.tokens for row in alone]
    assert at.places == 8


def test_one_long_row_on_a_gpu_takes_memory_for_itself_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    at = engine(llama(), 8, exact=False)
    at._device = _Gpu("cpu")
    without_room(monkeypatch, 10 * slots.SEEN)
    assert len(answered(at, [[5] * 100])) == 1
    assert at.places == 1
    assert len(answered(at, prompts(8))) == 8
    assert at.places == 8


def test_texts_too_long_to_be_read_at_once_leave_answers_as_many_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    at = engine(llama(), 8)
    without_room(monkeypatch, 10 * slots.SEEN)
    with pytest.raises(torch.OutOfMemoryError):
        at.read([([5] * 100, 90)] * 8)
    assert len(answered(at, prompts(3))) == 3
    assert at.places == 8


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # PEFT asks for it
def test_an_adapter_over_the_output_layer_answers_a_variant_at_a_time() -> None:
    from peft import LoraConfig, get_peft_model

    over = LoraConfig(target_modules=["q_proj", "lm_head"], r=4, init_lora_weights=False)
    tuned = get_peft_model(llama(), over).eval()
    at = engine(tuned.get_base_model())
    assert not at.mixed
    (prompt,) = prompts(1)
    (row,) = answered(at, [prompt], GREEDY, adapters=["default"])
    with torch.no_grad():
        told = tuned(input_ids=torch.tensor([prompt]), use_cache=False).logits[0, -1]
    assert row.tokens[0] == int(told.argmax())
