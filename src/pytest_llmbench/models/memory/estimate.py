"""How much memory training and answering will take, part by part, from the model's shapes alone.

Nothing is fitted: each term is a tensor that is allocated, at the moment when most of them are alive. In training
that is the end of the forward pass, when the loss is computed while every activation waits for the backward pass; with
gradient checkpointing it may also be the backward pass of a layer, see `_at_its_fullest`.
"""

from __future__ import annotations

import bisect
import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import Literal

from pytest_llmbench.models.memory.architecture import Architecture, Weights
from pytest_llmbench.models.memory.kv_cache import kv_cache_bytes
from pytest_llmbench.models.memory.weights import GIB, quantized_bytes

Precision = Literal["float32", "bfloat16"]
Dtype = Literal["bfloat16", "float16", "float32"]

_WEIGHTS = ("linear layers", "experts", "embeddings", "norms and biases")

_FLOAT = 4
_HALF = 2
_LORA_BYTES = 4 + 4 + 8  # weight, gradient and AdamW's two moments, float32
_CPU_LOSS_COPIES = 5  # logits, their log-softmax for the backward pass, and three for accuracy and entropy
_GPU_LOSS_TILE = 4096 * 32768  # TRL's fused head: tokens x vocabulary of one tile
READ_AT_ONCE = 1024
"""Tokens of prompts that pass the model in one forward of our own engine: what activations may take."""
REMEMBERED = 8192
"""Tokens of prompts' beginnings whose keys and values our own engine keeps for the next prompt that begins so."""
GUESSED = 2
"""The most rows of a step of our own engine, guesses at next tokens included, by the number of answers at once."""
CUDA_CONTEXT = GIB // 2  # what the driver and the libraries take of each GPU before any tensor


@dataclasses.dataclass(frozen=True, slots=True)
class TrainingPlan:
    """What is trained, and where. Rows are counted at their longest: all `batch_size` of them `max_length` tokens.

    `answer_tokens` are those of one row whose loss counts, at most `max_length`; None for all. `precision` is what is
    computed in: bfloat16 is autocast, which a CPU does when it has the instructions. `compute_dtype` is what the base
    is loaded in: its weights that are not quantized, and those that are when they are unpacked.
    """

    batch_size: int
    max_length: int
    rank: int = 8
    targets: str | tuple[str, ...] = "all-linear"
    quantization: Literal["nf4", "int8", "none"] = "nf4"
    double_quant: bool = True
    compute_dtype: Dtype = "bfloat16"
    device: Literal["cpu", "cuda"] = "cpu"
    precision: Precision = "bfloat16"
    gradient_checkpointing: bool = False
    answer_tokens: int | None = None

    @property
    def stored_bytes(self) -> int:
        """Bytes of an unquantized weight: an unquantized model on the CPU stays float32."""
        on_cpu = self.device == "cpu" and self.quantization == "none"
        return _FLOAT if on_cpu or self.compute_dtype == "float32" else _HALF

    @property
    def computed_bytes(self) -> int:
        """Bytes of an activation inside a layer."""
        return _HALF if self.precision == "bfloat16" else self.stored_bytes

    @property
    def lora_input_bytes(self) -> int:
        """Bytes of an activation that an adapter's matrix keeps."""
        return _HALF if self.precision == "bfloat16" else _FLOAT

    @property
    def shares_lora_inputs(self) -> bool:
        """Whether adapters that read the same activation keep it once; where it has to be cast, each keeps its own."""
        return self.precision == "float32" and self.stored_bytes == _FLOAT


@dataclasses.dataclass(frozen=True, slots=True)
class MemoryEstimate:
    """Bytes by part, at the fullest moment. What is the same for every model (interpreter, libraries) is left out."""

    parts: Mapping[str, int]

    @property
    def total(self) -> int:
        """All parts, in bytes."""
        return sum(self.parts.values())

    def __str__(self) -> str:
        largest = sorted(self.parts.items(), key=lambda part: -part[1])
        listed = ", ".join(f"{name} {size / GIB:.2f}" for name, size in largest if size >= GIB / 100)
        return f"{self.total / GIB:.2f} GiB ({listed})"


