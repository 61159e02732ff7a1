"""What each training setting means, in one sentence for every face, and what it may be. Light to import."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

from pytest_llmbench.core.locale import N_

MEANINGS: Mapping[str, str] = {
    "epochs": N_("How often every row is seen."),
    "learning_rate": N_("Highest learning rate."),
    "batch_size": N_("Rows at once."),
    "gradient_accumulation": N_("Batches that make up a step."),
    "max_length": N_("Most tokens of a row."),
    "rank": N_("The LoRA matrices' rank."),
    "alpha": N_("The adapter is scaled by alpha / rank."),
    "dropout": N_("Of the adapter's inputs."),
    "targets": N_("Layers that get a LoRA, or all-linear."),
    "warmup_share": N_("Of the steps, while the learning rate rises."),
    "quantization": N_("How the base is stored while it is trained: nf4 (4 bits) or none."),
    "gradient_checkpointing": N_("Less memory; a step takes 1.4 times as long."),
    "steps": N_("End after so many steps."),
    "save_steps": N_("Steps between checkpoints; one every five minutes when not given."),
    "seed": N_("Of the adapter's first weights and the rows' order."),
}
"""In the order in which a person meets them."""


@dataclasses.dataclass(frozen=True, slots=True)
class Range:
    """What a training setting may be. `above` and `below` are not allowed themselves, `least` and `most` are."""

    kind: Literal["integer", "number", "switch", "choice", "names"]
    least: float | None = None
    above: float | None = None
    most: float | None = None
    below: float | None = None
    choices: tuple[str, ...] = ()


def ranges() -> dict[str, Range]:
    """The range of every setting in `MEANINGS`, read from the model that a request is checked with."""
    from pytest_llmbench.finetune.request import asked_schema

    properties = asked_schema()["properties"]
    return {name: _range(properties[name]) for name in MEANINGS}


def _range(schema: Mapping[str, Any]) -> Range:
    shapes = [one for one in schema.get("anyOf", [schema]) if one.get("type") != "null"]
    if any(one.get("type") == "array" for one in shapes):
        return Range("names")
    shape = shapes[0]
    if "enum" in shape:
        return Range("choice", choices=tuple(shape["enum"]))
    if shape["type"] == "boolean":
        return Range("switch")
    return Range(
        shape["type"],
        least=shape.get("minimum"),
        above=shape.get("exclusiveMinimum"),
        most=shape.get("maximum"),
        below=shape.get("exclusiveMaximum"),
    )
