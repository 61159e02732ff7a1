"""The optimised settings of a model's server: launch settings, the memory they take, and why each value is as it is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pytest_llmbench.context.serving.argv import argv
from pytest_llmbench.context.serving.launch_settings import LaunchSettings
from pytest_llmbench.context.serving.vllm_flags import check_vllm_flags
from pytest_llmbench.core.allowed import fault_text
from pytest_llmbench.core.documents import read_yaml
from pytest_llmbench.core.errors import UsageError


class OptimizedConfig(BaseModel):
    """What `llmbench config generate` makes, and what its files are written from.

    `memory` is in bytes by part; `prompt_tokens` the longest prompt that still leaves room for an answer of
    `generation.max_new_tokens`; `pool_tokens` the tokens that all requests together may hold; `reasons` say for each
    setting why it is so.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal[1] = 1
    model: str
    launch: LaunchSettings
    hardware: str
    gpus: Annotated[int, Field(ge=0)]
    memory: Mapping[str, int]
    prompt_tokens: Annotated[int, Field(ge=1)]
    pool_tokens: Annotated[int, Field(ge=1)]
    reasons: Mapping[str, str]
    vllm_version: str | None = None
    image: str | None = None

    @property
    def command(self) -> list[str]:
        """The program that is launched, and its arguments."""
        return argv(self.launch)

    def check_flags(self) -> None:
        """Raises UsageError for a flag, or a flag's value, that this version of vLLM does not take."""
        if self.vllm_version:
            check_vllm_flags(self.command[3:], self.vllm_version)

    @classmethod
    def read(cls, path: Path) -> Self:
        """What was written to a YAML file.

        Raises:
            UsageError: it cannot be read, is no such file, or asks for what its vLLM does not take; `file:line` for the
                first fault.
        """
        document = read_yaml(path)
        if not isinstance(document.data, dict) or "launch" not in document.data:
            raise UsageError(f"{path}:1: these are no settings of a server; `llmbench config generate` writes them")
        try:
            read = cls.model_validate(document.data)
        except ValidationError as error:
            fault = error.errors(include_url=False)[0]
            raise UsageError(f"{path}:{document.line(*fault['loc'])}: {fault_text(cls, fault)}") from error
        read.check_flags()
        return read