def estimate_training(architecture: Architecture, plan: TrainingPlan) -> MemoryEstimate:
    """The most that a step of LoRA or QLoRA training holds, in bytes by part.

    Quantized weights are counted as in https://arxiv.org/abs/2305.14314, section 3; AdamW keeps two moments of each
    adapter weight in float32. Activations are what PyTorch's autograd saves in transformers 5 and PEFT 0.21.

    Raises:
        ModelError: a LoRA target is no layer of the model.
    """
    targeted = architecture.targeted(plan.targets)
    lora = architecture.layers * sum(plan.rank * (matrix.inputs + matrix.outputs) for matrix in targeted)
    parts = {
        **weights_by_class(architecture, plan.quantization, plan.stored_bytes, double_quant=plan.double_quant),
        "adapter, gradients and optimizer": lora * _LORA_BYTES,
        **_at_its_fullest(architecture, plan, targeted),
        "driver": CUDA_CONTEXT if plan.device == "cuda" else 0,
    }
    return MemoryEstimate({name: size for name, size in parts.items() if size})


def _at_its_fullest(architecture: Architecture, plan: TrainingPlan, targeted: tuple[Weights, ...]) -> dict[str, int]:
    """What a step itself holds when it holds most.

    Without gradient checkpointing that is at the loss. With it every layer keeps its input alone, and there are two
    such moments: the loss, when no layer's inside is there, and the backward pass of a layer that has been computed
    again, when the loss has gone. Copies of weights that autocast made live as long as the layer's inside.
    """
    tokens = plan.batch_size * plan.max_length
    layer = tokens * _saved_a_token(architecture, plan, targeted)
    result = tokens * architecture.hidden * _FLOAT
    loss = _loss(architecture, plan)
    if not plan.gradient_checkpointing:
        kept = architecture.layers * layer + result
        return {"activations": kept, "loss": loss, "weight copies": _weight_copies(architecture, plan)}
    inputs = architecture.layers * tokens * architecture.hidden * plan.stored_bytes
    at_loss = {"activations": inputs + result, "loss": loss, "weight copies": _copies_at_loss(architecture, plan)}
    backward = layer + tokens * _gradients_a_token(architecture)
    in_layer = {"activations": inputs + backward, "weight copies": _copies_in_layer(architecture, plan)}
    return max(at_loss, in_layer, key=lambda parts: sum(parts.values()))


def estimate_inference(
    architecture: Architecture,
    *,
    batch_size: int,
    context: int,
    quantization: Literal["nf4", "int8", "none"] = "nf4",
    double_quant: bool = True,
    device: Literal["cpu", "cuda"] = "cpu",
) -> MemoryEstimate:
    """What answering holds, in bytes by part: weights, and keys and values of `batch_size` x `context` tokens."""
    stored = _FLOAT if device == "cpu" and quantization == "none" else _HALF
    tokens = batch_size * context
    parts = {
        **weights_by_class(architecture, quantization, stored, double_quant=double_quant),
        "KV cache": kv_cache_bytes(architecture, tokens, stored, stored),
        "activations": forward_bytes(architecture, tokens, stored),
        "logits": batch_size * architecture.vocabulary * (stored + _FLOAT),
        "weight copies": _dequantized(architecture, _HALF) if quantization == "nf4" else 0,
        "driver": CUDA_CONTEXT if device == "cuda" else 0,
    }
    return MemoryEstimate({name: size for name, size in parts.items() if size})


