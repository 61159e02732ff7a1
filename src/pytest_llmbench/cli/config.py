"""`llmbench config`."""

from __future__ import annotations

import json

import typer

from pytest_llmbench.cli.settings_options import (
    Adapter,
    Base,
    Config,
    Device,
    Json,
    Quantization,
    chosen_settings,
    settings_file,
)


def config(
    *,
    config: Config = None,
    base: Base = None,
    adapter: Adapter = None,
    quantization: Quantization = None,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Show the settings that apply here, and check their file.

    Printed as a settings file. Exit code 2 when a key or value is wrong.
    """
    from pytest_llmbench.gate_check import refuse_unjudgeable

    settings = chosen_settings(config, base=base, adapter=adapter, quantization=quantization, device=device)
    refuse_unjudgeable(settings)
    applying = settings.model_dump(mode="json")
    if as_json:
        typer.echo(json.dumps(applying, ensure_ascii=False, indent=2))
        return
    import yaml

    typer.echo(f"# options > environment > {settings_file(config) or 'no settings file'} > defaults")
    typer.echo(yaml.safe_dump(applying, sort_keys=False, allow_unicode=True), nl=False)
