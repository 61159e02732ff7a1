"""Server settings for a family of models, from Python: what is known of each, and files that launch a server.

```python
from pytest_llmbench.config import create_optimized_config_file, generate_docker_compose_file, generate_optimized_config

config = generate_optimized_config("medium", max_context=98304)
create_optimized_config_file("medium", max_context=98304)
generate_docker_compose_file("medium", config)
```

The models are those of the registry with a `member` name: Qwen3 micro, mini and medium, and a project's own. All else
are the project's settings: `configs/llmbench.yaml`, under the environment's `LLMBENCH_*`. No key is among them: it is
read from the environment when something is asked, and is in no value or file of this module.
"""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from pytest_llmbench.context.serving.family import (
    context_lengths,
    find_member,
    longest_of,
    members,
    positions_of,
    window_of,
)
from pytest_llmbench.context.serving.files import COMPOSE, CONFIG, compose_yaml, config_yaml, write_files
from pytest_llmbench.context.serving.optimize import optimize
from pytest_llmbench.context.serving.optimized_config import OptimizedConfig
from pytest_llmbench.core.errors import UsageError
from pytest_llmbench.core.settings import ServingSettings, Settings, TargetSettings, load_settings
from pytest_llmbench.core.starter import CONFIG as SETTINGS

__all__ = [
    "ModelConfig",
    "OptimizedConfig",
    "ServingSettings",
    "Settings",
    "TargetSettings",
    "create_optimized_config_file",
    "generate_docker_compose_file",
    "generate_optimized_config",
    "get_available_models",
    "get_model_config",
    "get_model_context_lengths",
    "get_model_endpoint",
    "get_optimization_params",
    "load_config",
]


class ModelConfig(BaseModel):
    """What is known of a model. Lengths are in tokens.

    `native_context` is what it was trained on, `positions` what its config.json has, `longest_context` the most it can
    be served with, by YaRN where the publisher vouches for that.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    alias: str
    hub: str
    gguf: str | None
    family: str
    parameters: int | None
    native_context: int
    positions: int
    longest_context: int
    context_lengths: tuple[int, ...]
    endpoint: TargetSettings


def load_config(path: Path | str | None = None) -> Settings:
    """The settings: the environment over the file over the defaults. Without a path, the project's file where it is.

    Raises:
        UsageError: an unknown key or a wrong value; a line for each, with its file and line or its variable.
    """
    file = Path(path) if path else SETTINGS if SETTINGS.is_file() else None
    return load_settings(file, {}, os.environ)


def get_available_models() -> list[str]:
    """The names of the models that servers are configured for: `['micro', 'mini', 'medium']` and a project's own.

    Raises:
        UsageError: the project's registry is wrong.
    """
    return list(members())


def get_model_config(model: str) -> ModelConfig:
    """What is known of a model, by its name here, its alias or its hub id.

    Raises:
        UsageError: it is not of the family; the nearest name is told.
    """
    entry = find_member(model)
    return ModelConfig(
        name=str(entry.member),
        alias=entry.alias,
        hub=entry.hub,
        gguf=entry.gguf,
        family=entry.family,
        parameters=entry.parameters,
        native_context=window_of(entry).native,
        positions=positions_of(entry),
        longest_context=longest_of(entry),
        context_lengths=tuple(get_model_context_lengths(model)),
        endpoint=get_model_endpoint(model),
    )


def get_model_endpoint(model: str) -> TargetSettings:
    """Where a model is served: `serving.endpoints`, else the server of the settings, else the port that is generated.

    Its key is `LLMBENCH_API_KEY` of the environment, and no part of this.

    Raises:
        UsageError: it is not of the family, or the settings are wrong.
    """
    entry, settings = find_member(model), load_config()
    if found := settings.serving.endpoints.get(str(entry.member)):
        return found
    url = settings.server.url or f"http://127.0.0.1:{settings.serving.port}/v1"
    return TargetSettings(url=url, model=settings.server.model or entry.alias)


def get_model_context_lengths(model: str) -> list[int]:
    """Lengths at which a model's context is tested, in tokens.

    Those of the setting `context.lengths`, else doubled up to what the model's publisher vouches for.

    Raises:
        UsageError: it is not of the family, or the settings are wrong.
    """
    entry, wanted = find_member(model), load_config().context.lengths
    return list(context_lengths(entry) if wanted == "auto" else wanted)


def get_optimization_params(model: str) -> ServingSettings:
    """What settings are made by, for a model: the section `serving`, its context filled in where it is not set.

    Raises:
        UsageError: it is not of the family, or the settings are wrong.
    """
    serving = load_config().serving
    return serving.model_copy(update={"max_context": serving.max_context or window_of(find_member(model)).native})


def generate_optimized_config(
    model: str, max_context: int | None = None, *, settings: Settings | None = None
) -> OptimizedConfig:
    """The settings with which a server holds that context, by arithmetic, each with its reason. Nothing is started.

    Without `max_context` the settings decide, and without a word there, it is what the model was trained on.

    Raises:
        UsageError: the model is not of the family, or a wish is beyond it or its engine.
        NotReadyError: it does not fit into the memory; told is what would.
    """
    entry, settings = find_member(model), settings or load_config()
    if max_context is not None:
        values = {**settings.serving.model_dump(), "max_context": max_context}
        settings = settings.model_copy(update={"serving": _checked(values)})
    return optimize(entry, settings)


def create_optimized_config_file(
    model: str, max_context: int | None = None, path: Path | str | None = None, *, force: bool = False
) -> Path:
    """Write those settings as YAML, into `serving.out` where no path is given; the file's path.

    Raises:
        UsageError: as `generate_optimized_config`, and when the file exists, without `force`.
        NotReadyError: it does not fit into the memory, or the disk refuses.
    """
    config = generate_optimized_config(model, max_context)
    target = Path(path) if path else load_config().serving.out / config.model / CONFIG
    return write_files({target: config_yaml(config)}, force=force)[0]


def generate_docker_compose_file(
    model: str, config: OptimizedConfig, path: Path | str | None = None, *, force: bool = False
) -> Path:
    """Write the Compose file of settings, into `serving.out` where no path is given; the file's path.

    Raises:
        UsageError: the settings are another model's, or the file exists, without `force`.
        NotReadyError: the disk refuses.
    """
    if config.model != find_member(model).member:
        raise UsageError(f"the settings are of {config.model}, not of {model}")
    target = Path(path) if path else load_config().serving.out / config.model / COMPOSE
    return write_files({target: compose_yaml(config, target.parent)}, force=force)[0]


def _checked(values: dict[str, object]) -> ServingSettings:
    try:
        return ServingSettings.model_validate(values)
    except ValidationError as error:
        raise UsageError(
            f"max_context: {values['max_context']!r} is not valid; give a whole number from 1",
            names=("serving.max_context",),
        ) from error
