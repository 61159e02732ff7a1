"""A GGUF file answered by llama.cpp, base and adapters from one loaded base, in a process that this session owns."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llmbench.cases.suites import Case
from pytest_llmbench.core.records import Completion
from pytest_llmbench.generation.embedded.completions import Completions
from pytest_llmbench.generation.embedded.llamacpp import EmbeddedServer, LlamaOptions, ServedModel, spare_cores
from pytest_llmbench.generation.embedded.lora_gguf import lora_gguf
from pytest_llmbench.generation.prompts import UNPLANNED, Prompts
from pytest_llmbench.generation.provenance import library_versions
from pytest_llmbench.generation.row_backend import Grown, RowBackend
from pytest_llmbench.generation.rows import Row
from pytest_llmbench.generation.soundness import adapter_gaps
from pytest_llmbench.models.chat_templates import base_form, variant_forms
from pytest_llmbench.models.gguf_facts import GgufFacts, load_kept_tokenizer
from pytest_llmbench.models.hashing import gguf_files

if TYPE_CHECKING:
    from pytest_llmbench.core.settings import GenerationSettings, ModelSettings, Settings
    from pytest_llmbench.models.adapters import Adapter
    from pytest_llmbench.models.sources import Source

_SLOTS = 1
"""On a CPU more slots gain a tenth in speed, and answers then depend on which of them were computed together."""
_GPU_SLOTS = 32
_ROUNDS = 4
"""So many answers a slot are handed over at once, that slots do not wait for the last answer of a batch."""
_STEP = 256


class LlamaBackend(RowBackend):
    """Answers with llama.cpp.

    A failed assertion in llama.cpp ends its whole process, so that it has one of its own, which ends with this one.

    Args:
        source: the GGUF file as a source: its hash, and the folder with its tokenizer.
        facts: what the file says of its model.
        adapters: by variant; each is converted to GGUF once.
        settings: the session's.
        cases: what will be asked, as far as is known: the context is made as long as the longest of them needs.
        training_rows: what the adapters were trained on, for the report.

    Raises:
        AdapterError: llama.cpp cannot apply an adapter, or it has no effect.
        NotReadyError: xllamacpp is missing, or llama.cpp cannot load the model; the message has its reason.
    """

    engine = "llamacpp"

    def __init__(  # what was found out before it is opened
        self,
        source: Source,
        facts: GgufFacts,
        adapters: Mapping[str, Adapter],
        settings: Settings,
        cases: Sequence[Case],
        training_rows: Mapping[str, Any],
    ) -> None:
        super().__init__(source, adapters, settings, training_rows)
        self._facts = facts
        self._prompts = _prompts(source, facts, adapters, settings, planned=bool(cases))
        self._at_once = _slots(settings)
        needed = self._prompts.needed_context(cases)
        self._context = min(-(-needed // _STEP) * _STEP, facts.context)
        self._prompts.opened_with(self._context)
        self._threads = _threads(settings.generation)
        started = time.perf_counter()
        self._server = self._started()
        self._load_s = time.perf_counter() - started
        try:
            self._completions = Completions(self._server, settings.generation, self._prompts.most_tokens)
            self._gaps = adapter_gaps(adapters, self._prompts, self._likeliest)
        except BaseException:
            self.close()
            raise

    def identity(self, variant: str) -> Mapping[str, str]:
        """The file's and the adapter's hashes, settings and versions.

        Slots too: how many answers llama.cpp works on at once changes how it rounds.
        """
        return {
            **self._asked(variant),
            "quantization": self._facts.file_type,
            "device": self._server.device,
            "slots": str(self._at_once),
            "libraries": library_versions(("xllamacpp",)),
        }

    def batch_size(self) -> int:
        """How many cases `complete` should be handed at once: enough to keep every slot busy."""
        return self._at_once * _ROUNDS

    def describe(self) -> Mapping[str, Any]:
        """Provenance of the pair and of how it was run."""
        return {
            **self._pair(),
            "engine": f"llama.cpp ({library_versions(('xllamacpp',)).replace('=', ' ')})",
            "quantization": f"GGUF {self._facts.file_type}",
            "device": self._server.device,
            "weights_bytes": sum(part.stat().st_size for part in gguf_files(Path(self._source.origin))),
            "threads": self._threads,
            "decoding": f"{self._at_once} slots of {self._context} tokens",
        }

    @property
    def pid(self) -> int:
        """llama.cpp's process."""
        return self._server.pid

    def close(self) -> None:
        """End llama.cpp's process."""
        self._server.__exit__(None, None, None)

    def _started(self) -> EmbeddedServer:
        gguf = Path(self._source.origin)
        loras = tuple(lora_gguf(adapter, gguf) for adapter in self._adapters.values())
        return EmbeddedServer(
            ServedModel(gguf, self._source.name, loras),
            slots=self._at_once,
            context=self._context,
            threads=self._threads,
            options=LlamaOptions(device=self._settings.model.device),
        ).__enter__()

    def _scales(self, variant: str) -> list[float]:
        """1 for the variant's own adapter, 0 for the others; for the base all are 0."""
        return [float(name == variant) for name in self._adapters]

    def _likeliest(self, prompt: Sequence[int], variant: str) -> Mapping[int, float]:
        return self._completions.likeliest(prompt, self._scales(variant))

    def _grown(self, rows: Sequence[Row], variant: str) -> Iterator[Row]:
        """Each row as it ends; what is under way when nobody takes the next one stops at its next token."""
        limits, scales, left = self._prompts.limits(variant), self._scales(variant), threading.Event()

        def goes_on(_tokens: Sequence[int]) -> bool:
            return not left.is_set()

        with ThreadPoolExecutor(self._at_once) as pool:
            growing = [pool.submit(self._completions.grow, row, limits, scales, goes_on) for row in rows]
            try:
                for done in as_completed(growing):
                    yield done.result()
            finally:
                left.set()
                pool.shutdown(wait=False, cancel_futures=True)

    def _grow(self, row: Row, variant: str, grown: Grown) -> None:
        def goes_on(tokens: Sequence[int]) -> bool:
            grown(tokens)
            return True

        self._completions.grow(row, self._prompts.limits(variant), self._scales(variant), goes_on)

    def _completion(self, case: Case, variant: str, row: Row, batch_size: int) -> Completion:
        done = super()._completion(case, variant, row, batch_size)
        return dataclasses.replace(done, error=self._completions.why_failed(row)) if done.finish == "error" else done


def _prompts(
    source: Source, facts: GgufFacts, adapters: Mapping[str, Adapter], settings: Settings, *, planned: bool
) -> Prompts:
    model: ModelSettings = settings.model
    tokenizer = load_kept_tokenizer(Path(source.path))
    base = base_form(tokenizer, model.template_arguments, model.system_role, facts.rows)
    context = facts.context if planned else min(facts.context, UNPLANNED)
    return Prompts(variant_forms(base, adapters, facts.rows), settings.generation, context)


def _slots(settings: Settings) -> int:
    if settings.generation.batch_size != "auto":
        return int(settings.generation.batch_size)
    return _GPU_SLOTS if settings.model.device == "cuda" else _SLOTS


def _threads(generation: GenerationSettings) -> int:
    return spare_cores() if generation.threads == "auto" else int(generation.threads)
