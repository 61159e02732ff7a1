"""`llmbench config`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from pytest_llmbench.cli.config_generate import generate
from pytest_llmbench.cli.options import (
    Adapter,
    Base,
    Command,
    Config,
    Device,
    Json,
    Quantization,
    chosen_settings,
    settings_file,
)


class _Config(TyperGroup):
    """`llmbench config` alone shows the settings."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the words that were typed."""
        named = bool(args) and (not args[0].startswith("-") or args[0] in ctx.help_option_names)
        parsed: list[str] = super().parse_args(ctx, args if named else ["show", *args])
        return parsed


config = typer.Typer(cls=_Config, help="Show and check the settings; generate those of a server.")


@config.command(cls=Command)
def show(
    *,
    config: Config = None,
    base: Base = None,
    adapter: Adapter = None,
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

    settings = chosen_settings(config, base=base, adapter=adapter, quantization=quantization, device=device)
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
    """Check the project's settings, or those of a server, and show nothing but what is wrong. Exit code 2 then."""
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


config.command(cls=Command)(generate)


def _show(applying: Mapping[str, Any], file: Path | None, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(applying, ensure_ascii=False, indent=2))
        return
    import yaml

    typer.echo(f"# options > environment > {file or 'no settings file'} > defaults")
    typer.echo(yaml.safe_dump(applying, sort_keys=False, allow_unicode=True), nl=False)
