"""`llmbench models` and `llmbench models estimate`."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from pytest_llmbench.cli.options import Command, Json, grouped

if TYPE_CHECKING:
    from pytest_llmbench.models.memory.architecture import Architecture
    from pytest_llmbench.models.memory.estimate import MemoryEstimate, TrainingPlan
    from pytest_llmbench.models.recommendation import Choice
    from pytest_llmbench.models.registry import ModelEntry, Preset


_log = logging.getLogger("pytest_llmbench")

_TaskName = Annotated[
    Literal["chat", "completion", "classification"] | None,
    typer.Option(help="Settings for this task; models that cannot do it are refused."),
]
_NO_INT8 = "int8 is for answering: `finetune` and the registry's presets train in nf4 or, with none, unquantized"

models = typer.Typer(help="Recommend models for the hardware.")

_SYMBOLS = {"recommended": "✓", "fits": "·", "refused": "✗"}


@dataclasses.dataclass(frozen=True, slots=True)
class _Planned:
    """What is estimated: of training, or with `inference` of answering."""

    batch_size: Annotated[int | None, typer.Option(min=1, help="Rows at once; the preset's when not given.")] = None
    max_length: Annotated[int | None, typer.Option(min=1, help="Tokens of a row, or the context to answer in.")] = None
    quantization: Annotated[Literal["nf4", "int8", "none"] | None, typer.Option(help="How it is stored.")] = None
    rank: Annotated[int | None, typer.Option(min=1, help="The LoRA matrices' rank.")] = None
    answer_tokens: Annotated[int | None, typer.Option(min=1, help="Tokens of a row whose loss counts; all.")] = None
    gradient_checkpointing: Annotated[bool | None, typer.Option(help="Compute activations again.")] = None
    inference: Annotated[bool, typer.Option("--inference", help="Of answering instead of training.")] = False
    device: Annotated[Literal["cpu", "cuda"] | None, typer.Option(help="Where it runs; as detected.")] = None

    def plan(self, preset: Preset) -> TrainingPlan:
        """The preset's, with what was given over it."""
        from pytest_llmbench.models.fitting import plan_of, plan_on
        from pytest_llmbench.models.memory.hardware import detect

        options = {
            "batch_size": self.batch_size,
            "max_length": self.max_length,
            "quantization": self.quantization,
            "rank": self.rank,
            "gradient_checkpointing": False if self.inference else self.gradient_checkpointing,
        }
        given: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
        hardware = detect()
        elsewhere = self.device if self.device != hardware.device else None
        plan = plan_of(preset, elsewhere) if elsewhere else plan_on(preset, hardware)
        return dataclasses.replace(plan, answer_tokens=self.answer_tokens, **given)


def estimate_command(
    spec: Annotated[str, typer.Argument(metavar="SPEC", help="Registry alias, hub id, or a folder with config.json.")],
    *,
    planned: _Planned,
    task: _TaskName = None,
    as_json: Json = False,
) -> None:
    """Tell what memory training or answering takes, by part. Nothing is downloaded or loaded."""
    from pytest_llmbench.models.memory.estimate import estimate_inference, estimate_training

    known = _known(spec, task)
    plan = planned.plan(known.preset)
    known.check_context(spec, plan.max_length)
    if planned.inference:
        found = estimate_inference(
            known.architecture,
            batch_size=plan.batch_size,
            context=plan.max_length,
            quantization=plan.quantization,
            device=plan.device,
        )
    else:
        if plan.quantization == "int8":
            _log.warning("%s", _NO_INT8)
        found = estimate_training(known.architecture, plan)
    _tell_estimate(f"{'answering' if planned.inference else 'training'} {spec}", plan, found, as_json=as_json)


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
    """What is known of a model; one that is not in the registry has the default preset for the task.

    Raises:
        ModelError: nothing goes by that name, or its architecture cannot be known offline.
    """
    from pytest_llmbench.core.errors import ModelError
    from pytest_llmbench.models.fitting import config_fields, known_architecture
    from pytest_llmbench.models.registry import load_registry
    from pytest_llmbench.models.sources import locate

    entry = load_registry().find(spec)
    location = locate(spec) if entry is None else None
    folder = Path(location.place) if location and location.kind == "folder" else None
    architecture = known_architecture(spec, folder)
    if architecture is None:
        way = "give its folder, or add its `architecture` to configs/models.yaml"
        raise ModelError(f"{spec}: {'what its folder holds tells no memory' if folder else way}")
    fields: Mapping[str, Any] = entry.architecture if entry else config_fields(folder / "config.json") if folder else {}
    context = fields.get("max_position_embeddings") or fields.get("n_positions")
    return _Known(architecture, load_registry().preset(spec, task), context)


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


