"""The shapes of a model's matrices, read from the fields of its `config.json`: enough to count memory without torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field
from typing_extensions import TypedDict

from pytest_llmbench.core.errors import ModelError

Layout = Literal["gated", "gpt2", "phi"]

_LAYOUTS: Mapping[str, Layout] = {
    **dict.fromkeys(("llama", "mistral", "mixtral", "qwen2", "qwen2_moe", "qwen3", "qwen3_moe", "smollm3"), "gated"),
    "gpt2": "gpt2",
    "phi": "phi",
}
_OTHER_NAMES = {  # what GPT-2 calls them
    "hidden_size": "n_embd",
    "num_hidden_layers": "n_layer",
    "num_attention_heads": "n_head",
    "max_position_embeddings": "n_positions",
    "intermediate_size": "n_inner",
}
_HEAD_OF_QWEN3 = 128  # what transformers takes where its config.json does not say

_Count = Annotated[int, Field(ge=1)]
_Place = tuple[str | int, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Weights:
    """A linear layer that every transformer layer has once. `source` names the activation that it reads."""

    name: str
    inputs: int
    outputs: int
    source: Literal["attention input", "attention output", "mlp input", "mlp hidden"]


@dataclasses.dataclass(frozen=True, slots=True)
class Architecture:
    """The sizes that memory depends on. `queries` and `keys` are the widths of a token's queries and keys.

    `positions` are those that have an embedding of their own, as in GPT-2.
    `feed_forward` is the width inside the MLP, of one expert where there are `experts`. `shared_expert` is that of the
    one which every token passes beside those it is routed to. `files` are the bytes of weights that were published
    quantized, which are loaded as they are; 0 for others.
    """

    layout: Layout
    layers: int
    hidden: int
    heads: int
    queries: int
    keys: int
    feed_forward: int
    vocabulary: int
    positions: int
    tied: bool
    experts: int = 0
    active_experts: int = 0
    shared_expert: int = 0
    attention_bias: bool = False
    query_norm: bool = False
    attention_dropout: float = 0.0
    residual_dropout: float = 0.0
    files: int = 0

    @property
    def key_heads(self) -> int:
        """Heads that keep keys and values of their own."""
        return self.keys * self.heads // self.queries

    @property
    def matrices(self) -> tuple[Weights, ...]:
        """The linear layers of one transformer layer, a shared expert's too; experts are not among them."""
        if not self.experts:
            return (*self._attention(), *self._mlp())
        return (*self._attention(), *self._shared_expert())

    def _attention(self) -> Iterator[Weights]:
        if self.layout == "gpt2":
            yield Weights("c_attn", self.hidden, 3 * self.hidden, "attention input")
            yield Weights("c_proj", self.hidden, self.hidden, "attention output")
            return
        yield Weights("q_proj", self.hidden, self.queries, "attention input")
        yield Weights("k_proj", self.hidden, self.keys, "attention input")
        yield Weights("v_proj", self.hidden, self.keys, "attention input")
        output = "dense" if self.layout == "phi" else "o_proj"
        yield Weights(output, self.queries, self.hidden, "attention output")

    def _shared_expert(self) -> Iterator[Weights]:
        if self.shared_expert:
            yield from self._gated(self.shared_expert)
            yield Weights("shared_expert_gate", self.hidden, 1, "mlp input")

    def _gated(self, inside: int) -> Iterator[Weights]:
        yield Weights("gate_proj", self.hidden, inside, "mlp input")
        yield Weights("up_proj", self.hidden, inside, "mlp input")
        yield Weights("down_proj", inside, self.hidden, "mlp hidden")

    def _mlp(self) -> Iterator[Weights]:
        match self.layout:
            case "gated":
                yield from self._gated(self.feed_forward)
            case "gpt2":
                yield Weights("c_fc", self.hidden, self.feed_forward, "mlp input")
                yield Weights("c_proj", self.feed_forward, self.hidden, "mlp hidden")
            case "phi":  # attention and MLP read the same activation, side by side
                yield Weights("fc1", self.hidden, self.feed_forward, "attention input")
                yield Weights("fc2", self.feed_forward, self.hidden, "mlp hidden")

    def targeted(self, targets: str | tuple[str, ...]) -> tuple[Weights, ...]:
        """The matrices that LoRA targets name; `all-linear` means all.

        Raises:
            ModelError: a target is no linear layer of this architecture.
        """
        if targets == "all-linear":
            return self.matrices
        known = {matrix.name for matrix in self.matrices}
        if wrong := [target for target in targets if target not in known]:
            raise ModelError(f"no linear layer is called {wrong[0]!r}; LoRA targets are {', '.join(sorted(known))}")
        return tuple(matrix for matrix in self.matrices if matrix.name in targets)

    @property
    def linear_parameters(self) -> int:
        """Weights of the linear layers, experts and the output layer left out."""
        return self.layers * sum(matrix.inputs * matrix.outputs for matrix in self.matrices)

    @property
    def expert_parameters(self) -> int:
        """Weights of all experts of all layers."""
        return self.layers * self.experts * 3 * self.hidden * self.feed_forward

    @property
    def output_parameters(self) -> int:
        """Weights of the projection to the vocabulary, which a tied model shares with its embedding."""
        return self.vocabulary * self.hidden

    @property
    def embedding_parameters(self) -> int:
        """Weights of embeddings and output layer."""
        return self.output_parameters * (1 if self.tied else 2) + self.positions * self.hidden

    @property
    def other_parameters(self) -> int:
        """Norms, biases and routers."""
        outputs = sum(matrix.outputs for matrix in self.matrices)
        match self.layout:
            case "gated":
                biases = self.queries + 2 * self.keys if self.attention_bias else 0
                norms = 2 * self.hidden + (2 * self.queries // self.heads if self.query_norm else 0)
                return self.layers * (biases + norms + self.experts * self.hidden) + self.hidden
            case "gpt2":
                return self.layers * (outputs + 4 * self.hidden) + 2 * self.hidden
            case "phi":
                return self.layers * (outputs + 2 * self.hidden) + 2 * self.hidden + self.vocabulary

    @property
    def parameters(self) -> int:
        """All of them."""
        return self.linear_parameters + self.expert_parameters + self.embedding_parameters + self.other_parameters


def _some_without_experts(fields: Mapping[str, Any]) -> bool:
    return bool(fields.get("mlp_only_layers")) or (fields.get("decoder_sparse_step") or 1) != 1


def read_architecture(fields: Mapping[str, Any], name: str) -> Architecture:
    """The architecture that the fields of a `config.json` describe; `name` says in errors which model it is.

    Raises:
        ModelError: a kind of model whose memory is not known by its fields, or whose layers are not all alike; or a
            field is missing.
    """
    kind = fields.get("model_type")
    layout = _LAYOUTS.get(str(kind))
    if layout is None:
        raise ModelError(f"{name}: memory of the architecture {kind!r} is not known; known are {', '.join(_LAYOUTS)}")
    hidden, heads = _number(fields, "hidden_size", name), _number(fields, "num_attention_heads", name)
    head_size = int(fields.get("head_dim") or (_HEAD_OF_QWEN3 if kind == "qwen3" else hidden // heads))
    experts = int(fields.get("num_experts") or fields.get("num_local_experts") or 0)
    if experts and _some_without_experts(fields):
        raise ModelError(
            f"{name}: memory is not known of a model where only some layers have experts (mlp_only_layers, "
            "decoder_sparse_step)"
        )
    inside = "moe_intermediate_size" if experts and "moe_intermediate_size" in fields else "intermediate_size"
    return Architecture(
        layout=layout,
        layers=_number(fields, "num_hidden_layers", name),
        hidden=hidden,
        heads=heads,
        queries=heads * head_size,
        keys=int(fields.get("num_key_value_heads") or heads) * head_size,
        feed_forward=4 * hidden if layout == "gpt2" and not _field(fields, inside) else _number(fields, inside, name),
        vocabulary=_number(fields, "vocab_size", name),
        positions=_number(fields, "max_position_embeddings", name) if layout == "gpt2" else 0,
        tied=bool(fields.get("tie_word_embeddings", kind in {"gpt2", "smollm3"})),
        experts=experts,
        active_experts=int(fields.get("num_experts_per_tok") or 0),
        shared_expert=int(fields.get("shared_expert_intermediate_size", 5632) or 0) if kind == "qwen2_moe" else 0,
        attention_bias=bool(fields.get("attention_bias", kind in {"qwen2", "qwen2_moe"})),
        query_norm=kind in {"qwen3", "qwen3_moe"},
        attention_dropout=float(fields.get("attn_pdrop", 0.1 if layout == "gpt2" else 0.0)),
        residual_dropout=float(fields.get("resid_pdrop", 0.1 if layout == "gpt2" else 0.0)),
    )


def _field(fields: Mapping[str, Any], name: str) -> Any:
    return fields.get(name) or fields.get(_OTHER_NAMES.get(name, name))


def _number(fields: Mapping[str, Any], name: str, model: str) -> int:
    value = _field(fields, name)
    if type(value) is not int or value < 1:
        raise ModelError(f"{model}: its architecture needs {name}, a whole number above 0, not {value!r}")
    return value


class DescribedShapes(TypedDict, total=False):
    """The fields of a `config.json` that memory depends on; others may stand beside them, and are not read."""

    __pydantic_config__ = ConfigDict(extra="allow", strict=True)  # type: ignore[misc]  # as pydantic documents it

    model_type: str
    vocab_size: _Count
    hidden_size: _Count
    n_embd: _Count
    num_hidden_layers: _Count
    n_layer: _Count
    num_attention_heads: _Count
    n_head: _Count
    num_key_value_heads: _Count | None
    head_dim: _Count | None
    intermediate_size: _Count
    n_inner: _Count | None
    max_position_embeddings: _Count
    n_positions: _Count
    num_experts: int | None
    num_local_experts: int | None
    num_experts_per_tok: int | None
    moe_intermediate_size: _Count | None
    shared_expert_intermediate_size: _Count | None
    tie_word_embeddings: bool
    attention_bias: bool
    attn_pdrop: float
    resid_pdrop: float


def contradictions(
    fields: DescribedShapes, targets: Mapping[tuple[str, ...], tuple[str, ...]], lengths: Mapping[tuple[str, ...], int]
) -> Iterator[tuple[_Place, str]]:
    """Faults with the place below the model where they stand.

    They are shapes that memory cannot be counted by, and LoRA targets and row lengths, by the place of their preset,
    which that architecture does not have.
    """
    try:
        architecture = read_architecture(fields, f"architecture {fields.get('model_type')}")
    except ModelError as error:
        way_out = "" if _some_without_experts(fields) else "take it from its config.json, or "
        yield ("architecture", "model_type"), f"{error}; {way_out}leave `architecture` out"
        return
    for place, names in targets.items():
        for number, name in enumerate(names):
            try:
                architecture.targeted((name,))
            except ModelError as error:
                yield (*place, "targets", number), f"targets: {error}"
    for place, length in lengths.items():
        if 0 < architecture.positions < length:
            told = f"max_length: {length} is more than the {architecture.positions} positions of its architecture"
            yield (*place, "max_length"), told
