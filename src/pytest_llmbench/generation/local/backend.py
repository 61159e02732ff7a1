"""The model in this process: one base in memory, adapters off and on, many prompts at once."""

from __future__ import annotations

import base64
import collections
import contextlib
import dataclasses
import functools
import gc
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llmbench.cases.suites import Case
from pytest_llmbench.core.locale import N_
from pytest_llmbench.core.records import BASE, Completion
from pytest_llmbench.generation.backend import OutOfMemoryError
from pytest_llmbench.generation.local.batch import Asked
from pytest_llmbench.generation.local.calibration import Calibration, rows_at_once, step_seconds
from pytest_llmbench.generation.local.continuous import RowEngine
from pytest_llmbench.generation.local.decoding import decode
from pytest_llmbench.generation.local.layout import STEP
from pytest_llmbench.generation.local.perplexity import TextLoss, text_losses
from pytest_llmbench.generation.local.tiles import mixes
from pytest_llmbench.generation.prompts import Prompts, ReadsPrompts
from pytest_llmbench.generation.provenance import adapter_identity, adapters_told, library_versions, templates_told
from pytest_llmbench.generation.rows import Row
from pytest_llmbench.generation.sampling import Sampling
from pytest_llmbench.models.chat_templates import prompt_forms
from pytest_llmbench.models.hashing import config_hash
from pytest_llmbench.models.held_weights import most_rows
from pytest_llmbench.models.loaded import peft_name
from pytest_llmbench.models.loading_errors import is_out_of_memory
from pytest_llmbench.models.tokenizers import context_tokens
from pytest_llmbench.models.verification import no_numbers

if TYPE_CHECKING:
    from torch import Tensor

    from pytest_llmbench.core.settings import GenerationSettings
    from pytest_llmbench.models.loaded import LoadedModel

_log = logging.getLogger("pytest_llmbench")

_GPU_BATCH = 64
_BATCHES_AT_ONCE = 4
"""Where rows that end make room for others: the more wait, the longer a batch stays full."""
_CALIBRATION_ROWS = 8
_LOOKS = 3
_LIBRARIES = ("torch", "transformers", "peft", "bitsandbytes")