@models.callback(invoke_without_command=True)
def recommend(
    context: typer.Context,
    *,
    vram: Annotated[
        float | None, typer.Option(metavar="GB", min=0.1, max=1e6, help="Memory of the GPU; detected when not given.")
    ] = None,
    task: _TaskName = None,
    as_json: Json = False,
) -> None:
    """Recommend models for the hardware, with the reason of each choice and of each refusal.

    Memory is that of training with the model's preset. `llmbench models show ALIAS` tells all of one model,
    `llmbench models estimate SPEC` its memory for any batch and length.
    """
    if context.invoked_subcommand is not None:
        return
    from pytest_llmbench.models.memory.hardware import Hardware, detect
    from pytest_llmbench.models.recommendation import recommended_models as recommend_for
    from pytest_llmbench.models.registry import load_registry

    hardware = Hardware.with_vram(vram) if vram else detect()
    choices = recommend_for(load_registry(), hardware, task)
    if as_json:
        document = {
            "hardware": {
                "device": hardware.device,
                "name": hardware.name,
                "room": hardware.room,
                "gb": round(hardware.gb, 2),
            },
            "task": task,
            "models": [_choice_document(choice) for choice in choices],
        }
        typer.echo(json.dumps(document, ensure_ascii=False, indent=2))
        return
    typer.echo(f"For training on {hardware.name} ({hardware.gb:.1f} GB), the best first:\n")
    _print_choices(choices)
    typer.echo("\n✓ recommended   · fits   ✗ refused      `llmbench models show ALIAS` tells more of one")


def _choice_document(choice: Choice) -> dict[str, Any]:
    return {
        **_entry_document(choice.entry),
        "verdict": choice.verdict,
        "reason": choice.reason,
        "basis": choice.basis,
        "needed_bytes": choice.needed,
        "batch_size": choice.batch_size,
        "gradient_accumulation": choice.gradient_accumulation,
    }


def _entry_document(entry: ModelEntry) -> dict[str, Any]:
    """The fields of an entry, with the reference's names for those that programs read."""
    return {
        "id": entry.alias,
        "name": entry.name,
        "hub": entry.hub,
        "aliases": list(entry.aliases),
        "family": entry.family,
        "member": entry.member,
        "gguf": entry.gguf,
        "context": entry.context.model_dump(mode="json") if entry.context else None,
        "parameters": entry.parameters,
        "licence": entry.licence,
        "gated": entry.gated,
        "chat_template": entry.chat_template,
        "vram_required_gb": entry.vram_gb,
        "quality_rating": entry.quality,
        "speed_rating": entry.speed,
        "description": entry.description,
        "limitation": entry.limitation,
        "preset": entry.training.model_dump(mode="json"),
    }


def _print_choices(choices: Sequence[Choice]) -> None:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    for heading in ("model", "quality", "speed", "needs"):
        table.add_column(heading, no_wrap=True)
    table.add_column("why", ratio=1)
    for choice in choices:
        entry = choice.entry
        needed = _needed(choice)
        name = f"{entry.alias}{' (gated)' if entry.gated else ''}"
        stars = (_stars(entry.quality), _stars(entry.speed))
        table.add_row(_SYMBOLS[choice.verdict], name, *stars, needed, choice.reason)
    _print(table)


def _print(table: Any) -> None:
    import shutil

    from rich.console import Console

    Console(width=max(100, shutil.get_terminal_size((120, 24)).columns), highlight=False, markup=False).print(table)


def _stars(rating: int | None) -> str:
    return "★" * rating + "☆" * (5 - rating) if rating else "?"


def _needed(choice: Choice) -> str:
    if choice.basis == "registry":
        return f"{choice.needed_gb:g} GB"
    return _gb(choice.needed) if choice.needed else "?"


def _gb(size: float) -> str:
    from pytest_llmbench.models.memory.estimate import in_gb

    return in_gb(size)


@models.command("show", cls=Command)
def _show_models(
    alias: Annotated[str, typer.Argument(metavar="ALIAS", help="A name or hub id of the registry.")],
    *,
    task: _TaskName = None,
    as_json: Json = False,
) -> None:
    """Tell all that the registry says of one model, and the preset that it trains with."""
    from pytest_llmbench.models.registry import load_registry

    entry = load_registry().require(alias)
    preset = entry.preset(task)
    if as_json:
        document = {**_entry_document(entry), "task": task, "preset": preset.model_dump(mode="json")}
        typer.echo(json.dumps(document, ensure_ascii=False, indent=2))
        return
    _tell_pairs(_description(entry))
    typer.echo(f"\npreset{f' for {task}' if task else ''}")
    _tell_pairs(_settings(preset))


def _description(entry: ModelEntry) -> Iterable[tuple[str, object]]:
    yield "model", f"{entry.name} ({entry.alias}{''.join(f', {name}' for name in entry.aliases)})"
    yield "hub", f"{entry.hub}{', gated: accept its licence there and log in' if entry.gated else ''}"
    yield "parameters", f"{entry.parameters:,}" if entry.parameters else "?"
    if entry.context:
        stretch = f", {entry.context.yarn:,} with YaRN" if entry.context.yarn else ""
        yield "context", f"{entry.context.native:,} tokens{stretch}"
    yield "licence", entry.licence or "?"
    yield "quality", _stars(entry.quality)
    yield "speed", _stars(entry.speed)
    yield "asks for", f"{entry.vram_gb:g} GB to train, by experience" if entry.vram_gb else "?"
    yield "chat template", "yes" if entry.chat_template else "no: it continues text"
    yield "description", entry.description
    if entry.limitation:
        yield "limitation", entry.limitation
    yield "written in", entry.source


def _settings(preset: Preset) -> Iterable[tuple[str, object]]:
    for name, value in preset.model_dump().items():
        yield name.replace("_", " "), ", ".join(value) if isinstance(value, tuple) else value


def _tell_pairs(pairs: Iterable[tuple[str, object]]) -> None:
    for name, value in pairs:
        typer.echo(f"  {name:<22} {value}")


models.command("estimate", cls=Command)(grouped(estimate_command))
