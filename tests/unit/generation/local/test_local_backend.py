"""A tiny model with a real LoRA behind the backend: what reaches the model, and what comes back."""

from __future__ import annotations

import base64
import dataclasses
import functools
import gc
import logging
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.tiny_decoders import llama, word_tokenizer

from pytest_llmbench.cases.suites import Case
from pytest_llmbench.cases.tools import as_openai
from pytest_llmbench.core.records import Completion
from pytest_llmbench.core.settings import GenerationSettings
from pytest_llmbench.generation.backend import Backend, OutOfMemoryError, mixes_variants
from pytest_llmbench.generation.local.backend import LocalBackend
from pytest_llmbench.generation.local.continuous import RowEngine, Unfit
from pytest_llmbench.generation.rows import Row
from pytest_llmbench.models.adapters import Adapter
from pytest_llmbench.models.hashing import config_hash
from pytest_llmbench.models.loaded import LoadedModel
from pytest_llmbench.models.quiet import quiet_libraries
from pytest_llmbench.models.sources import Source

CONTEXT = 64
ENDS = list(range(58, 61))
TEMPLATE = "{% for m in messages %}{{ 'w40 ' if m.role == 'user' else 'w41 ' }}{{ m.content }} {% endfor %}w42"
ADAPTER = Adapter(
    name="tiny",
    path="adapters/tiny",
    weights_file="",
    weights_hash="aaa",
    config_hash="ccc",
    base_hash=None,
    base_name=None,
    kind="LORA",
    rank=4,
    alpha=8,
    target_modules=("q_proj",),
    made_at=0.0,
)


@pytest.fixture(autouse=True)
def _threads_come_back() -> Iterator[None]:
    usual = torch.get_num_threads()
    yield
    torch.set_num_threads(usual)


@pytest.fixture
def loaded() -> LoadedModel:
    """A pair whose variants disagree."""
    from peft import LoraConfig, get_peft_model

    base = llama(context=CONTEXT)
    base.generation_config.eos_token_id = ENDS
    torch.manual_seed(1)
    lora = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False, task_type="CAUSAL_LM")
    with quiet_libraries():
        pair = get_peft_model(base, lora, adapter_name="variant_0").eval()
    return LoadedModel(
        Source("tiny", "tiny", "", "hash-of-the-weights", "folder"),
        pair,
        word_tokenizer(TEMPLATE),
        device="cpu",
        dtype="float32",
        quantization="none",
        footprint=0,
        estimate={},
        adapters={"finetuned": ADAPTER},
    )


def backend(loaded: LoadedModel, **changed: Any) -> LocalBackend:
    known: dict[str, Any] = {"max_new_tokens": 12, "temperature": 1.5, "batch_size": 4, "threads": 1}
    return LocalBackend(loaded, GenerationSettings(**known | changed), {})


def case(prompt: str, name: str = "", epoch: int = 0) -> Case:
    turn = {"role": "user", "content": prompt}
    return Case("suite", name or prompt.replace(" ", "-"), prompt, (turn,), epoch=epoch, source="suite.yaml:3")


CASES = [case("w5"), case("w6 w7 w8 w9"), case("w10 w11"), case("w12 w13 w14 w15 w16 w17 w18")]


def texts(answering: LocalBackend, cases: Sequence[Case], variant: str) -> dict[tuple[str, int], str]:
    return {(done.case, done.epoch): done.text for done in answering.complete(cases, variant)}


def test_it_speaks_the_protocol_and_base_and_fine_tune_differ(loaded: LoadedModel) -> None:
    answering = backend(loaded)
    assert isinstance(answering, Backend)
    assert answering.variants == ("base", "finetuned")
    assert texts(answering, CASES, "base") != texts(answering, CASES, "finetuned")


