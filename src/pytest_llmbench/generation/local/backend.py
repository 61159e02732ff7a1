"""The model in this process: one base in memory, adapters off and on, many prompts at once."""

from __future__ import annotations

import base64
import dataclasses
import datetime
import functools
import gc
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llmbench.cases.suites import Case
from pytest_llmbench.cases.tools import name_of
from pytest_llmbench.core.locale import N_
from pytest_llmbench.core.records import BASE, Completion
from pytest_llmbench.generation.backend import OutOfMemoryError
from pytest_llmbench.generation.local.calibration import Calibration, fitting_batch_size, step_seconds
from pytest_llmbench.generation.local.continuous import Asked, RowEngine
from pytest_llmbench.generation.local.decoding import Limits, Row, TextPieces, decode
from pytest_llmbench.generation.local.perplexity import TextLoss, text_losses
from pytest_llmbench.generation.local.sampling import Sampling, noise_key
from pytest_llmbench.generation.local.tiles import STEP, mixes
from pytest_llmbench.models.chat_templates import prompt_forms
from pytest_llmbench.models.loaded import peft_name
from pytest_llmbench.models.prompt_form import PromptError

if TYPE_CHECKING:
    from torch import Tensor

    from pytest_llmbench.core.settings import GenerationSettings
    from pytest_llmbench.models.loaded import LoadedModel

_log = logging.getLogger("pytest_llmbench")

_GPU_BATCH = 64
_CALIBRATION_ROWS = 8
_LOOKS = 3
_NO_TOOLS = N_(
    "the chat template writes no tools: the prompt is the same with and without them; take a base or an adapter whose "
    "template knows tools"
)
_LIBRARIES = ("torch", "transformers", "peft", "bitsandbytes")


