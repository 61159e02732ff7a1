"""`llmbench models`."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pytest_llmbench.cli.models_estimate import TaskName, estimate
from pytest_llmbench.cli.setting_option import Command
from pytest_llmbench.cli.settings_options import Json

if TYPE_CHECKING:
    from pytest_llmbench.models.recommendation import Choice
    from pytest_llmbench.models.registry import ModelEntry, Preset

models = typer.Typer(help="Recommend models for the hardware.")

_SYMBOLS = {"recommended": "✓", "fits": "·", "refused": "✗"}


@models.callback(invoke_without_command=True)
def recommend(
    context: typer.Context,
    *,
    vram: Annotated[
        float | None, typer.Option(metavar="GB", min=0.1, help="Memory of the GPU; detected when not given.")
    ] = None,
    task: TaskName = None,
    as_json: Json = False,
) -> None:
    """Recommend models for the hardware, with the reason of each choice and of each refusal.

    Memory is that of training with the model's preset. `llmbench models show ALIAS` tells all of one model,
    `llmbench models estimate SPEC` its memory for any batch and length.
    """
    if context.invoked_subcommand is not None:
        return
    from pytest_llmbench.models.memory.hardware import Hardware, detect
    from pytest_llmbench.models.recommendation import recommend as recommend_for
    from pytest_llmbench.models.registry import load_registry

    hardware = Hardware.with_vram(vram) if vram else detect()
    choices = recommend_for(load_registry(), hardware, task)
    if as_json:
        document = {
            "hardware": {**dataclasses.asdict(hardware), "gb": round(hardware.gb, 2)},
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
        needed = _gb(choice.needed) if choice.needed else "?"
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


def _gb(size: float) -> str:
    from pytest_llmbench.models.memory.estimate import in_gb

    return in_gb(size)


@models.command(cls=Command)
def show(
    alias: Annotated[str, typer.Argument(metavar="ALIAS", help="A name or hub id of the registry.")],
    *,
    task: TaskName = None,
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


models.command(cls=Command)(estimate)
