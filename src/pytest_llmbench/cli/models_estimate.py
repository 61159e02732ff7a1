"""`llmbench models estimate`."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from pytest_llmbench.cli.settings_options import Json

if TYPE_CHECKING:
    from pytest_llmbench.models.memory.architecture import Architecture
    from pytest_llmbench.models.memory.estimate import MemoryEstimate
    from pytest_llmbench.models.registry import Preset

_log = logging.getLogger("pytest_llmbench")

TaskName = Annotated[
    Literal["chat", "completion", "classification"] | None,
    typer.Option(help="Settings for this task; models that cannot do it are refused."),
]
_NO_INT8 = "int8 is for answering: `finetune` and the registry's presets train in nf4 or, with none, unquantized"


def estimate(  # noqa: PLR0913  # one argument an option
    spec: Annotated[str, typer.Argument(metavar="SPEC", help="Registry alias, hub id, or a folder with config.json.")],
    *,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Rows at once; the preset's when not given.")] = None,
    max_length: Annotated[int | None, typer.Option(min=1, help="Tokens of a row, or the context to answer in.")] = None,
    quantization: Annotated[Literal["nf4", "int8", "none"] | None, typer.Option(help="How it is stored.")] = None,
    rank: Annotated[int | None, typer.Option(min=1, help="The LoRA matrices' rank.")] = None,
    answer_tokens: Annotated[int | None, typer.Option(min=1, help="Tokens of a row whose loss counts; all.")] = None,
    gradient_checkpointing: Annotated[bool | None, typer.Option(help="Compute activations again.")] = None,
    inference: Annotated[bool, typer.Option("--inference", help="Of answering instead of training.")] = False,
    device: Annotated[Literal["cpu", "cuda"] | None, typer.Option(help="Where it runs; as detected.")] = None,
    task: TaskName = None,
    as_json: Json = False,
) -> None:
    """Tell what memory training or answering takes, by part. Nothing is downloaded or loaded."""
    from pytest_llmbench.models.fitting import plan_of
    from pytest_llmbench.models.memory.estimate import estimate_inference, estimate_training
    from pytest_llmbench.models.memory.hardware import detect

    known = _known(spec, task)
    architecture, preset = known.architecture, known.preset
    hardware = detect()
    options: dict[str, Any] = {
        "batch_size": batch_size,
        "max_length": max_length,
        "quantization": quantization,
        "rank": rank,
        "gradient_checkpointing": False if inference else gradient_checkpointing,
    }
    given = {name: value for name, value in options.items() if value is not None}
    plan = dataclasses.replace(plan_of(preset, device or hardware.device, answer_tokens=answer_tokens), **given)
    known.check_context(spec, plan.max_length)
    if inference:
        found = estimate_inference(
            architecture,
            batch_size=plan.batch_size,
            context=plan.max_length,
            quantization=plan.quantization,
            device=plan.device,
        )
    else:
        if plan.quantization == "int8":
            _log.warning("%s", _NO_INT8)
        found = estimate_training(architecture, plan)
    _tell_estimate(f"{'answering' if inference else 'training'} {spec}", plan, found, as_json=as_json)


@dataclasses.dataclass(frozen=True, slots=True)
class _Known:
    """The shapes and the preset of a model, and the tokens that it was made to read; None where it does not say."""

    architecture: Architecture
    preset: Preset
    context: int | None

    def check_context(self, spec: str, tokens: int) -> None:
        """Raises UsageError where a longer row would break the model; where it would but read it badly, warns."""
        from pytest_llmbench.core.errors import UsageError

        if self.context is None or tokens <= self.context:
            return
        message = f"rows of {tokens} tokens, but {spec} reads at most {self.context}; give --max-length {self.context}"
        if self.architecture.positions:
            raise UsageError(message)
        _log.warning("%s or less, unless its positions are scaled", message)


def _known(spec: str, task: Literal["chat", "completion", "classification"] | None) -> _Known:
    """What is known of a model; one that is not in the registry has the default preset.

    Raises:
        ModelError: nothing goes by that name, or its architecture cannot be known offline.
    """
    from pytest_llmbench.core.documents import read_yaml
    from pytest_llmbench.core.errors import ModelError
    from pytest_llmbench.models.fitting import known_architecture
    from pytest_llmbench.models.registry import Preset, load_registry
    from pytest_llmbench.models.sources import locate

    entry = load_registry().find(spec)
    location = locate(spec) if entry is None else None
    folder = Path(location.place) if location and location.kind == "folder" else None
    architecture = known_architecture(spec, folder)
    if architecture is None:
        raise ModelError(f"{spec}: add its `architecture` to configs/models.yaml, or give its folder")
    fields: Mapping[str, Any] = (
        entry.architecture if entry else read_yaml(folder / "config.json").data if folder else {}
    )
    context = fields.get("max_position_embeddings") or fields.get("n_positions")
    return _Known(architecture, entry.preset(task) if entry else Preset(), context)


def _tell_estimate(what: str, plan: Any, found: MemoryEstimate, *, as_json: bool) -> None:
    from pytest_llmbench.models.fitting import describe

    if as_json:
        document = {"plan": dataclasses.asdict(plan), "parts_bytes": dict(found.parts), "total_bytes": found.total}
        typer.echo(json.dumps(document, ensure_ascii=False, indent=2))
        return
    typer.echo(f"{what}, {describe(plan)}, on {'a GPU' if plan.device == 'cuda' else 'the CPU'}\n")
    gib = 1024**3
    for name, size in found.parts.items():
        typer.echo(f"  {name:<34} {size / gib:7.2f} GB")
    typer.echo(f"  {'in all':<34} {found.total / gib:7.2f} GB")