class LocalBackend:
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
        self._forms = prompt_forms(loaded)
        self._prompts: dict[tuple[str, int], list[int] | PromptError] = {}
        self._left_out: dict[tuple[Any, ...], bool] = {}
        self._context = _context_length(loaded.model)
        self._most_tokens = settings.max_new_tokens + settings.max_reasoning_tokens
        self._prompt_limit = self._context - self._most_tokens
        self._exact = loaded.device.startswith("cpu") and (
            loaded.quantization == "none" or loaded.hold == "dequantized"
        )
        self._together = len(self.variants) if mixes(_causal_model(loaded.model)) else 1
        self._calibration = self._calibrate()
        self._engine = self._row_engine(self._calibration.batch_size * self._together)

    def identity(self, variant: str) -> Mapping[str, str]:
        """Weights, adapter, quantization, settings and versions: what decides this variant's answers."""
        loaded = self._loaded
        adapter = loaded.adapters.get(variant)
        settings = self._settings
        sampling = "greedy" if self._sampling.greedy else f"t={settings.temperature} p={settings.top_p}"
        return {
            "weights": loaded.source.weights_hash,
            "adapter": f"{adapter.weights_hash} {adapter.config_hash}" if adapter else "",
            "quantization": f"{loaded.quantization} {_quantization_config(loaded.model)}",
            "dtype": loaded.dtype,
            **({"hold": loaded.hold} if loaded.hold else {}),
            "device": loaded.device,
            "sampling": sampling,
            "max_new_tokens": str(settings.max_new_tokens),
            "max_reasoning_tokens": str(settings.max_reasoning_tokens),
            "long_prompt": settings.long_prompt,
            "ends": str(sorted(self._ends(variant))),
            "decoding": self._decoding,
            **self._forms[variant].key,
            "libraries": _library_versions(),
        }

    def weight(self, case: Case) -> int:
        """The prompt's length in tokens, of the variant that reads the longest; 0 where none can be written."""
        prompts = [self._prompt(case, variant) for variant in self.variants]
        return max(0 if isinstance(prompt, PromptError) else len(prompt) for prompt in prompts)

    def batch_size(self) -> int:
        """The number asked for, or the one that the calibration found."""
        return self._calibration.batch_size

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
        fitting = []
        for case, variant in asked:
            if why := self._why_not(case, variant):
                yield self._refused(case, variant, why)
            else:
                fitting.append((case, variant))
        for case, variant, row in self._decode(fitting):
            yield self._completion(case, variant, row, len(fitting))

    def stream(self, case: Case, variant: str, told: Callable[[str], None]) -> Completion:
        """Answer one case as `complete` does, handing on each piece of the text as it is made."""
        if why := self._why_not(case, variant):
            return self._refused(case, variant, why)
        form, prompt = self._forms[variant], self._shortened(case, variant)
        pieces = TextPieces(lambda tokens: form.answer(tokens, prompt).answer, told)
        (_, _, row), *_ = self._decode([(case, variant)], lambda rows: pieces.take(rows[0].tokens))
        pieces.end(row.tokens)
        return self._completion(case, variant, row, 1)

    def tools_left_out(self, case: Case, variant: str) -> str | None:
        """Why the variant is not told of the case's tools; None where it is, or where there are none."""
        if not case.tools:
            return None
        form = self._forms[variant]
        key = id(form), *(message["role"] for message in case.messages), *map(name_of, case.tools)
        if key not in self._left_out:
            self._left_out[key] = form.leaves_out(case.messages, case.tools)
        return _NO_TOOLS if self._left_out[key] else None

    def losses(self, texts: Sequence[str], variant: str) -> list[TextLoss]:
        """How likely the variant finds each text, up to the length of its context."""
        with self._loaded.speaking_as(variant):
            model, tokenizer = _causal_model(self._loaded.model), self._forms[variant].tokenizer
            return text_losses(model, tokenizer, texts, self._context)

    def unmarked(self, text: str) -> str:
        """A text as an answer is read: without any variant's special tokens."""
        for form in self._forms.values():
            text = form.unmarked(text)
        return text

    def embed(self, pairs: Sequence[tuple[Case, Completion]]) -> list[Completion]:
        """Fill in mean last-layer hidden states of the base over each answer, in its prompt's context.

        The base reads every variant's answers, so that two equal answers are equal vectors. Where it cannot read the
        prompt, there is none.
        """
        embedded = [done for case, done in pairs if isinstance(self._prompt(case), PromptError)]
        readable = [pair for pair in pairs if not isinstance(self._prompt(pair[0]), PromptError)]
        size = self.batch_size()
        for at in range(0, len(readable), size):
            chunk = readable[at : at + size]
            means = self._read_answers(chunk)
            embedded += [
                dataclasses.replace(done, embedding=_packed(mean)) for (_, done), mean in zip(chunk, means, strict=True)
            ]
        return embedded

    def describe(self) -> Mapping[str, Any]:
        """Provenance of the pair and of how it was run."""
        loaded, adapters = self._loaded, self._loaded.adapters
        return {
            "backend": "transformers",
            "base_model": loaded.source.spec,
            "base_weights_sha256": loaded.source.weights_hash,
            "adapters": {
                name: {
                    "path": _shown(adapter.path),
                    "weights_sha256": adapter.weights_hash,
                    "config_sha256": adapter.config_hash,
                }
                for name, adapter in adapters.items()
            },
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
            "chat_templates": {variant: _origin(form.origin) for variant, form in self._forms.items()},
            **self._facts,
        }

    def close(self) -> None:
        """Let go of the model's memory."""
        del self._loaded
        gc.collect()

    def _decode(
        self, asked: Sequence[tuple[Case, str]], grown: Callable[[Sequence[Row]], None] = lambda _: None
    ) -> Iterator[tuple[Case, str, Row]]:
        import torch

        rows = [
            Row(index, self._shortened(*one), noise_key(self._settings.seed, one[0].name, one[0].epoch))
            for index, one in enumerate(asked)
        ]
        try:
            for row in self._rows(rows, [variant for _, variant in asked], grown):
                yield (*asked[row.index], row)
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and not _is_out_of_memory(error):
                raise
            if self._engine is not None:
                self._engine = self._engine.smaller()
            _release(self._loaded.device)
            raise OutOfMemoryError(str(error)) from error

    def _rows(
        self, rows: Sequence[Row], variants: Sequence[str], grown: Callable[[Sequence[Row]], None]
    ) -> Iterator[Row]:
        """All rows in one batch where variants can share one, else variant by variant."""
        engine, limits = self._engine, {variant: self._limits(variant) for variant in variants}
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

    def _limits(self, variant: str) -> Limits:
        form, settings = self._forms[variant], self._settings
        return Limits(
            self._ends(variant),
            settings.max_new_tokens,
            settings.timeout,
            form.ended,
            settings.max_reasoning_tokens,
            form.thought_tokens,
        )

    def _row_engine(self, places: int) -> RowEngine | None:
        """The engine that answers many variants at once; None, with a note, where the model does not fit it."""
        loaded = self._loaded
        engine = RowEngine(_causal_model(loaded.model), loaded.tokenizer.pad_token_id, places, exact=self._exact)
        with loaded.speaking_as(BASE):
            why = engine.unfit()
        self._decoding = "padded batches" if why else engine.kind
        if why:
            _log.info("answers are decoded in padded batches, a variant at a time: %s", why)
        return None if why else engine

    def _completion(self, case: Case, variant: str, row: Row, batch_size: int) -> Completion:
        said = self._forms[variant].answer(row.tokens, row.prompt)
        keeps_state = variant == BASE and self._text_tokens(said.answer) == row.tokens
        return Completion(
            case.name,
            case.epoch,
            variant,
            said.answer,
            row.finish or "error",
            prompt_tokens=len(row.prompt),
            completion_tokens=row.made,
            latency_s=row.latency_s,
            first_token_s=row.first_token_s,
            batch_size=batch_size,
            prompt_truncated=len(row.prompt) < len(self._written(case, variant)),
            embedding=_packed(row.hidden_mean) if keeps_state else None,
            timestamp=_now(),
            reasoning=said.reasoning,
            tool_calls=self._forms[variant].calls(row.tokens, row.prompt, case.tools) if case.tools else None,
            tools_left_out=self.tools_left_out(case, variant),
        )

    def _refused(self, case: Case, variant: str, why: str) -> Completion:
        prompt = self._prompt(case, variant)
        tokens = None if isinstance(prompt, PromptError) else len(prompt)
        return Completion(
            case.name, case.epoch, variant, "", "error", prompt_tokens=tokens, error=why, timestamp=_now()
        )

    def _why_not(self, case: Case, variant: str) -> str | None:
        """Why the case cannot be asked; None when it can."""
        prompt = self._prompt(case, variant)
        if isinstance(prompt, PromptError):
            return f"{case.source}: the prompt of {case.name} cannot be written for {variant}: {prompt}"
        if len(prompt) <= self._prompt_limit or (self._settings.long_prompt == "truncate" and self._prompt_limit > 0):
            return None
        return (
            f"{case.source}: the prompt of {case.name} has {len(prompt)} tokens, and {self._most_tokens} more are to "
            f"be generated, but the model holds {self._context}; shorten it, lower generation.max_new_tokens, or allow "
            "generation.long_prompt: truncate"
        )

    def _prompt(self, case: Case, variant: str = BASE) -> list[int] | PromptError:
        """The tokens of the prompt as the variant reads it, or why it cannot be written."""
        form = self._forms[variant]
        key = case.name, id(form)
        if key not in self._prompts:
            try:
                self._prompts[key] = form.prompt(case.messages, case.tools)
            except PromptError as error:
                self._prompts[key] = error
        return self._prompts[key]

    def _written(self, case: Case, variant: str = BASE) -> list[int]:
        """The tokens of a prompt that can be written."""
        prompt = self._prompt(case, variant)
        if isinstance(prompt, PromptError):
            raise prompt
        return prompt

    def _shortened(self, case: Case, variant: str = BASE) -> list[int]:
        """The prompt, without its beginning where it is too long: the end holds the question."""
        return self._written(case, variant)[-self._prompt_limit :]

    def _ends(self, variant: str) -> frozenset[int]:
        """The tokens that end the variant's answers."""
        return self._loaded.end_tokens | self._forms[variant].end_tokens

    def _read_answers(self, pairs: Sequence[tuple[Case, Completion]]) -> list[Tensor]:
        import torch

        tokenizer = self._loaded.tokenizer
        prompts = [self._shortened(case) for case, _ in pairs]
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
                fitting = fitting_batch_size(by_rows, settings.max_new_tokens, settings.timeout)
                # a tile takes its time however few of its rows are used
                wanted = max(fitting, STEP) // self._together or 1 if self._exact else fitting
        _log.info("%d threads, %d prompts at once (seconds a step by threads: %s)", threads, wanted, step_s)
        return Calibration(threads, wanted, step_s)

    def _one_step(self, rows: int) -> Callable[[], object]:
        """A forward pass shaped like a decoding step of so many rows."""
        import torch

        model = _causal_model(self._loaded.model)
        inputs = torch.full((rows, 1), self._loaded.tokenizer.pad_token_id)
        return functools.partial(model, input_ids=inputs, use_cache=False)