def test_batches_that_must_be_padded_are_announced(
    loaded: LoadedModel, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with caplog.at_level(logging.WARNING, "pytest_llmbench"):
        mixing = backend(loaded)
        assert texts(mixing, CASES, "base")
        assert not caplog.records
        monkeypatch.setattr(RowEngine, "unfit", lambda _: Unfit("its attention cannot be replaced"))
        padding = backend(loaded)
        assert texts(padding, CASES, "base")
    assert (mixes_variants(mixing), mixes_variants(padding)) == (True, False)
    assert mixing.describe().get("guesses") is True
    assert "guesses" not in padding.describe()
    assert "padded batches, a variant at a time, which is slower: its attention cannot be replaced" in caplog.text
    with caplog.at_level(logging.WARNING, "pytest_llmbench"):
        monkeypatch.setattr(RowEngine, "unfit", lambda _: Unfit("its layers refuse", "no mask"))
        assert texts(backend(loaded), CASES, "base")
    assert caplog.records[-1].args == ("its layers refuse", "no mask")  # apart: reports translate the one alone
    assert "its layers refuse (no mask)" in caplog.text


def test_a_prompt_that_cannot_be_written_is_an_error_of_its_own_case(loaded: LoadedModel) -> None:
    loaded.tokenizer.chat_template = (
        "{% if messages[0].role == 'system' %}{{ raise_exception('no') }}{% endif %}" + TEMPLATE
    )
    turns = ({"role": "system", "content": "w9"}, {"role": "user", "content": "w5"})
    refused = dataclasses.replace(case("w5", name="refused"), messages=turns)
    together = [refused, *CASES]
    answering = backend(loaded)
    done = {one.case: one for one in answering.complete(together, "base")}
    assert done["suite/refused"].error == (
        "suite.yaml:3: the prompt of suite/refused cannot be written for base: the chat template refuses it: no; "
        "model.system_role: user puts the system prompt into the first user turn"
    )
    assert [done[one.name].error for one in CASES] == [None] * len(CASES)
    assert answering.weight(refused) == 0
    assert answering.embed([(refused, done["suite/refused"])])[0].embedding is None
    loaded.system_role = "user"
    folded = case("w9 w5", name="refused")
    assert texts(backend(loaded), [refused], "base") == texts(backend(loaded), [folded], "base")


def test_what_is_thought_is_no_part_of_the_answer_and_tells_the_form_from_others(loaded: LoadedModel) -> None:
    answering = backend(loaded, max_new_tokens=8, max_reasoning_tokens=4)
    assert answering.identity("base") != backend(loaded, max_new_tokens=8).identity("base")
    loaded.template_arguments = {"enable_thinking": False}
    assert answering.identity("base") != backend(loaded, max_new_tokens=8, max_reasoning_tokens=4).identity("base")


@pytest.mark.parametrize("variant", ["base", "finetuned"])
def test_an_answer_depends_on_seed_case_and_epoch_and_on_nothing_else(loaded: LoadedModel, variant: str) -> None:
    answering = backend(loaded)
    together = texts(answering, CASES, variant)
    assert texts(answering, CASES[::-2], variant).items() <= together.items()
    assert texts(backend(loaded, batch_size=1), [CASES[2]], variant).items() <= together.items()
    again = dataclasses.replace(CASES[0], epoch=1)
    assert texts(answering, [again], variant)[again.name, 1] != together[again.name, 0]
    assert texts(backend(loaded, seed=43), CASES, variant) != together


def test_the_base_answers_as_the_raw_base_does(loaded: LoadedModel) -> None:
    raw = llama(context=CONTEXT)
    raw.generation_config.eos_token_id = ENDS
    alone = dataclasses.replace(loaded, model=raw, adapters={})
    assert texts(backend(alone), CASES, "base") == texts(backend(loaded), CASES, "base")


def test_prompts_go_through_the_chat_template_where_there_is_one(loaded: LoadedModel) -> None:
    turns = ({"role": "system", "content": "w9"}, {"role": "user", "content": "w5 w6"})
    asked = dataclasses.replace(case("w5 w6"), messages=turns)
    assert backend(loaded)._prompts.tokens(asked) == [41, 9, 40, 5, 6, 42]
    plain = dataclasses.replace(loaded, tokenizer=word_tokenizer())
    assert backend(plain)._prompts.tokens(asked) == [9, 5, 6]


def test_each_variant_reads_prompts_in_its_own_form(loaded: LoadedModel) -> None:
    other = dataclasses.replace(ADAPTER, chat_template="w50 {{ messages[-1].content }}")
    answering = backend(dataclasses.replace(loaded, adapters={"finetuned": other}))
    assert [answering._prompts.tokens(case("w5"), variant) for variant in ("base", "finetuned")] == [
        [40, 5, 42],
        [50, 5],
    ]
    assert [next(iter(answering.complete([case("w5")], one))).prompt_tokens for one in answering.variants] == [3, 2]
    assert answering.identity("base") == backend(loaded).identity("base")
    assert answering.identity("finetuned") != backend(loaded).identity("finetuned")
    assert answering.describe()["chat_templates"] == {"base": "base", "finetuned": "adapters/tiny"}


@pytest.mark.parametrize(("size", "together"), [(1, 1), (2, 4)])
def test_a_completion_tells_how_many_were_answered_at_once_and_not_how_many_waited(
    loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch, size: int, together: int
) -> None:
    answering = backend(loaded, batch_size=size)
    asked = [(one, variant) for one in CASES for variant in answering.variants]
    assert {done.batch_size for done in answering.complete_together(asked)} == {together}
    monkeypatch.setattr(RowEngine, "unfit", lambda _: Unfit("its attention cannot be replaced"))
    of_one = asked[: size * len(answering.variants)]  # padded batches are of one variant
    assert {done.batch_size for done in backend(loaded, batch_size=size).complete_together(of_one)} == {size}


def test_a_completion_counts_tokens_and_tells_how_it_ended(loaded: LoadedModel) -> None:
    done = {completion.case: completion for completion in backend(loaded).complete(CASES, "base")}
    assert [done[one.name].prompt_tokens for one in CASES] == [3, 6, 4, 9]
    assert {completion.batch_size for completion in done.values()} == {4}
    for completion in done.values():
        assert completion.finish in {"stop", "length"}
        assert completion.completion_tokens is not None
        assert (completion.completion_tokens == 12) == (completion.finish == "length")


def test_a_prompt_that_does_not_fit_is_refused_with_its_numbers_and_its_neighbours_answered(
    loaded: LoadedModel,
) -> None:
    exact, over = case(" ".join(["w5"] * (CONTEXT - 12 - 2))), case(" ".join(["w5"] * (CONTEXT - 12 - 1)), "over")
    done = {completion.case: completion for completion in backend(loaded).complete([exact, over, CASES[0]], "base")}
    assert done[exact.name].error is done[CASES[0].name].error is None
    error = done["suite/over"].error
    assert done["suite/over"].finish == "error"
    assert error is not None
    assert "suite.yaml:3: the prompt of suite/over has 53 tokens, and 12 more" in error
    assert "the model holds 64" in error


def test_a_prompt_that_may_be_truncated_keeps_its_end_and_is_marked(loaded: LoadedModel) -> None:
    long = case(" ".join(["w5"] * 99 + ["w6"]))
    answering = backend(loaded, long_prompt="truncate")
    done = next(answering.complete([long], "base"))
    assert (done.prompt_truncated, done.prompt_tokens, done.error) == (True, CONTEXT - 12, None)
    assert answering._prompts.tokens(long)[-2:] == [6, 42]
    assert not next(answering.complete([CASES[0]], "base")).prompt_truncated


def test_answers_longer_than_the_context_are_refused_even_where_prompts_may_be_truncated(loaded: LoadedModel) -> None:
    done = next(backend(loaded, long_prompt="truncate", max_new_tokens=CONTEXT).complete([CASES[0]], "base"))
    assert done.finish == "error"


def test_answers_that_ran_out_of_time_keep_what_they_had(loaded: LoadedModel) -> None:
    done = list(backend(loaded, timeout=1e-9).complete(CASES[:2], "base"))
    assert [(completion.finish, completion.completion_tokens) for completion in done] == [("timeout", 1)] * 2


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        MemoryError(),
        RuntimeError("can't allocate memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)
def test_running_out_of_memory_midway_keeps_what_was_answered(
    loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    whole = texts(backend(loaded), CASES, "finetuned")
    answering = backend(loaded)
    break_after_steps(loaded, monkeypatch, 3, error)
    kept: list[Completion] = []
    with pytest.raises(OutOfMemoryError):
        kept.extend(answering.complete(CASES, "finetuned"))
    assert 0 < len(kept) < len(CASES)
    assert {(done.case, done.epoch): done.text for done in kept}.items() <= whole.items()
    monkeypatch.undo()
    assert texts(answering, CASES, "finetuned") == whole


def test_a_lack_of_memory_is_told_with_the_answers_that_were_worked_on_and_not_with_those_that_waited(
    loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    answering = backend(loaded, batch_size=1)
    break_after_steps(loaded, monkeypatch, 0, MemoryError())
    with pytest.raises(OutOfMemoryError) as out:
        list(answering.complete(CASES, "base"))
    assert out.value.at_once == 1


def test_long_prompts_that_do_not_fit_leave_the_short_ones_as_many_at_once_as_take_no_more(
    loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    answering, usual = backend(loaded), RowEngine.shared
    long = [case(" ".join(["w5"] * 30), f"long-{number}") for number in range(2)]

    def of(cases: Sequence[Case]) -> list[tuple[Case, str]]:
        return [(one, variant) for one in cases for variant in answering.variants]

    def limited(at: RowEngine, prompts: Sequence[tuple[str | None, Sequence[int]]]) -> list[int]:
        if at.places > 2 and any(len(tokens) > 30 for _, tokens in prompts):
            raise MemoryError
        return usual(at, prompts)

    monkeypatch.setattr(RowEngine, "shared", limited)
    with pytest.raises(OutOfMemoryError) as out:
        list(answering.complete_together(of(long)))
    assert out.value.at_once == 4
    assert {done.batch_size for done in answering.complete_together(of(long))} == {2}
    assert {done.batch_size for done in answering.complete_together(of(CASES))} == {4}  # of half of the positions


def test_running_out_of_memory_over_embeddings_is_told_as_such(
    loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    answering = backend(loaded)
    (done,) = answering.complete(CASES[:1], "finetuned")
    with monkeypatch.context() as broken:
        broken.setattr(RowEngine, "read", lambda *_: (_ for _ in ()).throw(MemoryError()))
        with pytest.raises(OutOfMemoryError):
            answering.embed([(CASES[0], done)])
    (embedded,) = answering.embed([(CASES[0], done)])
    assert embedded.embedding


@pytest.mark.parametrize("padded", [False, True])
def test_logits_that_are_no_numbers_fail_the_answer_and_spoil_no_neighbour(
    loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch, *, padded: bool
) -> None:
    whole = texts(backend(loaded), CASES, "base")
    if padded:
        monkeypatch.setattr(RowEngine, "unfit", lambda _: Unfit("its attention cannot be replaced"))
    answering = backend(loaded)
    weights = loaded.model.named_parameters()
    next(weight for name, weight in weights if "lora_B" in name).data.fill_(torch.nan)
    asked = [(one, variant) for one in CASES for variant in answering.variants]
    done = {(one.case, one.variant): one for one in answering.complete_together(asked)}
    assert {(one.name, 0): done[one.name, "base"].text for one in CASES} == whole
    for failed in (done[one.name, "finetuned"] for one in CASES):
        assert (failed.finish, failed.text, failed.embedding) == ("error", "", None)
        assert str(failed.error).startswith("after 0 tokens finetuned cannot answer, its logits are no numbers (NaN)")
    assert texts(answering, CASES[::-1], "base") == whole
    (unread,) = answering.embed([(CASES[0], dataclasses.replace(done[CASES[0].name, "base"], embedding=None))])
    assert unread.embedding


@pytest.mark.parametrize("padded", [False, True])
def test_a_text_whose_states_overflow_has_no_embedding(
    loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch, *, padded: bool
) -> None:
    if padded:
        monkeypatch.setattr(RowEngine, "unfit", lambda _: Unfit("its attention cannot be replaced"))
    answering = backend(loaded)
    loaded.model.get_input_embeddings().weight.data[50] = torch.nan
    said = Completion(CASES[0].name, 0, "finetuned", "w50 w20", "stop")
    broken, whole = answering.embed([(CASES[0], said), (CASES[0], dataclasses.replace(said, text="w20 w21"))])
    assert broken.embedding is None
    assert whole.embedding


def test_any_other_error_of_the_model_is_not_taken_for_a_lack_of_memory(
    loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    answering = backend(loaded)
    break_after_steps(loaded, monkeypatch, 0, RuntimeError("shapes do not match"))
    with pytest.raises(RuntimeError, match="shapes do not match"):
        next(answering.complete(CASES, "base"))


def break_after_steps(loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch, steps: int, error: Exception) -> None:
    """Let the model raise at this step of decoding."""
    inner, calls = loaded.model.get_base_model(), iter(range(99))
    forward = inner.forward

    def breaking(*args: Any, **options: Any) -> Any:
        if next(calls) == steps:
            raise error
        return forward(*args, **options)

    monkeypatch.setattr(inner, "forward", functools.wraps(forward)(breaking))


def vector(completion: Completion) -> np.ndarray[Any, np.dtype[np.float32]]:
    assert completion.embedding is not None
    return np.frombuffer(base64.b64decode(completion.embedding), dtype="<f4")


def test_reading_an_answer_gives_the_embedding_that_was_made_while_it_was_written(loaded: LoadedModel) -> None:
    answering = backend(loaded)
    cases = {one.name: one for one in CASES}
    asked = [dataclasses.replace(one, epoch=epoch) for epoch in range(4) for one in CASES]
    answers = [completion for completion in answering.complete(asked, "base") if completion.text]
    # no special token was left out
    done = [one for one in answers if len(one.text.split()) + (one.finish == "stop") == one.completion_tokens]
    assert {completion.finish for completion in done} == {"stop", "length"}
    bare = [dataclasses.replace(completion, embedding=None) for completion in done]
    read = answering.embed([(cases[completion.case], completion) for completion in bare])
    for written, reread in zip(done, read, strict=True):
        np.testing.assert_allclose(vector(written), vector(reread), rtol=1e-3, atol=1e-4)


def test_the_base_reads_the_answers_of_both_variants(loaded: LoadedModel) -> None:
    answering = backend(loaded)
    said = Completion(CASES[0].name, 0, "base", "w20 w21 w22", "stop")
    by_base, by_tuned = answering.embed([(CASES[0], said), (CASES[0], dataclasses.replace(said, variant="finetuned"))])
    np.testing.assert_allclose(vector(by_base), vector(by_tuned), rtol=1e-4, atol=1e-6)
    tuned = next(answering.complete([CASES[1]], "finetuned"))
    assert tuned.embedding is None


def test_a_base_that_writes_more_than_its_answer_is_embedded_by_the_answer_alone(loaded: LoadedModel) -> None:
    answering = backend(loaded)
    said = Row(
        0, answering._prompts.tokens(CASES[0]), 0, tokens=[*_ids("<end> w20 w21")], finish="stop"
    )  # a mark, as <think>
    said.hidden_mean = torch.ones(32)
    done = answering._completion(CASES[0], "base", said, 1)
    assert (done.text, done.embedding) == ("w20 w21", None)
    plain = dataclasses.replace(said, tokens=_ids("w20 w21"))
    assert answering._completion(CASES[0], "base", plain, 1).embedding is not None


def test_a_text_is_read_without_the_special_tokens_of_any_variant(loaded: LoadedModel) -> None:
    assert backend(loaded).unmarked(["<end>w20 w21<unk>", ""]) == ["w20 w21", ""]


def _ids(text: str) -> list[int]:
    return list(word_tokenizer()(text)["input_ids"])


def test_identity_changes_with_what_ends_an_answer(loaded: LoadedModel) -> None:
    before = {variant: backend(loaded).identity(variant) for variant in loaded.variants}
    loaded.tokenizer.eos_token_id = 33
    other = backend(loaded)
    assert all(other.identity(variant) != before[variant] for variant in loaded.variants)
    loaded.tokenizer.eos_token_id = 2
    loaded.model.get_base_model().generation_config.eos_token_id = 59
    assert backend(loaded).identity("base") != before["base"]


def test_identity_changes_with_all_that_changes_answers(loaded: LoadedModel) -> None:
    from transformers import BitsAndBytesConfig

    identity = backend(loaded).identity("base")
    assert identity == backend(loaded, seed=7, batch_size=2, timeout=5).identity("base")
    assert identity != backend(loaded).identity("finetuned")
    assert identity != backend(loaded, temperature=0.5).identity("base")
    assert identity != backend(loaded, max_new_tokens=13).identity("base")
    assert identity != backend(dataclasses.replace(loaded, dtype="bfloat16")).identity("base")
    assert identity != backend(dataclasses.replace(loaded, tokenizer=word_tokenizer())).identity("base")
    assert identity["config"] == config_hash(Path(loaded.source.path))
    other = dataclasses.replace(ADAPTER, config_hash="another alpha")
    assert backend(loaded).identity("finetuned") != backend(
        dataclasses.replace(loaded, adapters={"finetuned": other})
    ).identity("finetuned")
    assert "kernel" not in identity
    packed = torch.nn.Module()  # as bitsandbytes' layers are
    packed.support_avx512bf16_for_cpu = False  # type: ignore[assignment]
    for dtype, told in ((torch.float32, "as asked"), (torch.bfloat16, None)):
        packed.compute_dtype = dtype  # type: ignore[assignment]
        loaded.model.packed = packed
        assert backend(loaded).identity("base").get("kernel") == told
    quantized = []
    for double in (True, False):
        loaded.model.config.quantization_config = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_use_double_quant=double
        )
        quantized.append(backend(loaded).identity("base")["quantization"])
    assert len(set(quantized)) == 2


def test_threads_and_batch_size_are_taken_as_given_or_measured(
    loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = backend(loaded, batch_size=3, threads=1).describe()
    assert (given["threads"], given["batch_size"]) == (1, 3)

    def measured(step: Any, _set_threads: Any) -> dict[int, float]:
        step()  # works on the model
        return {1: 0.4, 2: 0.2}

    looks = iter([2.0, 3.0])  # 16 rows and 32: a step of either takes longer than half of what an answer may take

    def least(step: Any) -> float:
        step()
        return next(looks)

    monkeypatch.setattr("pytest_llmbench.generation.local.backend.step_seconds", measured)
    monkeypatch.setattr("pytest_llmbench.generation.local.backend._least_seconds", least)
    chosen = backend(loaded, batch_size="auto", threads="auto", timeout=10).describe()
    assert (chosen["threads"], chosen["batch_size"]) == (2, 32)  # 64 rows at once, of two variants
    assert torch.get_num_threads() == 2


def test_answers_take_the_threads_that_were_asked_for_whatever_was_set_since_and_give_them_back(
    loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.set_num_threads(3)
    answering = backend(loaded, threads=1)
    torch.set_num_threads(2)  # by a training in the same session
    seen: list[int] = []
    for method in ("decode", "read"):
        usual = getattr(RowEngine, method)

        def noted(*given: Any, usual: Any = usual) -> Any:
            seen.append(torch.get_num_threads())
            return usual(*given)

        monkeypatch.setattr(RowEngine, method, noted)
    (done,) = answering.complete(CASES[:1], "finetuned")
    answering.embed([(CASES[0], done)])
    assert seen == [1, 1]
    assert torch.get_num_threads() == 2
    answering.close()
    assert torch.get_num_threads() == 2
    backend(loaded, threads=1).close()
    assert torch.get_num_threads() == 2


LISTS_TOOLS = "{% if tools %}{% for t in tools %}{{ t.function.name }} {% endfor %}{% endif %}" + TEMPLATE


def with_tools(one: Case, *names: str) -> Case:
    return dataclasses.replace(one, tools=tuple(as_openai({"name": name}) for name in names))


def test_cases_with_different_tools_are_answered_in_one_batch(loaded: LoadedModel) -> None:
    loaded.tokenizer.chat_template = LISTS_TOOLS
    together = [with_tools(CASES[0], "w30"), with_tools(CASES[1], "w31", "w32"), CASES[2]]
    answering = backend(loaded)
    done = {one.case: one for one in answering.complete(together, "base")}
    more = [done[one.name].prompt_tokens for one in together]
    loaded.tokenizer.chat_template = TEMPLATE
    without = {one.case: one for one in backend(loaded).complete(CASES[:3], "base")}
    assert more == [
        (without[one.name].prompt_tokens or 0) + extra for one, extra in zip(CASES, (1, 2, 0), strict=False)
    ]
    assert [done[one.name].tool_calls for one in together] == [(), (), None]
    assert [done[one.name].tools_left_out for one in together] == [None] * 3


def test_a_closed_backend_holds_no_model(loaded: LoadedModel) -> None:
    answering, model = backend(loaded), weakref.ref(loaded.model.get_base_model())
    answering.close()
    loaded.model = None
    gc.collect()
    assert model() is None


def test_tools_that_the_template_drops_are_told_with_the_answer(loaded: LoadedModel) -> None:
    asked = with_tools(CASES[0], "w30")
    answering = backend(loaded)
    (done,) = answering.complete([asked], "finetuned")
    assert done.tools_left_out == answering.tools_left_out(asked, "finetuned")
    assert str(done.tools_left_out).startswith("the chat template writes no tools")
    assert answering.tools_left_out(CASES[0], "finetuned") is None
