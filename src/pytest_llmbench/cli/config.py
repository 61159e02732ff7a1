"""`llmbench config`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer

from pytest_llmbench.cli.options import (
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


def _show(applying: Mapping[str, Any], file: Path | None, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(applying, ensure_ascii=False, indent=2))
        return
    import yaml

    typer.echo(f"# options > environment > {file or 'no settings file'} > defaults")
    typer.echo(yaml.safe_dump(applying, sort_keys=False, allow_unicode=True), nl=False)
