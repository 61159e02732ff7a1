"""A GGUF file answered by llama.cpp, base and adapters from one loaded base, in a process that this session owns."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llmbench.cases.suites import Case
from pytest_llmbench.core.records import BASE, Completion
from pytest_llmbench.generation.embedded.completions import Completions
from pytest_llmbench.generation.embedded.llamacpp import EmbeddedServer, LlamaOptions, ServedModel, spare_cores
from pytest_llmbench.generation.embedded.lora_gguf import lora_gguf
from pytest_llmbench.generation.prompts import UNPLANNED, Prompts, ReadsPrompts
from pytest_llmbench.generation.provenance import (
    OWN_LIMITS,
    adapter_identity,
    adapters_told,
    library_versions,
    templates_told,
)
from pytest_llmbench.generation.rows import Row
from pytest_llmbench.generation.sampling import Sampling
from pytest_llmbench.generation.soundness import adapter_gaps
from pytest_llmbench.models.chat_templates import base_form, variant_forms
from pytest_llmbench.models.gguf_facts import GgufFacts, load_kept_tokenizer

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


class LlamaBackend(ReadsPrompts):
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

    def __init__(  # what was found out before it is opened
        self,
        source: Source,
        facts: GgufFacts,
        adapters: Mapping[str, Adapter],
        settings: Settings,
        cases: Sequence[Case],
        training_rows: Mapping[str, Any],
    ) -> None:
        self.variants: tuple[str, ...] = (BASE, *adapters)
        self._source, self._facts, self._adapters, self._settings = source, facts, adapters, settings
        self._training_rows = training_rows
        self._prompts = _prompts(source, facts, adapters, settings, planned=bool(cases))
        self._slots = _slots(settings)
        needed = self._prompts.needed_context(cases)
        self._context = min(-(-needed // _STEP) * _STEP, facts.context)
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
        generation = self._settings.generation
        return {
            "engine": "llamacpp",
            "weights": self._source.weights_hash,
            "adapter": adapter_identity(self._adapters.get(variant)),
            "quantization": self._facts.file_type,
            "device": self._settings.model.device,
            "slots": str(self._slots),
            "sampling": _sampling(generation),
            "max_new_tokens": str(generation.max_new_tokens),
            "max_reasoning_tokens": str(generation.max_reasoning_tokens),
            "long_prompt": generation.long_prompt,
            "ends": str(sorted(self._prompts.ends(variant))),
            **self._prompts.forms[variant].key,
            "libraries": library_versions(("xllamacpp",)),
        }

    def batch_size(self) -> int:
        """How many cases `complete` should be handed at once: enough to keep every slot busy."""
        return self._slots * _ROUNDS

    def complete(self, cases: Sequence[Case], variant: str) -> Iterator[Completion]:
        """Answer the cases, yielding each as it ends. One that cannot be written, or is too long, is an error.

        Raises:
            NotReadyError: llama.cpp ended; what was yielded before stays valid.
        """
        fitting, refused = self._prompts.askable([(case, variant) for case in cases])
        yield from refused
        for row in self._grown(self._prompts.rows(fitting), variant):
            case, _ = fitting[row.index]
            yield self._completion(case, variant, row)

    def stream(self, case: Case, variant: str, told: Callable[[str], None]) -> Completion:
        """Answer one case as `complete` does, handing on each piece of the text as it is made."""
        if why := self._prompts.why_not(case, variant):
            return self._prompts.refused(case, variant, why)
        pieces = self._prompts.pieces(case, variant, told)
        (row,) = self._prompts.rows([(case, variant)])

        def show(tokens: Sequence[int]) -> bool:
            pieces.take(tokens)
            return True

        self._completions.grow(row, self._prompts.limits(variant), self._scales(variant), show)
        pieces.end(row.tokens)
        return self._completion(case, variant, row)

    def embed(self, pairs: Sequence[tuple[Case, Completion]]) -> list[Completion]:
        """The completions unchanged: llama.cpp shows no hidden states of an answer in its prompt's context."""
        return [completion for _, completion in pairs]

    def describe(self) -> Mapping[str, Any]:
        """Provenance of the pair and of how it was run."""
        return {
            "backend": "llamacpp",
            "engine": f"llama.cpp ({library_versions(('xllamacpp',)).replace('=', ' ')})",
            "base_model": self._source.spec,
            "base_weights_sha256": self._source.weights_hash,
            "adapters": adapters_told(self._adapters),
            "quantization": f"GGUF {self._facts.file_type}",
            "device": self._settings.model.device,
            "weights_bytes": Path(self._source.origin).stat().st_size,
            "load_s": round(self._load_s, 2),
            "threads": self._threads,
            "batch_size": self._slots,
            "limits": [*(["rounds_by_batch"] if self._slots > 1 else []), *OWN_LIMITS],
            "decoding": f"{self._slots} slots of {self._context} tokens",
            "chat_templates": templates_told(self._prompts.forms),
            "soundness": {"base_gap": None, "adapter_gaps": self._gaps} if self._gaps else None,
            "training_rows": self._training_rows,
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
            slots=self._slots,
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

        with ThreadPoolExecutor(self._slots) as pool:
            growing = [pool.submit(self._completions.grow, row, limits, scales, goes_on) for row in rows]
            try:
                for done in as_completed(growing):
                    yield done.result()
            finally:
                left.set()
                pool.shutdown(wait=False, cancel_futures=True)

    def _completion(self, case: Case, variant: str, row: Row) -> Completion:
        done = self._prompts.completion(case, variant, row, self._slots)
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


def _sampling(generation: GenerationSettings) -> str:
    greedy = Sampling(generation.temperature, generation.top_p, generation.do_sample).greedy
    return "greedy" if greedy else f"llama.cpp t={generation.temperature} p={generation.top_p}"