def _least_seconds(step: Callable[[], object]) -> float:
    """The least of a few looks: a neighbour's burst of load only ever adds."""
    looks = []
    for _ in range(_LOOKS):
        started = time.perf_counter()
        step()
        looks.append(time.perf_counter() - started)
    return min(looks)


def _shown(path: str) -> str:
    """The path as a reader elsewhere can use it: from the current folder, where it lies within it."""
    here = Path.cwd()
    return str(Path(path).relative_to(here)) if Path(path).is_relative_to(here) else path


def _origin(origin: str | None) -> str | None:
    """Where a chat template comes from: `base`, or the folder of an adapter."""
    return origin if origin in {None, BASE} else _shown(str(origin))


def _causal_model(model: Any) -> Any:
    """The transformers model inside PEFT's wrapper: its layers are the wrapped ones, its methods the plain ones."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def _context_length(model: Any) -> int:
    return int(getattr(model.config.get_text_config(), "max_position_embeddings", None) or 2**31)


def _quantization_config(model: Any) -> str:
    """What transformers was told of it; `double_quant` changes answers too."""
    config: Any = getattr(model.config, "quantization_config", None)
    return str(config.to_dict() if hasattr(config, "to_dict") else config)


def _packed(vector: Tensor | None) -> str | None:
    return None if vector is None else base64.b64encode(vector.float().cpu().numpy().astype("<f4").tobytes()).decode()


def _is_out_of_memory(error: RuntimeError) -> bool:
    """CUDA has an error of its own for it; the CPU's allocator tells only in words."""
    import torch

    return isinstance(error, torch.OutOfMemoryError) or "allocate memory" in str(error)


def _release(device: str) -> None:
    import torch

    gc.collect()
    if device.startswith("cuda"):
        torch.cuda.empty_cache()


def _library_versions() -> str:
    from importlib.metadata import version

    return " ".join(f"{name}={version(name)}" for name in _LIBRARIES)


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
