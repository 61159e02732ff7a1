"""The shapes that a registry's `architecture` describes: their types, and what in an entry contradicts them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated

from pydantic import ConfigDict, Field
from typing_extensions import TypedDict

from pytest_llmbench.core.errors import ModelError
from pytest_llmbench.models.memory.architecture import read_architecture

_Count = Annotated[int, Field(ge=1)]
_Place = tuple[str | int, ...]


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
        yield ("architecture", "model_type"), f"{error}; take it from its config.json, or leave `architecture` out"
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
