"""Who answers: the protocol that the local model and the live server both speak, and the tools that one drops."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from pytest_llmbench.cases.suites import Case
from pytest_llmbench.core.errors import NotReadyError
from pytest_llmbench.core.locale import N_
from pytest_llmbench.core.records import Completion

_log = logging.getLogger("pytest_llmbench")


ALONE = "out of memory with this prompt alone; lower generation.max_new_tokens or shorten the prompt"


class OutOfMemoryError(RuntimeError):
    """A batch did not fit; whoever asked asks again with a smaller one.

    `at_once` is how many answers were worked on at once, None where that is all that were asked for.
    """

    def __init__(self, *told: object, at_once: int | None = None) -> None:
        super().__init__(*told)
        self.at_once = at_once


@runtime_checkable
class Backend(Protocol):
    """Answers cases as one of its variants.

    A backend is opened once in a session and asked many times. It knows nothing of pytest, of the cache or of metrics.
    """

    variants: tuple[str, ...]
    """The names that may answer; the base comes first."""

    def identity(self, variant: str) -> Mapping[str, str]:
        """What must be equal for a stored answer to be reused: weights, adapter, quantization, settings, versions."""
        ...

    def weight(self, case: Case) -> int:
        """How long the case is, in prompt tokens or a stand-in; batches are made of cases of near weight."""
        ...

    def batch_size(self) -> int:
        """How many cases `complete` should be handed at once."""
        ...

    def complete(self, cases: Sequence[Case], variant: str) -> Iterator[Completion]:
        """Answer each case, yielding completions as they finish, in any order.

        Raises:
            OutOfMemoryError: the batch does not fit; what was yielded before stays valid.
            LLMBenchError: nothing more can be answered (model or server lost).
        """
        ...

    def embed(self, pairs: Sequence[tuple[Case, Completion]]) -> list[Completion]:
        """The same completions with `embedding` filled where the backend can."""
        ...

    def describe(self) -> Mapping[str, Any]:
        """Provenance for the report: model, adapter, hashes, device, quantization, memory, soundness."""
        ...

    def close(self) -> None:
        """Free the model or the connections."""
        ...


@runtime_checkable
class AnswersTogether(Protocol):
    """A backend that answers as several variants in one batch."""

    def complete_together(self, asked: Sequence[tuple[Case, str]]) -> Iterator[Completion]:
        """As `Backend.complete`, with a variant beside each case."""
        ...


@runtime_checkable
class _MayMix(Protocol):
    """A backend that answers together, and knows whether variants then share batches."""

    @property
    def mixes_variants(self) -> bool: ...


@runtime_checkable
class KnowsTools(Protocol):
    """A backend that can tell whether the tools of a case reach its model."""

    def tools_left_out(self, case: Case, variant: str) -> str | None:
        """Why they do not; None where they do."""
        ...


@runtime_checkable
class KnowsMarks(Protocol):
    """A backend that has the tokenizers at hand."""

    def unmarked(self, texts: Sequence[str]) -> list[str]:
        """Texts as answers are read: without any variant's special tokens."""
        ...


def mixes_variants(backend: Backend) -> bool:
    """Whether several variants answer in the same batches, as those do that answer together and do not deny it."""
    if isinstance(backend, _MayMix):
        return backend.mixes_variants
    return isinstance(backend, AnswersTogether)


def all_answers(backend: Backend, cases: Sequence[Case], variant: str) -> Iterator[Completion]:
    """Each case's answer, with fewer asked at once where memory runs out.

    Raises:
        NotReadyError: it runs out with one prompt alone.
    """
    waiting = {(case.name, case.epoch): case for case in cases}
    at_once = len(waiting)
    while waiting:
        chunk = [*waiting.values()][:at_once]
        try:
            for completion in backend.complete(chunk, variant):
                del waiting[completion.case, completion.epoch]
                yield completion
        except OutOfMemoryError as error:
            if len(chunk) == 1:
                raise NotReadyError(f"{chunk[0].name}: {ALONE}") from error
            at_once = len(chunk) // 2


def tell_tools_left_out(backend: Backend, cases: Sequence[Case]) -> None:
    """Announce for which cases a variant is not told of the tools, and why: their calls stay unscored."""
    if not isinstance(backend, KnowsTools):
        return
    lost: dict[str, list[str]] = {variant: [] for variant in backend.variants}
    for case in cases:
        for variant, told in lost.items() if case.tools and case.epoch == 0 else ():
            if why := backend.tools_left_out(case, variant):
                told.append(why)
    for variant, told in lost.items():
        if told:
            _log.warning(N_("%s: %d cases with tools are unscored in their calls: %s"), variant, len(told), told[0])
