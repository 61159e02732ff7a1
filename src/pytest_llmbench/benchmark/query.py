"""One question, answered by the local pair or a live server, as it is being made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from pytest_llmbench.cases.suites import Case
from pytest_llmbench.core.errors import NotReadyError, UsageError
from pytest_llmbench.core.records import BASE, Completion
from pytest_llmbench.generation.backend import ALONE, OutOfMemoryError

if TYPE_CHECKING:
    from pytest_llmbench.generation.backend import Backend

NOT_UTF8 = "the question is not UTF-8; write it in that encoding"

Heard = Callable[[str], None]


@runtime_checkable
class Streaming(Protocol):
    """A backend that hands on an answer piece by piece."""

    def stream(self, case: Case, variant: str, told: Heard) -> Completion:
        """Answer one case; `told` hears each piece of the text."""
        ...


def question(text: str, system: str | None) -> Case:
    """A case that asks one question.

    Raises:
        UsageError: the question is empty, or has bytes of another encoding, which Python keeps as half characters.
    """
    try:
        f"{text}{system or ''}".encode()
    except UnicodeEncodeError as error:
        raise UsageError(NOT_UTF8) from error
    if not text.strip():
        raise UsageError("the question is empty; write it as the argument, or give - and write it on standard input")
    turns = [{"role": "system", "content": system}] if system else []
    turns.append({"role": "user", "content": text.strip()})
    return Case("query", "question", text.strip(), tuple(turns), source="the question")


def answering(variants: Sequence[str], *, both: bool) -> tuple[str, ...]:
    """Who of the `variants` answers: the fine-tunes, or the base where there is none; everybody with `both`.

    Raises:
        UsageError: both were asked for, and there is only the base.
    """
    tuned = tuple(variant for variant in variants if variant != BASE)
    if both and not tuned:
        told = "two answers need a fine-tune beside the base; give model.adapter, or server.adapter"
        raise UsageError(told, names=("both", "model.adapter", "server.adapter"))
    return tuple(variants) if both else tuned or tuple(variants)


def ask(backend: Backend, case: Case, variant: str, told: Heard) -> Completion:
    """One variant's answer, told piece by piece where the backend can, else at once.

    Raises:
        NotReadyError: memory runs out.
    """
    try:
        if isinstance(backend, Streaming):
            return backend.stream(case, variant, told)
        (completion,) = backend.complete([case], variant)
    except OutOfMemoryError as error:
        raise NotReadyError(ALONE) from error
    told(completion.text)
    return completion
