"""Training settings as fields of a form: name, meaning, range, and what the preset says."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

from pytest_llmbench.core.locale import N_, Words
from pytest_llmbench.finetune.hyperparameters import MEANINGS
from pytest_llmbench.models.registry import Preset
from pytest_llmbench.studio.jobs import StartFinetuning

_TITLES: Mapping[str, str] = {
    "num_epochs": N_("Epochs"),
    "learning_rate": N_("Learning rate"),
    "batch_size": N_("Batch size"),
    "gradient_accumulation": N_("Gradient accumulation"),
    "max_length": N_("Longest row"),
    "rank": N_("LoRA rank"),
    "alpha": N_("LoRA alpha"),
    "dropout": N_("Dropout"),
    "targets": N_("Layers"),
    "warmup_share": N_("Warm-up"),
    "quantization": N_("Quantization"),
    "gradient_checkpointing": N_("Gradient checkpointing"),
    "steps": N_("Steps"),
    "save_steps": N_("Steps between checkpoints"),
    "seed": N_("Seed"),
}
_AS_TRAINED = {"num_epochs": "epochs"}
"""What the reference's API calls otherwise than the command line."""
_SWITCH = {"true": N_("on"), "false": N_("off")}


@dataclasses.dataclass(frozen=True, slots=True)
class Field:
    """One setting. `kind` is the field's: `number`, `choice` or `text`; `preset` is empty where the preset has none."""

    name: str
    title: str
    meaning: str
    kind: Literal["number", "choice", "text"]
    range: str
    preset: str
    value: str
    choices: tuple[tuple[str, str], ...] = ()
    least: str | None = None
    most: str | None = None
    step: str = "any"


def fields(preset: Preset, given: Mapping[str, str], say: Words) -> list[Field]:
    """Every setting of a training, with what was `given` in the form so far."""
    properties = StartFinetuning.model_json_schema()["properties"]
    return [_field(name, properties[name], preset, given.get(name, ""), say) for name in _TITLES]


def chosen(form: Mapping[str, str]) -> dict[str, Any]:
    """What a filled form asks for: fields that were left empty are the preset's."""
    given: dict[str, Any] = {name: text.strip() for name, text in form.items() if text.strip()}
    targets = given.get("targets")
    if targets and targets != "all-linear":
        given["targets"] = tuple(part.strip() for part in targets.split(",") if part.strip())
    return given


def _field(name: str, schema: Mapping[str, Any], preset: Preset, value: str, say: Words) -> Field:
    shapes = [one for one in schema.get("anyOf", [schema]) if one.get("type") != "null"]
    shape, own = shapes[0], _AS_TRAINED.get(name, name)
    known = _text(getattr(preset, own, None), say)
    title, meaning = say(_TITLES[name]), say(MEANINGS[own])
    if any(one.get("type") == "array" for one in shapes):
        return Field(name, title, meaning, "text", say("names with commas between them, or all-linear"), known, value)
    choices = _choices(shape, say)
    if choices:
        return Field(name, title, meaning, "choice", "", known, value, choices)
    least, most = shape.get("minimum", shape.get("exclusiveMinimum")), shape.get("maximum")
    step = "1" if shape["type"] == "integer" else "any"
    told = _range(shape, say)
    return Field(name, title, meaning, "number", told, known, value, (), _plain(least), _plain(most), step)


def _choices(shape: Mapping[str, Any], say: Words) -> tuple[tuple[str, str], ...]:
    if shape.get("type") == "boolean":
        return tuple((value, say(text)) for value, text in _SWITCH.items())
    return tuple((one, one) for one in shape.get("enum", ()))


def _range(shape: Mapping[str, Any], say: Words) -> str:
    """`1 or more`, `above 0, below 1`."""
    parts = {
        "exclusiveMinimum": N_("above {number}"),
        "minimum": N_("{number} or more"),
        "exclusiveMaximum": N_("below {number}"),
        "maximum": N_("{number} at most"),
    }
    return ", ".join(say(text, number=_number(shape[key], say)) for key, text in parts.items() if key in shape)


def _number(value: float, say: Words) -> str:
    return say.count(int(value)) if float(value).is_integer() else say.tick(value)


def _text(value: object, say: Words) -> str:
    if isinstance(value, bool):
        return say(_SWITCH["true" if value else "false"])
    if isinstance(value, float):
        return _number(value, say)
    return ", ".join(value) if isinstance(value, tuple) else "" if value is None else str(value)


def _plain(number: float | None) -> str | None:
    return None if number is None else f"{number:g}"
