"""`llmbench config generate`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pytest_llmbench.cli.options import Config, Device, Json, SettingOption, chosen_settings

if TYPE_CHECKING:
    from pytest_llmbench.context.serving.optimized_config import OptimizedConfig

EngineName = Literal["vllm", "llamacpp", "sglang"]
_GIB = 1024**3


def generate(  # noqa: PLR0913  # one argument an option
    model: Annotated[str, typer.Argument(metavar="MODEL", help="micro, mini, medium, or a member of your registry.")],
    *,
    max_context: Annotated[str | None, SettingOption("serving.max_context")] = None,
    engine: Annotated[
        Literal["vllm", "llamacpp", "sglang"] | None, SettingOption("serving.engine", choices=True)
    ] = None,
    slots: Annotated[str | None, SettingOption("serving.slots")] = None,
    kv_type: Annotated[str | None, SettingOption("serving.kv_type")] = None,
    memory: Annotated[str | None, SettingOption("serving.memory")] = None,
    gpus: Annotated[str | None, SettingOption("serving.gpus")] = None,
    memory_margin: Annotated[str | None, SettingOption("serving.memory_margin")] = None,
    threads: Annotated[str | None, SettingOption("serving.threads")] = None,
    lora: Annotated[str | None, SettingOption("serving.lora")] = None,
    vllm_version: Annotated[str | None, SettingOption("serving.vllm_version")] = None,
    arguments: Annotated[str | None, SettingOption("serving.arguments")] = None,
    port: Annotated[str | None, SettingOption("serving.port")] = None,
    output: Annotated[str | None, SettingOption("serving.out", "--output")] = None,
    device: Device = None,
    config: Config = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files that are there.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the settings, write nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Find by arithmetic with which settings a server holds a context, and write the files that launch it.

    Nothing is started or downloaded. Into the folder of the model go serving.yaml (every setting with its reason),
    docker-compose.yml, serve.sh, serving.env and kubernetes.yaml.
    """
    from pytest_llmbench.context.serving.family import find_member
    from pytest_llmbench.context.serving.files import write_all
    from pytest_llmbench.context.serving.optimize import optimize

    wishes = {
        "max_context": max_context,
        "engine": engine,
        "slots": slots,
        "kv_type": kv_type,
        "memory": memory,
        "gpus": gpus,
        "memory_margin": memory_margin,
        "threads": threads,
        "lora": lora,
        "vllm_version": vllm_version,
        "arguments": arguments,
        "port": port,
        "out": output,
    }
    settings = chosen_settings(config, device=device, **{f"serving.{name}": value for name, value in wishes.items()})
    found = optimize(find_member(model), settings)
    written = [] if dry_run else write_all(found, settings.serving.out / found.model, force=force)
    if as_json:
        typer.echo(found.model_dump_json(indent=2, exclude_none=True))
        return
    _tell(found)
    for path in written:
        typer.echo(f"wrote {path}")


def _tell(found: OptimizedConfig) -> None:
    """The settings with their reasons, the memory by part, and the command."""
    from pytest_llmbench.context.serving.files import command_line

    launch = found.launch
    typer.echo(f"{found.model} ({launch.model}) on {found.hardware}, {launch.engine}\n")
    for name, reason in found.reasons.items():
        value = getattr(launch, "kv_type_k" if name == "kv_type" else name)
        typer.echo(f"  {name:<18} {value if value is not None else '16 bits':<12} {reason}")
    typer.echo(f"  {'longest prompt':<18} {found.prompt_tokens:<12} with the answer that the settings allow")
    parts = ", ".join(f"{name} {size / _GIB:.2f}" for name, size in found.memory.items())
    typer.echo(f"\nGB of memory: {parts}\n\n{command_line(found)}\n")
