"""Answers with vLLM in this process, base and adapters from one base in memory."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llmbench.cases.suites import Case
from pytest_llmbench.core.errors import NotReadyError
from pytest_llmbench.core.records import Completion, Finish
from pytest_llmbench.generation.prompts import UNPLANNED, Prompts
from pytest_llmbench.generation.row_backend import Grown, RowBackend
from pytest_llmbench.generation.rows import Limits, Row
from pytest_llmbench.generation.sampling import Sampling
from pytest_llmbench.generation.soundness import adapter_gaps
from pytest_llmbench.generation.vllm.loading import (
    Plan,
    device_of,
    ends,
    engine_arguments,
    explained,
    first_line,
    imported,
    is_batch_invariant,
    quantization_of,
)
from pytest_llmbench.models import loading_errors
from pytest_llmbench.models.chat_templates import base_form, variant_forms
from pytest_llmbench.models.hashing import config_hash
from pytest_llmbench.models.tokenizers import context_tokens, embedding_rows, load_tokenizer

if TYPE_CHECKING:
    from pytest_llmbench.core.settings import GenerationSettings, Settings
    from pytest_llmbench.models.adapters import Adapter
    from pytest_llmbench.models.sources import Source

_PLACES = {"cpu": 16, "cuda": 256}
_SEED_BITS = 2**31 - 1
_LIKELIEST = 20
_FINISHES: Mapping[str, Finish] = {"stop": "stop", "length": "length"}
"""What vLLM says of an answer that ended well; it also gives some up, as `abort` or `error`."""


def _unwatched(_tokens: Sequence[int]) -> None:
    """Nobody watches the answer grow."""


class VllmBackend(RowBackend):
    """Answers with vLLM's engine, one step at a time.

    Args:
        source: the base.
        adapters: by variant.
        settings: the session's.
        cases: what will be asked, as far as is known: the context is made as long as the longest of them needs.
        training_rows: what the adapters were trained on, for the report.

    Raises:
        UsageError: vLLM cannot quantize as asked on this device.
        AdapterError: an adapter is of too high a rank, scales layers of their own, or has no effect.
        ModelError: the base's files or an adapter cannot be read or loaded, or memory is too small.
        NotReadyError: vLLM is missing, or for another device.
    """

    engine = "vllm"

    def __init__(
        self,
        source: Source,
        adapters: Mapping[str, Adapter],
        settings: Settings,
        cases: Sequence[Case],
        training_rows: Mapping[str, Any],
    ) -> None:
        self._vllm = imported()
        super().__init__(source, adapters, settings, training_rows)
        self._device = device_of(settings.model.device)
        with loading_errors.explained(source):
            config = _config(source, trust_remote_code=settings.model.trust_remote_code)
            quantization, told = quantization_of(settings.model, config, self._device)
            self._prompts = _prompts(source, config, adapters, settings, planned=bool(cases))
        self._at_once = _places(settings.generation, self._device)
        self._plan = Plan(
            "float32" if told == "none" and self._device == "cpu" else settings.model.compute_dtype,
            quantization,
            told,
            self._at_once,
            self._prompts.needed_context(cases),
        )
        self._prompts.opened_with(self._plan.context)
        self._numbers = itertools.count()
        self._open(engine_arguments(source, config, adapters, settings.model, self._plan, self._device))

    def identity(self, variant: str) -> Mapping[str, str]:
        """Weights, adapter, quantization, settings and version.

        The places too: how many answers are computed at once changes how they round.
        """
        return {
            **self._asked(variant),
            "config": config_hash(Path(self._source.path)),
            "quantization": self._plan.told,
            "dtype": self._plan.dtype,
            "device": self._device,
            "places": str(self._at_once),
            **({"batch_invariant": "1"} if is_batch_invariant() else {}),
            "libraries": f"vllm={self._vllm.__version__}",
        }

    def batch_size(self) -> int:
        """How many cases are handed over at once; vLLM keeps those that wait."""
        return self._at_once

    def describe(self) -> Mapping[str, Any]:
        """Provenance of the pair and of how it was run."""
        return {
            **self._pair(),
            "engine": f"vLLM {self._vllm.__version__}",
            "quantization": self._plan.told,
            "dtype": self._plan.dtype,
            "device": self._device,
            "decoding": f"up to {self._at_once} answers of {self._plan.context} tokens at once",
        }

    def close(self) -> None:
        """Let go of the engine's memory."""
        from vllm.distributed import cleanup_dist_env_and_memory

        self._engine.engine_core.shutdown()
        del self._engine
        gc.collect()
        cleanup_dist_env_and_memory()

    def _open(self, arguments: Mapping[str, Any]) -> None:
        from vllm.lora.request import LoRARequest

        started, adapters = time.perf_counter(), self._adapters
        self._loras = {name: LoRARequest(name, at, one.path) for at, (name, one) in enumerate(adapters.items(), 1)}
        with explained(self._source, adapters):
            self._engine = self._vllm.LLM(**arguments).llm_engine
            try:
                for lora in self._loras.values():
                    self._engine.add_lora(lora)
                self._gaps = adapter_gaps(adapters, self._prompts, self._likeliest, self._plan.dtype)
            except BaseException:
                with contextlib.suppress(*ends()):  # of an engine that is dead: why it is comes next
                    self.close()  # else what is refused keeps the GPU
                raise
        self._load_s = time.perf_counter() - started

    def _grow(self, row: Row, variant: str, grown: Grown) -> None:
        list(self._grown([row], variant, grown))

    def _grown(self, rows: Sequence[Row], variant: str, grown: Grown = _unwatched) -> Iterator[Row]:
        growing = {f"llmbench-{next(self._numbers)}": row for row in rows}
        limits = self._prompts.limits(variant)
        for name, row in growing.items():
            self._ask(name, row, variant)
        started = last = time.monotonic()
        try:
            while growing:
                outputs = self._step()
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

    def _step(self) -> list[Any]:
        """What the engine made in one step. Raises NotReadyError where it cannot go on."""
        with _going_on():
            outputs: list[Any] = self._engine.step()
        return outputs

    def _ask(self, name: str, row: Row, variant: str) -> None:
        params = _sampling_params(self._vllm, self._sampling)
        params.seed = row.noise_key & _SEED_BITS
        params.max_tokens = self._prompts.most_tokens
        params.stop_token_ids = sorted(self._prompts.ends(variant))
        prompt = {"prompt_token_ids": list(row.prompt)}
        with _going_on():
            self._engine.add_request(name, prompt, params, lora_request=self._loras.get(variant))

    def _extend(self, row: Row, output: Any, limits: Limits, now: float, share: float) -> bool:
        """Add what a step made; True when the answer ends with it. One that ends here and not there is given up."""
        for place, token in enumerate(output.outputs[0].token_ids):
            if limits.extend(row, token, now, 0.0 if place else share):
                if not output.finished:
                    self._engine.abort_request([output.request_id])
                return True
        if output.finished:
            row.finish = _FINISHES.get(output.outputs[0].finish_reason, "error")
        return bool(output.finished)

    def _completion(self, case: Case, variant: str, row: Row, batch_size: int) -> Completion:
        done = super()._completion(case, variant, row, batch_size)
        return dataclasses.replace(done, error="vLLM gave the answer up") if done.finish == "error" else done

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