class LocalBackend(ReadsPrompts):
    """Answers with a loaded transformers model.

    Args:
        loaded: the base, with its adapters attached.
        settings: how answers are generated.
        facts: what is already known of the pair (soundness, estimate), for the report.
    """

    def __init__(self, loaded: LoadedModel, settings: GenerationSettings, facts: Mapping[str, Any]) -> None:
        self.variants: tuple[str, ...] = loaded.variants
        self._loaded, self._settings, self._facts = loaded, settings, facts
        self._sampling = Sampling(settings.temperature, settings.top_p, settings.do_sample)
        self._prompts = Prompts(
            prompt_forms(loaded), settings, context_tokens(loaded.model.config) or 2**31, loaded.end_tokens
        )
        self._exact = loaded.device.startswith("cpu") and (
            loaded.quantization == "none" or loaded.hold == "dequantized"
        )
        self._together = len(self.variants) if mixes(_causal_model(loaded.model)) else 1
        self._threads_before = _threads()
        self._calibration = self._calibrate()
        size = self._calibration.batch_size  # whoever wants one prompt at a time wants its latency
        self._engine = self._row_engine(1 if size == 1 else size * self._together)

    def identity(self, variant: str) -> Mapping[str, str]:
        """Weights, adapter, quantization, settings and versions: what decides this variant's answers."""
        loaded = self._loaded
        settings = self._settings
        sampling = "greedy" if self._sampling.greedy else f"t={settings.temperature} p={settings.top_p}"
        return {
            "weights": loaded.source.weights_hash,
            "config": config_hash(Path(loaded.source.path)),
            "adapter": adapter_identity(loaded.adapters.get(variant)),
            "quantization": f"{loaded.quantization} {_quantization_config(loaded.model)}",
            "dtype": loaded.dtype,
            **({"hold": loaded.hold} if loaded.hold else {}),
            "device": loaded.device,
            **({"kernel": "as asked"} if self._was_in_bfloat16() else {}),
            "sampling": sampling,
            "max_new_tokens": str(settings.max_new_tokens),
            "max_reasoning_tokens": str(settings.max_reasoning_tokens),
            "long_prompt": settings.long_prompt,
            "ends": str(sorted(self._prompts.ends(variant))),
            "decoding": self._decoding,
            **self._prompts.forms[variant].key,
            "libraries": library_versions(_LIBRARIES),
        }

    def _was_in_bfloat16(self) -> bool:
        """Whether earlier builds let bitsandbytes' kernel compute in bfloat16 what was asked for in another type."""
        import torch

        packed = [one for one in self._loaded.model.modules() if hasattr(one, "support_avx512bf16_for_cpu")]
        return self._loaded.device.startswith("cpu") and any(one.compute_dtype != torch.bfloat16 for one in packed)

    def batch_size(self) -> int:
        """Several times the prompts of a batch (asked for, or found by the calibration) where it is filled up again."""
        return self._calibration.batch_size * (1 if self._engine is None else _BATCHES_AT_ONCE)

    @property
    def mixes_variants(self) -> bool:
        """Whether variants share batches; else each has its own, one variant after the other."""
        return self._engine is not None and self._engine.mixed

    def complete(self, cases: Sequence[Case], variant: str) -> Iterator[Completion]:
        """Answer the cases in one batch. A case whose prompt cannot be written, or is too long, is an error of its own.

        Raises:
            OutOfMemoryError: the batch does not fit.
        """
        return self.complete_together([(case, variant) for case in cases])

    def complete_together(self, asked: Sequence[tuple[Case, str]]) -> Iterator[Completion]:
        """Answer cases as several variants, in one batch where the model and its adapters allow it.

        Raises:
            OutOfMemoryError: the batch does not fit.
        """
        fitting, refused = self._prompts.askable(asked)
        yield from refused
        together: dict[str, int] = {}
        for case, variant, row in self._decode(fitting):
            if variant not in together:  # how many there is room for is known once they are at work
                together[variant] = self._together_by_variant([variant for _, variant in fitting])[variant]
            yield self._completion(case, variant, row, together[variant])

    def stream(self, case: Case, variant: str, told: Callable[[str], None]) -> Completion:
        """Answer one case as `complete` does, handing on each piece of the text as it is made."""
        if why := self._prompts.why_not(case, variant):
            return self._prompts.refused(case, variant, why)
        pieces = self._prompts.pieces(case, variant, told)
        (_, _, row), *_ = self._decode([(case, variant)], lambda rows: pieces.take(rows[0].tokens))
        pieces.end(row.tokens)
        return self._completion(case, variant, row, 1)

    def losses(self, texts: Sequence[str], variant: str) -> list[TextLoss]:
        """How likely the variant finds each text, up to the length of its context.

        Raises:
            OutOfMemoryError: one does not fit.
        """
        with self._fitting(lambda: 1), self._loaded.speaking_as(variant):
            model, tokenizer = _causal_model(self._loaded.model), self._prompts.forms[variant].tokenizer
            return text_losses(model, tokenizer, texts, self._prompts.context)

    def embed(self, pairs: Sequence[tuple[Case, Completion]]) -> list[Completion]:
        """Fill in mean last-layer hidden states of the base over each answer, in its prompt's context.

        The base reads every variant's answers, so that two equal answers are equal vectors. Where it cannot read the
        prompt, there is none.

        Raises:
            OutOfMemoryError: so many do not fit.
        """
        embedded = [done for case, done in pairs if not self._prompts.is_readable(case)]
        readable = [pair for pair in pairs if self._prompts.is_readable(pair[0])]
        size = self._calibration.batch_size
        for at in range(0, len(readable), size):
            chunk = readable[at : at + size]
            with self._fitting(lambda: size):
                means = self._read_answers(chunk)
            embedded += [
                dataclasses.replace(done, embedding=_packed(mean)) for (_, done), mean in zip(chunk, means, strict=True)
            ]
        return embedded

    def describe(self) -> Mapping[str, Any]:
        """Provenance of the pair and of how it was run."""
        loaded = self._loaded
        return {
            "backend": "transformers",
            "base_model": loaded.source.spec,
            "base_weights_sha256": loaded.source.weights_hash,
            "adapters": adapters_told(loaded.adapters),
            "quantization": loaded.quantization,
            "hold": loaded.hold,
            "dtype": loaded.dtype,
            "device": loaded.device,
            "weights_bytes": loaded.footprint,
            "weights_bytes_estimated": sum(loaded.estimate.values()),
            "load_s": round(loaded.load_s, 2),
            "threads": self._calibration.threads,
            "batch_size": self._calibration.batch_size,
            "decoding": self._decoding,
            **(self._engine.spared if self._engine else {}),
            "chat_templates": templates_told(self._prompts.forms),
            **self._facts,
        }

    def close(self) -> None:
        """Let go of the model's memory; PyTorch's threads are as many as before."""
        if _threads() == self._calibration.threads:  # else somebody has set them since
            _set_threads(self._threads_before)
        device = self._loaded.device
        del self._loaded, self._engine
        _release(device)

    def _decode(
        self, asked: Sequence[tuple[Case, str]], grown: Callable[[Sequence[Row]], None] = lambda _: None
    ) -> Iterator[tuple[Case, str, Row]]:
        rows, variants = self._prompts.rows(asked), [variant for _, variant in asked]
        with self._fitting(lambda: max(self._together_by_variant(variants).values())):
            for row in self._rows(rows, variants, grown):
                yield (*asked[row.index], row)

    def _together_by_variant(self, variants: Sequence[str]) -> dict[str, int]:
        """How many answers are worked on at once, by the variant of one of them; `variants` are those of all."""
        of_all = collections.Counter(variants)
        places = len(variants) if self._engine is None else self._engine.places
        return {one: min(places, len(variants) if self.mixes_variants else count) for one, count in of_all.items()}

    @contextlib.contextmanager
    def _fitting(self, at_once: Callable[[], int]) -> Iterator[None]:
        """Inside the block memory that runs out is an OutOfMemoryError; `at_once` tells what was then worked on.

        PyTorch's threads are those that were found or asked for: a training, or a test, may have set others meanwhile.
        """
        usual = _threads()
        _set_threads(self._calibration.threads)
        try:
            yield
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            _release(self._loaded.device)
            raise OutOfMemoryError(str(error), at_once=at_once()) from error
        finally:
            _set_threads(usual)

    def _rows(
        self, rows: Sequence[Row], variants: Sequence[str], grown: Callable[[Sequence[Row]], None]
    ) -> Iterator[Row]:
        """All rows in one batch where variants can share one, else variant by variant."""
        engine, limits = self._engine, {variant: self._prompts.limits(variant) for variant in variants}
        asked = [
            Asked(row, limits[variant], self._adapter(variant)) for row, variant in zip(rows, variants, strict=True)
        ]
        if engine is not None and engine.mixed and asked:
            yield from engine.decode(asked, self._sampling, grown)
            return
        for variant in dict.fromkeys(variants):
            own = [one for one, whose in zip(asked, variants, strict=True) if whose == variant]
            with self._loaded.speaking_as(variant):
                if engine is not None:
                    yield from engine.decode(own, self._sampling, grown)
                else:
                    model, pad = _causal_model(self._loaded.model), self._loaded.tokenizer.pad_token_id
                    yield from decode(model, [one.row for one in own], self._sampling, limits[variant], pad, grown)

    def _adapter(self, variant: str) -> str | None:
        return None if variant == BASE else peft_name(self._loaded, variant)

    def _row_engine(self, places: int) -> RowEngine | None:
        """The engine that answers many variants at once; None, which is announced, where the model does not fit it."""
        loaded = self._loaded
        engine = RowEngine(_causal_model(loaded.model), loaded.tokenizer.pad_token_id, places, exact=self._exact)
        with loaded.speaking_as(BASE):
            why = engine.unfit()
        self._decoding = "padded batches" if why else engine.kind
        if why and why.met:
            told = N_("answers are decoded in padded batches, a variant at a time, which is slower: %s (%s)")
            _log.warning(told, why.reason, why.met)
        elif why:
            told = N_("answers are decoded in padded batches, a variant at a time, which is slower: %s")
            _log.warning(told, why.reason)
        return None if why else engine

    def _completion(self, case: Case, variant: str, row: Row, batch_size: int) -> Completion:
        done = self._prompts.completion(case, variant, row, batch_size)
        if done.finish == "error":
            why = str(no_numbers(f"after {len(row.tokens)} tokens {variant}", self._loaded.dtype))
            return dataclasses.replace(done, text="", reasoning=None, tool_calls=None, error=why)
        keeps_state = variant == BASE and self._text_tokens(done.text) == row.tokens
        return dataclasses.replace(done, embedding=_packed(row.hidden_mean)) if keeps_state else done

    def _read_answers(self, pairs: Sequence[tuple[Case, Completion]]) -> list[Tensor]:
        import torch

        tokenizer = self._loaded.tokenizer
        prompts = [self._prompts.tokens(case) for case, _ in pairs]
        answers = [self._fed_tokens(done) for _, done in pairs]
        if self._engine is not None:
            texts = [([*prompt, *answer], len(prompt)) for prompt, answer in zip(prompts, answers, strict=True)]
            with self._loaded.speaking_as(BASE):
                return self._engine.read(texts)
        width = max(len(prompt) + len(answer) for prompt, answer in zip(prompts, answers, strict=True))
        both = [prompt + answer for prompt, answer in zip(prompts, answers, strict=True)]
        mask = torch.tensor([[1] * len(tokens) + [0] * (width - len(tokens)) for tokens in both])
        inputs = torch.tensor([tokens + [tokenizer.pad_token_id] * (width - len(tokens)) for tokens in both])
        device = self._loaded.model.get_input_embeddings().weight.device
        with torch.inference_mode(), self._loaded.speaking_as(BASE):
            decoder = _causal_model(self._loaded.model).get_decoder()
            hidden = decoder(input_ids=inputs.to(device), attention_mask=mask.to(device), use_cache=False)[0].float()
        return [
            hidden[row, len(prompt) : len(prompt) + len(answer)].mean(0)
            for row, (prompt, answer) in enumerate(zip(prompts, answers, strict=True))
        ]

    def _fed_tokens(self, completion: Completion) -> list[int]:
        """The answer's tokens, without the last of one that was cut off: in decoding no state was made of it."""
        tokens = self._text_tokens(completion.text)
        return tokens if completion.finish == "stop" else tokens[:-1] or tokens

    def _text_tokens(self, text: str) -> list[int]:
        """What the base reads where it reads an answer that anybody gave: its text, without what stood round it."""
        return list(self._loaded.tokenizer(text, add_special_tokens=False)["input_ids"])

    def _calibrate(self) -> Calibration:
        import torch

        settings = self._settings
        wanted = None if settings.batch_size == "auto" else int(settings.batch_size)
        if not self._loaded.device.startswith("cpu"):
            return Calibration(torch.get_num_threads(), wanted or _GPU_BATCH, {})
        with torch.inference_mode(), self._loaded.speaking_as(BASE):
            few, many = (STEP, 2 * STEP) if self._exact else (1, _CALIBRATION_ROWS)
            if settings.threads == "auto":
                step_s = step_seconds(self._one_step(few if self._exact else many), torch.set_num_threads)
                threads = min(step_s, key=step_s.__getitem__)
            else:
                step_s, threads = {}, int(settings.threads)
            torch.set_num_threads(threads)
            if wanted is None:
                by_rows = {rows: _least_seconds(self._one_step(rows)) for rows in (few, many)}
                rows = rows_at_once(by_rows, most_rows(self._loaded))
                wanted = max(1, rows // self._together)
        _log.info("%d threads, %d prompts at once (seconds a step by threads: %s)", threads, wanted, step_s)
        return Calibration(threads, wanted, step_s)

    def _one_step(self, rows: int) -> Callable[[], object]:
        """A forward pass shaped like a decoding step of so many rows."""
        import torch

        model = _causal_model(self._loaded.model)
        inputs = torch.full((rows, 1), self._loaded.tokenizer.pad_token_id)
        return functools.partial(model, input_ids=inputs, use_cache=False)


def _threads() -> int:
    import torch

    return torch.get_num_threads()


def _set_threads(count: int) -> None:
    import torch

    if count != torch.get_num_threads():
        torch.set_num_threads(count)


def _least_seconds(step: Callable[[], object]) -> float:
    """The least of a few looks: a neighbour's burst of load only ever adds."""
    looks = []
    for _ in range(_LOOKS):
        started = time.perf_counter()
        step()
        looks.append(time.perf_counter() - started)
    return min(looks)


def _causal_model(model: Any) -> Any:
    """The transformers model inside PEFT's wrapper: its layers are the wrapped ones, its methods the plain ones."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def _quantization_config(model: Any) -> str:
    """What transformers was told of it; `double_quant` changes answers too."""
    config: Any = getattr(model.config, "quantization_config", None)
    return str(config.to_dict() if hasattr(config, "to_dict") else config)


def _packed(vector: Tensor | None) -> str | None:
    """Base64 of little-endian float32; None of what is no direction, as of states that overflowed."""
    if vector is None or not vector.isfinite().all():
        return None
    return base64.b64encode(vector.float().cpu().numpy().astype("<f4").tobytes()).decode()


def _release(device: str) -> None:
    import torch

    gc.collect()
    if device.startswith("cuda"):
        torch.cuda.empty_cache()
