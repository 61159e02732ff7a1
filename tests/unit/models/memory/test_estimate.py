"""The estimate of training and answering, held against what PyTorch really keeps."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import warnings
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmbench.core.errors import ModelError
from pytest_llmbench.finetune.trainer import target_modules
from pytest_llmbench.models.memory.architecture import Architecture, read_architecture
from pytest_llmbench.models.memory.estimate import (
    TrainingPlan,
    estimate_inference,
    estimate_training,
    largest_batch,
    weights_by_class,
)
from pytest_llmbench.models.memory.weights import GIB, estimate_weights
from pytest_llmbench.models.quiet import quiet_libraries
from pytest_llmbench.models.registry import load_registry

ALIASES = sorted(load_registry())
SIZES = {"vocab_size": 64, "hidden_size": 64, "intermediate_size": 192, "num_hidden_layers": 3}
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16}
TINY: dict[str, dict[str, Any]] = {
    "llama": {"model_type": "llama", **SIZES, **HEADS},
    "qwen3": {"model_type": "qwen3", **SIZES, **HEADS, "head_dim": 32},
    "phi": {"model_type": "phi", **SIZES, "num_attention_heads": 4, "num_key_value_heads": 4},
    "gpt2": {
        "model_type": "gpt2",
        "vocab_size": 64,
        "n_embd": 64,
        "n_inner": 192,
        "n_layer": 3,
        "n_head": 4,
        "n_positions": 64,
        "bos_token_id": 0,
        "eos_token_id": 0,
    },
}


@functools.cache
def _architecture(alias: str) -> Architecture:
    return read_architecture(load_registry()[alias].architecture, alias)


def _config(fields: dict[str, Any]) -> Any:
    from transformers import AutoConfig

    return AutoConfig.for_model(**fields)


@pytest.mark.parametrize("alias", ALIASES)
def test_the_parameters_of_every_shipped_model_are_counted_exactly(alias: str) -> None:
    assert _architecture(alias).parameters == load_registry()[alias].parameters


MOE = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}


@pytest.mark.parametrize(
    "fields",
    [
        {"model_type": "qwen2_moe", **SIZES, **HEADS, **MOE},
        {"model_type": "qwen2_moe", **SIZES, **HEADS, **MOE, "shared_expert_intermediate_size": 96},
        {"model_type": "qwen3_moe", **SIZES, **HEADS, **MOE},
        {"model_type": "qwen3", **SIZES, "num_attention_heads": 4, "num_key_value_heads": 2},
        {"model_type": "smollm3", "pad_token_id": 0, **SIZES, **HEADS},
        {"model_type": "smollm3", "pad_token_id": 0, **SIZES, **HEADS, "tie_word_embeddings": False},
        *TINY.values(),
    ],
)
def test_what_a_config_leaves_out_is_counted_as_transformers_builds_it(fields: dict[str, Any]) -> None:
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        built = AutoModelForCausalLM.from_config(_config(fields))
    assert read_architecture(fields, "here").parameters == built.num_parameters()


@pytest.mark.parametrize(
    "fields",
    [
        {"model_type": "qwen2_moe", **SIZES, **HEADS, **MOE, "shared_expert_intermediate_size": 96},
        {"model_type": "qwen3_moe", **SIZES, **HEADS, **MOE},
        {"model_type": "mixtral", **SIZES, **HEADS, "num_local_experts": 4, "num_experts_per_tok": 2},
        TINY["llama"],
    ],
)
def test_all_linear_layers_are_those_that_are_trained_and_no_fused_experts(fields: dict[str, Any]) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        built = AutoModelForCausalLM.from_config(_config(fields))
    with quiet_libraries():
        config = LoraConfig(r=4, target_modules=target_modules(built, "all-linear"), task_type="CAUSAL_LM")
        trained = sum(one.numel() for one in get_peft_model(built, config).parameters() if one.requires_grad)
    architecture = read_architecture(fields, "here")
    each = sum(4 * (matrix.inputs + matrix.outputs) for matrix in architecture.targeted("all-linear"))
    assert trained == architecture.layers * each
    assert not config.target_parameters


@pytest.mark.parametrize("alias", ["gpt2", "phi-2", "qwen2.5-1.5b", "qwen3-0.6b", "qwen3-30b-a3b", "smollm2-135m"])
@pytest.mark.parametrize("quantization", ["nf4", "none"])
def test_shapes_alone_give_the_weights_of_the_built_model(alias: str, quantization: str) -> None:
    built = estimate_weights(_config(dict(load_registry()[alias].architecture)), quantization)
    counted = weights_by_class(_architecture(alias), quantization, 2, double_quant=True)
    assert sum(counted.values()) == pytest.approx(sum(built.values()), rel=0.001)


@pytest.mark.parametrize(("alias", "millions"), [("tinyllama", 12.6), ("qwen2.5-1.5b", 18.5)])
def test_the_adapters_are_as_large_as_those_of_the_reference(alias: str, millions: float) -> None:
    parts = estimate_training(_architecture(alias), TrainingPlan(1, 512, rank=16)).parts
    assert parts["adapter, gradients and optimizer"] / 16 / 1e6 == pytest.approx(millions, abs=0.05)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("kind", TINY)
def test_activations_are_those_that_autograd_keeps(kind: str, precision: Any) -> None:
    plan = TrainingPlan(4, 64, rank=4, quantization="none", precision=precision)
    parts = estimate_training(read_architecture(TINY[kind], kind), plan).parts
    expected = parts["activations"] + parts.get("weight copies", 0) + parts["loss"] / 5
    assert _kept_bytes(TINY[kind], plan) == pytest.approx(expected, rel=0.06)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize(("kind", "vocabulary"), [*((kind, 64) for kind in TINY), ("llama", 512)])
def test_a_checkpointed_step_holds_what_is_estimated(kind: str, precision: Any, vocabulary: int) -> None:
    fields = TINY[kind] | {"vocab_size": vocabulary, "n_layer" if kind == "gpt2" else "num_hidden_layers": 12}
    plan = TrainingPlan(
        4, 64, rank=4, quantization="none", precision=precision, gradient_checkpointing=True, answer_tokens=48
    )
    parts = estimate_training(read_architecture(fields, kind), plan).parts
    expected = parts["activations"] + parts.get("loss", 0) + parts.get("weight copies", 0)
    assert _peak_bytes(fields, plan) == pytest.approx(expected, rel=0.1)


def _peak_bytes(fields: dict[str, Any], plan: TrainingPlan) -> int:
    """The most that PyTorch allocates during a forward and a backward pass above what it held before them."""
    model = _adapted(fields, plan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # its new name is not in every version
        model.get_base_model().gradient_checkpointing_enable()
    _loss(model, plan).backward()  # gradients are allocated
    with torch.autograd.profiler.profile(profile_memory=True) as profile:
        _loss(model, plan).backward()
    events = sorted(profile.kineto_results.events(), key=lambda event: event.start_ns())
    sizes = (int(event.nbytes()) for event in events if event.name() == "[memory]")
    return max(itertools.accumulate(sizes))


def _kept_bytes(fields: dict[str, Any], plan: TrainingPlan) -> int:
    """Bytes that a real forward pass with LoRA saves for its backward pass, the model's own weights left out."""
    model = _adapted(fields, plan)
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept.setdefault(tensor.untyped_storage().data_ptr(), tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        _loss(model, plan)
    return sum(tensor.untyped_storage().nbytes() for place, tensor in kept.items() if place not in own)


def _adapted(fields: dict[str, Any], plan: TrainingPlan) -> Any:
    """A model of these shapes with a LoRA, as it is trained."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_config(_config(fields))
    transposed = fields["model_type"] == "gpt2"
    lora = LoraConfig(task_type="CAUSAL_LM", target_modules="all-linear", r=plan.rank, fan_in_fan_out=transposed)
    with quiet_libraries():
        model = get_peft_model(base, lora)
    model.train()
    # as in the middle of a deep model, where every layer keeps its inputs
    base.get_input_embeddings().register_forward_hook(lambda _module, _inputs, output: output.requires_grad_())
    return model


def _loss(model: Any, plan: TrainingPlan) -> Any:
    from pytest_llmbench.finetune.trainer import answer_loss

    rows = torch.randint(0, 60, (plan.batch_size, plan.max_length))
    labels = rows.clone()
    labels[:, : plan.max_length - (plan.answer_tokens or plan.max_length)] = -100
    inputs = {"input_ids": rows, "attention_mask": torch.ones_like(rows), "labels": labels}
    with torch.autocast("cpu", torch.bfloat16, enabled=plan.precision == "bfloat16"):
        return answer_loss(model.get_base_model(), inputs, None)[0]


def test_qwen3_30b_a3b_answers_in_the_18_gb_of_the_reference() -> None:
    found = estimate_inference(_architecture("qwen3-30b-a3b"), batch_size=1, context=4096, device="cuda")
    assert found.total / GIB == pytest.approx(18, abs=0.7)


plans = st.builds(
    TrainingPlan,
    batch_size=st.integers(1, 64),
    max_length=st.integers(8, 2048),
    rank=st.integers(1, 64),
    quantization=st.sampled_from(["nf4", "int8", "none"]),
    device=st.sampled_from(["cpu", "cuda"]),
    precision=st.sampled_from(["float32", "bfloat16"]),
    gradient_checkpointing=st.booleans(),
)


@given(alias=st.sampled_from(ALIASES), plan=plans, more=st.integers(1, 64))
def test_more_rows_tokens_or_rank_never_take_less(alias: str, plan: TrainingPlan, more: int) -> None:
    architecture = _architecture(alias)
    least = estimate_training(architecture, plan).total
    for field in ("batch_size", "max_length", "rank"):
        larger = dataclasses.replace(plan, **{field: getattr(plan, field) + more})
        assert estimate_training(architecture, larger).total >= least


@given(alias=st.sampled_from(ALIASES), plan=plans)
def test_checkpointing_and_quantization_never_take_more_weights_or_activations(alias: str, plan: TrainingPlan) -> None:
    architecture = _architecture(alias)
    plain = estimate_training(
        architecture, dataclasses.replace(plan, gradient_checkpointing=False, quantization="none")
    )
    checkpointed = dataclasses.replace(plan, gradient_checkpointing=True, quantization="none")
    assert estimate_training(architecture, checkpointed).parts["activations"] <= plain.parts["activations"]
    packed = estimate_training(architecture, dataclasses.replace(plan, quantization="nf4"))
    assert packed.parts["linear layers"] < plain.parts["linear layers"]


@given(alias=st.sampled_from(ALIASES), plan=plans, room=st.integers(0, 64 * GIB))
def test_the_largest_batch_fits_and_the_next_does_not(alias: str, plan: TrainingPlan, room: int) -> None:
    architecture = _architecture(alias)
    batch = largest_batch(architecture, plan, room)
    if batch:
        assert estimate_training(architecture, dataclasses.replace(plan, batch_size=batch)).total <= room
    if batch < plan.batch_size:
        assert estimate_training(architecture, dataclasses.replace(plan, batch_size=batch + 1)).total > room


def test_a_longer_context_takes_keys_and_values_of_every_token() -> None:
    architecture = _architecture("qwen3-4b")
    short, long = (estimate_inference(architecture, batch_size=2, context=size).parts for size in (1000, 3000))
    assert short["KV cache"] == 2 * 36 * 8 * 128 * 2 * 1000 * 2
    assert long["KV cache"] == 3 * short["KV cache"]


def test_shorter_answers_need_less_for_the_loss() -> None:
    architecture, plan = _architecture("smollm2-135m"), TrainingPlan(8, 256)
    whole = estimate_training(architecture, plan).parts["loss"]
    assert estimate_training(architecture, dataclasses.replace(plan, answer_tokens=64)).parts["loss"] == whole // 4


def test_a_base_that_is_loaded_in_float32_takes_twice_for_what_is_not_quantized() -> None:
    architecture = _architecture("smollm2-135m")
    half = TrainingPlan(1, 64, quantization="nf4", device="cuda")
    parts, wide = (
        estimate_training(architecture, dataclasses.replace(half, compute_dtype=dtype)).parts
        for dtype in ("bfloat16", "float32")
    )
    doubled = {name for name in parts if wide[name] == 2 * parts[name]}
    assert doubled == {"embeddings", "norms and biases", "weight copies"}


def test_what_is_unknown_is_named() -> None:
    with pytest.raises(ModelError, match="here: memory of the architecture 'mamba' is not known"):
        read_architecture({"model_type": "mamba"}, "here")
    with pytest.raises(ModelError, match="here: its architecture needs hidden_size"):
        read_architecture({"model_type": "llama", "num_attention_heads": 3}, "here")
    for alias, target in (("qwen3-4b", "c_attn"), ("qwen3-30b-a3b", "gate_proj")):  # its experts are fused
        with pytest.raises(ModelError, match=f"no linear layer is called '{target}'"):
            estimate_training(_architecture(alias), TrainingPlan(1, 8, targets=(target,)))


@pytest.mark.parametrize("kind", ["qwen2_moe", "qwen3_moe"])
@pytest.mark.parametrize("some", [{"mlp_only_layers": [0]}, {"decoder_sparse_step": 2}])
def test_layers_without_experts_among_those_that_have_some_are_not_taken_for_them(
    kind: str, some: dict[str, Any]
) -> None:
    fields = {"model_type": kind, **SIZES, **HEADS, **MOE}
    assert read_architecture({**fields, "mlp_only_layers": [], "decoder_sparse_step": 1}, "here").experts
    with pytest.raises(ModelError, match="here: memory is not known of a model where only some layers have experts"):
        read_architecture({**fields, **some}, "here")
