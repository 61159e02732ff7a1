"""`llmbench config show`, `validate` and `generate`."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from pytest_llmbench.cli.options import (
    Adapter,
    Base,
    Command,
    Config,
    Device,
    Engine,
    Json,
    Quantization,
    SettingOption,
    chosen_settings,
    grouped,
    settings_file,
)

if TYPE_CHECKING:
    from pytest_llmbench.context.serving.optimized_config import OptimizedConfig

_GIB = 1024**3
_EngineName = Literal["vllm", "llamacpp", "sglang"]
_Value = str | None  # checked where settings are, whose messages name the option


class _ShowsAlone(TyperGroup):
    """`llmbench config` without a command shows the settings."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the words that were typed."""
        named = bool(args) and (not args[0].startswith("-") or args[0] in ctx.help_option_names)
        parsed: list[str] = super().parse_args(ctx, args if named else ["show", *args])
        return parsed


config = typer.Typer(cls=_ShowsAlone, help="Show and check the settings; generate those of a server.")


@config.command("show", cls=Command)
def show_settings(
    *,
    config: Config = None,
    base: Base = None,
    adapter: Adapter = None,
    engine: Engine = None,
    quantization: Quantization = None,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Show the settings that apply here, and check their file.

    Printed as a settings file. Exit code 2 when a key or value is wrong, or names a model, an adapter, a suite or a
    metric that is not there.
    """
    from pytest_llmbench.benchmark.gate_check import refuse_unjudgeable
    from pytest_llmbench.benchmark.preflight import check_models, check_suites

    settings = chosen_settings(
        config, base=base, adapter=adapter, engine=engine, quantization=quantization, device=device
    )
    refuse_unjudgeable(settings)
    _show(settings.model_dump(mode="json"), settings_file(config), as_json=as_json)
    check_models(settings)
    check_suites(settings)


@config.command(cls=Command)
def validate(
    server: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="Settings of a server that `generate` wrote, to check these.")
    ] = None,
    *,
    config: Config = None,
) -> None:
    """Check the project's settings, or those of a server, and tell only what is wrong. Exit code 2 then."""
    if server is not None:
        from pytest_llmbench.context.serving.optimized_config import OptimizedConfig

        OptimizedConfig.read(server)
        typer.echo(f"{server}: right")
        return
    from pytest_llmbench.benchmark.gate_check import refuse_unjudgeable
    from pytest_llmbench.benchmark.preflight import check_models, check_suites
    from pytest_llmbench.context.serving.family import check_endpoints

    settings = chosen_settings(config)
    refuse_unjudgeable(settings)
    check_endpoints(settings.serving)
    check_models(settings)
    check_suites(settings)
    typer.echo(f"{settings_file(config) or 'the defaults'}: right")


@dataclasses.dataclass(frozen=True, slots=True)
class _Wishes:
    """What is wanted of a server, and the memory that it has."""

    max_context: Annotated[_Value, SettingOption("serving.max_context")] = None
    engine: Annotated[_EngineName | None, SettingOption("serving.engine", choices=True)] = None
    slots: Annotated[_Value, SettingOption("serving.slots")] = None
    kv_type: Annotated[_Value, SettingOption("serving.kv_type")] = None
    memory: Annotated[_Value, SettingOption("serving.memory")] = None
    gpus: Annotated[_Value, SettingOption("serving.gpus")] = None
    memory_margin: Annotated[_Value, SettingOption("serving.memory_margin")] = None
    device: Device = None
    threads: Annotated[_Value, SettingOption("serving.threads")] = None
    lora: Annotated[_Value, SettingOption("serving.lora")] = None
    vllm_version: Annotated[_Value, SettingOption("serving.vllm_version")] = None
    arguments: Annotated[_Value, SettingOption("serving.arguments")] = None
    port: Annotated[_Value, SettingOption("serving.port")] = None
    output: Annotated[_Value, SettingOption("serving.out", "--output")] = None


def generate(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="micro, mini, medium, or a member of your registry.")],
    *,
    wishes: _Wishes,
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

    settings = chosen_settings(config, wishes)
    found = optimize(find_member(model), settings)
    written = [] if dry_run else write_all(found, settings.serving.out / found.model, force=force)
    if as_json:
        typer.echo(found.model_dump_json(indent=2, exclude_none=True))
        return
    _tell(found)
    for path in written:
        typer.echo(f"wrote {path}")


config.command(cls=Command)(grouped(generate))


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
    typer.echo(f"\nGB of memory: {parts}\n\n{command_line(found.command)}\n")


def _show(applying: Mapping[str, Any], file: Path | None, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(applying, ensure_ascii=False, indent=2))
        return
    import yaml

    typer.echo(f"# options > environment > {file or 'no settings file'} > defaults")
    typer.echo(yaml.safe_dump(applying, sort_keys=False, allow_unicode=True), nl=False)
