"""The tokenizer of a served model on this machine, for servers that do not count."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_llmbench.context.counting import LocalTokenizer
from pytest_llmbench.context.serving.family import find_member
from pytest_llmbench.core.errors import LLMBenchError, UsageError
from pytest_llmbench.models.sources import peek, tokenizer_place

if TYPE_CHECKING:
    from pytest_llmbench.core.settings import Settings


def local_ways(settings: Settings) -> list[LocalTokenizer]:
    """The way to count with `context.tokenizer`; none where the settings name none.

    Raises:
        UsageError: it cannot be read, or has no chat template.
        ModelError, NotReadyError: as resolving a model raises them.
    """
    spec = settings.context.tokenizer
    if spec is None:
        return _of_member(settings)
    tokenizer = _tokenizer(spec, trust_remote_code=settings.model.trust_remote_code)
    if not getattr(tokenizer, "chat_template", None):
        raise UsageError(
            f"context.tokenizer: {spec} has no chat template, so that it cannot count what is sent; name the model "
            "that is served",
            names=("context.tokenizer",),
        )
    return [LocalTokenizer(tokenizer, settings.model.template_arguments)]


def _of_member(settings: Settings) -> list[LocalTokenizer]:
    """The tokenizer of the family member that is served, where it is on this machine already."""
    model = settings.context.model
    folder = peek(find_member(model).hub) if model is not None else None
    if folder is None:
        return []
    tokenizer = _tokenizer(folder.path, trust_remote_code=settings.model.trust_remote_code)
    return [LocalTokenizer(tokenizer, settings.model.template_arguments)]


def _tokenizer(spec: str, *, trust_remote_code: bool) -> Any:
    from pytest_llmbench.models.gguf import load_gguf_tokenizer
    from pytest_llmbench.models.tokenizers import read_tokenizer

    try:
        place = tokenizer_place(spec)
        if place.is_file():
            return load_gguf_tokenizer(place)
        return read_tokenizer(place, trust_remote_code=trust_remote_code)
    except LLMBenchError as error:
        told = error.saying(f"context.tokenizer: {error}")
        told.names = ("context.tokenizer",)
        raise told from error
    except (OSError, ValueError) as error:
        raise UsageError(
            f"context.tokenizer: the tokenizer of {spec} cannot be read: {error}", names=("context.tokenizer",)
        ) from error