@contextlib.contextmanager
def _going_on() -> Iterator[None]:
    """Inside the block an engine answers. Raises NotReadyError where it cannot go on."""
    try:
        yield
    except ends() as error:
        raise NotReadyError(
            f"vLLM ended while it answered: {first_line(error)}; start again, a run that is kept can be resumed"
        ) from error


def _sampling_params(vllm: Any, sampling: Sampling) -> Any:
    """Temperature and nucleus, nothing else; only what a step adds is told, and as tokens."""
    from vllm.sampling_params import RequestOutputKind

    return vllm.SamplingParams(
        temperature=0.0 if sampling.greedy else sampling.temperature,
        top_p=1.0 if sampling.greedy else sampling.top_p,
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
    most = context_tokens(config) or 2**31
    try:
        declared = GenerationConfig.from_pretrained(source.path).eos_token_id
    except OSError:  # a folder without one: the configuration says it
        declared = config.get_text_config().eos_token_id
    ends = frozenset(declared if isinstance(declared, list) else [declared]) - {None}
    context = most if planned else min(most, UNPLANNED)
    return Prompts(variant_forms(base, adapters, rows), settings.generation, context, ends)


def _places(settings: GenerationSettings, device: str) -> int:
    return _PLACES[device] if settings.batch_size == "auto" else int(settings.batch_size)