def estimate_answering(architecture: Architecture, stored: int, *, rows: int, positions: int) -> dict[str, int]:
    """What answers take beside the weights, in bytes by part, where our own engine holds `stored` bytes a number.

    There is a slot of `positions` tokens for each of the `rows` and one more, beginnings are remembered, and one
    portion of prompts is under way.
    """
    slots = (rows + 1) * positions
    return {
        "KV cache": kv_cache_bytes(architecture, slots, stored, stored),
        "beginnings": kv_cache_bytes(architecture, min(REMEMBERED, slots), stored, stored),
        "activations": forward_bytes(architecture, min(READ_AT_ONCE, slots), stored),
        "logits": GUESSED * rows * architecture.vocabulary * (stored + _FLOAT),
    }


def forward_bytes(architecture: Architecture, tokens: int, stored: int) -> int:
    """Bytes that one layer holds while so many tokens pass it and nothing is kept; a number takes `stored` bytes."""
    inside = architecture.feed_forward * max(1, architecture.active_experts) + architecture.shared_expert
    widest = max(inside, architecture.queries)
    return tokens * (3 * widest + 4 * architecture.hidden) * stored


def largest_batch(architecture: Architecture, plan: TrainingPlan, room: int) -> int:
    """The most rows at once, up to the plan's, whose training fits into `room` bytes; 0 when not even one does."""

    def total(size: int) -> int:
        return estimate_training(architecture, dataclasses.replace(plan, batch_size=size)).total

    return bisect.bisect_right(range(1, plan.batch_size + 1), room, key=total)


def weights_by_class(
    architecture: Architecture, quantization: str, stored: int, *, double_quant: bool
) -> dict[str, int]:
    """Bytes of the weights. Embeddings, norms and biases are never quantized and take `stored` bytes a weight.

    Of a model that was published quantized the files tell; nothing of it is quantized again.
    """
    if architecture.files:
        return {"weight files": architecture.files}
    linear = sum(
        architecture.layers * _matrix_bytes(matrix, quantization, stored, double_quant=double_quant)
        for matrix in architecture.matrices
    )
    experts = architecture.expert_parameters * stored
    if quantization == "nf4" and architecture.experts:  # two fused matrices a layer
        each = architecture.expert_parameters // (3 * architecture.layers)
        experts = architecture.layers * sum(
            quantized_bytes(count, double_quant=double_quant) for count in (each, 2 * each)
        )
    rest = (architecture.embedding_parameters * stored, architecture.other_parameters * stored)
    return dict(zip(_WEIGHTS, (linear, experts, *rest), strict=True))


def _matrix_bytes(matrix: Weights, quantization: str, stored: int, *, double_quant: bool) -> int:
    count = matrix.inputs * matrix.outputs
    match quantization:
        case "nf4":
            return quantized_bytes(count, double_quant=double_quant)
        case "int8":
            return count + matrix.outputs * _FLOAT
    return count * stored


def _saved_a_token(architecture: Architecture, plan: TrainingPlan, targeted: Iterable[Weights]) -> int:
    """Bytes that one layer keeps of one token for its backward pass."""
    norms = (1 if architecture.layout == "phi" else 2) * architecture.hidden * _FLOAT
    if architecture.query_norm:
        norms += (architecture.queries + architecture.keys) * _FLOAT
    return (
        norms
        + _attention(architecture, plan)
        + _mlp(architecture) * plan.computed_bytes
        + _lora_inputs(plan, tuple(targeted))
    )


def _gradients_a_token(architecture: Architecture) -> int:
    """Bytes of the gradients at the MLP's last matrix, where a layer's backward pass begins and all it saved is alive.

    They are that of the layer's result, and two of the values inside the MLP: by the base's matrix and by the
    adapter's. In bfloat16 these two are half as large, but the adapter's is there in float32 too, as PEFT casts.
    """
    inside = architecture.feed_forward * max(1, architecture.active_experts)
    return (2 * inside + architecture.hidden) * _FLOAT


