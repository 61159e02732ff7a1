"""Server settings for tests: by arithmetic, on hardware that is told of and not looked for."""

from __future__ import annotations

import functools

from pytest_llmbench.context.serving.family import find_member
from pytest_llmbench.context.serving.optimize import optimize
from pytest_llmbench.context.serving.optimized_config import OptimizedConfig
from pytest_llmbench.core.settings import ModelSettings, ServingSettings, Settings


def optimized(model: str = "medium", *, device: str = "cuda", memory: float = 48, **wishes: object) -> OptimizedConfig:
    """The settings of a model's server, with wishes by their keys in the section `serving`."""
    serving = ServingSettings.model_validate({"memory": memory, **wishes})
    settings = Settings(model=ModelSettings.model_validate({"device": device}), serving=serving)
    return optimize(_member(model), settings)


_member = functools.cache(find_member)