def _attention(architecture: Architecture, plan: TrainingPlan) -> int:
    """Queries, keys, values and their result; with dropout on a CPU also the scores, which are then not fused away."""
    if architecture.attention_dropout and plan.device == "cpu":
        scores = 3 * architecture.heads * plan.max_length * _FLOAT
        masks = architecture.hidden * 2 * plan.computed_bytes if architecture.residual_dropout else 0
        return 3 * architecture.queries * _FLOAT + scores + masks
    masks = 2 * architecture.hidden if architecture.residual_dropout else 0
    kept = 2 * architecture.queries + 2 * architecture.keys
    return kept * plan.computed_bytes + architecture.heads * _FLOAT + masks


def _mlp(architecture: Architecture) -> int:
    """Values inside the MLP: gate, its activation and up; or the four steps of the tanh form of GELU."""
    steps = 3 if architecture.layout == "gated" else 4
    each = steps * architecture.feed_forward
    if not architecture.experts:
        return each
    shared = steps * architecture.shared_expert
    return shared + architecture.active_experts * (each + 2 * architecture.hidden + architecture.feed_forward)


def _lora_inputs(plan: TrainingPlan, targeted: tuple[Weights, ...]) -> int:
    inner = plan.rank * len(targeted) * plan.lora_input_bytes
    if not plan.shares_lora_inputs:
        return inner + sum(matrix.inputs for matrix in targeted) * plan.lora_input_bytes
    distinct = {matrix.source: matrix.inputs for matrix in targeted if matrix.source != "attention output"}
    return inner + sum(distinct.values()) * plan.lora_input_bytes


def _loss(architecture: Architecture, plan: TrainingPlan) -> int:
    """The projection of the answers to the vocabulary, in float32."""
    answers = min(plan.answer_tokens or plan.max_length, plan.max_length) * plan.batch_size
    if plan.device == "cpu":
        return answers * architecture.vocabulary * _FLOAT * _CPU_LOSS_COPIES
    tile = min(answers * architecture.vocabulary, _GPU_LOSS_TILE) * _HALF
    return tile + answers * architecture.hidden * (_FLOAT + _HALF)


def _weight_copies(architecture: Architecture, plan: TrainingPlan) -> int:
    """Weights in another form beside the stored one, when all layers keep theirs: cast, or unpacked from 4 bits."""
    if plan.quantization == "none":
        return architecture.linear_parameters * _cast_bytes(plan) + _copies_at_loss(architecture, plan)
    # autograd keeps the unpacked experts of every layer
    return _dequantized(architecture, plan.stored_bytes) + architecture.expert_parameters * plan.stored_bytes


def _copies_at_loss(architecture: Architecture, plan: TrainingPlan) -> int:
    """The output layer as autocast casts it; where the base is quantized it is stored in that type."""
    return architecture.output_parameters * _cast_bytes(plan) if plan.quantization == "none" else 0


def _copies_in_layer(architecture: Architecture, plan: TrainingPlan) -> int:
    """The matrices of one layer, cast; or what is unpacked at once."""
    if plan.quantization == "none":
        return architecture.linear_parameters // architecture.layers * _cast_bytes(plan)
    return _dequantized(architecture, plan.stored_bytes)


def _cast_bytes(plan: TrainingPlan) -> int:
    """Bytes of a weight that autocast casts, which autograd keeps for the backward pass; 0 where it need not cast."""
    return plan.computed_bytes if plan.computed_bytes != plan.stored_bytes else 0


def _dequantized(architecture: Architecture, stored: int) -> int:
    """The largest thing that is unpacked at once, `stored` bytes a number: a matrix, or all experts of a layer."""
    largest = max(matrix.inputs * matrix.outputs for matrix in architecture.matrices)
    return max(largest, architecture.expert_parameters // architecture.layers) * stored


def in_gb(size: float) -> str:
    """As people compare it with a card's label: GB of 2^30 bytes."""
    return f"{math.ceil(size / GIB * 10) / 10:.1f} GB"
