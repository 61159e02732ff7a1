"""The quick test before a long one: imports, GPU, model, one answer. Four steps, under a minute on a small model."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llmbench.benchmark.environment import Check
from pytest_llmbench.cases.suites import load_vocabulary
from pytest_llmbench.core.errors import LLMBenchError
from pytest_llmbench.core.languages import find_language, languages
from pytest_llmbench.core.starter import present
from pytest_llmbench.models.adapter_loading import attach
from pytest_llmbench.models.adapters import find_adapters
from pytest_llmbench.models.chat_templates import prompt_forms
from pytest_llmbench.models.held_weights import hold_weights
from pytest_llmbench.models.loaded import LoadedModel
from pytest_llmbench.models.loading import choose_device, fastest_threads, load_base
from pytest_llmbench.models.loading_errors import needs_local_extra
from pytest_llmbench.models.memory.weights import GIB, gpu_memory_lines
from pytest_llmbench.models.prompt_form import PromptForm
from pytest_llmbench.models.quiet import quiet_libraries
from pytest_llmbench.models.sources import resolve
from pytest_llmbench.models.verification import prove_sound

if TYPE_CHECKING:
    from pytest_llmbench.core.settings import Settings

STEPS = ("Imports", "GPU", "Model", "Generation")

_ELSE = "en"  # asked where there are no words in the project's language
_SHOWN = 100
_MOST_TOKENS = 40


def smoke(settings: Settings) -> Iterator[Check]:
    """Yield the result of each of STEPS as it is done; the first failure is the last result."""
    if settings.model.engine != "transformers":
        yield from _other_engine(settings)
        return
    done = 0
    try:
        yield _imports()
        done = 1
        yield _gpu(settings)
        done = 2
        loaded = _load(settings)
        yield _described(loaded)
        done = 3
        question = _question(settings)
        for variant, form in prompt_forms(loaded).items():
            yield _answer(loaded, form, variant, question)
    except LLMBenchError as error:
        yield Check(STEPS[done], "fail", str(error), "run `llmbench check` for the whole picture")


def _other_engine(settings: Settings) -> Iterator[Check]:
    """The last two steps by `model.engine`: its libraries and its GPU are its own business."""
    from pytest_llmbench.benchmark.main_job import open_backend
    from pytest_llmbench.benchmark.query import question

    done, generation = STEPS.index("Model"), settings.generation.model_copy(update={"max_new_tokens": _MOST_TOKENS})
    try:
        backend = open_backend(settings.model_copy(update={"generation": generation}), engines=1)
        try:
            told = backend.describe()
            size = f"{told['base_model']}, {told['quantization']}, {told['engine']} in {told['load_s']:.1f} s"
            yield Check("Model", "ok", size)
            done = STEPS.index("Generation")
            for variant in backend.variants:
                (answer,) = backend.complete([question(_question(settings), None)], variant)
                yield _said(variant, answer.text or answer.reasoning, answer.latency_s or 0.0)
        finally:
            backend.close()
    except LLMBenchError as error:
        yield Check(STEPS[done], "fail", str(error), "run `llmbench check` for the whole picture")


def _imports() -> Check:
    started = time.perf_counter()
    try:
        import torch
        import transformers

        with quiet_libraries():
            import accelerate
            import bitsandbytes
            import peft
    except ImportError as error:
        raise needs_local_extra(error) from error
    packages = (torch, transformers, peft, bitsandbytes, accelerate)
    versions = ", ".join(f"{package.__name__} {package.__version__}" for package in packages)
    return Check("Imports", "ok", f"{versions} ({time.perf_counter() - started:.1f} s)")


def _gpu(settings: Settings) -> Check:
    if lines := gpu_memory_lines():
        return Check("GPU", "ok", "; ".join(lines))
    if settings.model.device == "cuda":
        choose_device("cuda")
    return Check("GPU", "warn", "none: running on the CPU", "nothing to do, it is only slower")


def _load(settings: Settings) -> LoadedModel:
    source = resolve(settings.model.base, revision=settings.model.revision)
    adapters = find_adapters(
        settings.model.adapters, present(settings.model.adapters_dir), source, verify=settings.model.verify_adapter
    )
    loaded = load_base(source, settings.model)
    hold_weights(loaded, settings.model)
    attach(loaded, adapters)
    with fastest_threads():
        prove_sound(loaded)
    return loaded


def _described(loaded: LoadedModel) -> Check:
    adapters = ", ".join(adapter.name for adapter in loaded.adapters.values()) or "no adapter"
    size = f"{loaded.footprint / GIB:.2f} GB in {loaded.load_s:.1f} s"
    return Check("Model", "ok", f"{loaded.source.name}, {loaded.quantization}, {adapters}: {size}")


def _question(settings: Settings) -> str:
    """Something short to ask, in the language of the vocabulary.

    Raises:
        UsageError: the vocabulary or a language file is wrong.
    """
    told = load_vocabulary(present(Path(settings.benchmark.vocabulary))).language
    found = find_language(told) if told else None
    return (found or languages()[_ELSE]).text("smoke")


def _answer(loaded: LoadedModel, form: PromptForm, variant: str, question: str) -> Check:
    import torch

    started = time.perf_counter()
    prompt = torch.tensor([form.prompt([{"role": "user", "content": question}])], device=loaded.device)
    with quiet_libraries(), fastest_threads(), loaded.speaking_as(variant) as model:
        output = model.generate(
            input_ids=prompt,
            attention_mask=torch.ones_like(prompt),
            max_new_tokens=_MOST_TOKENS,
            do_sample=False,
            eos_token_id=sorted(form.end_tokens | loaded.end_tokens) or None,
        )
    said = form.answer(output[0, prompt.shape[1] :].tolist(), prompt[0].tolist())
    return _said(variant, said.answer or said.reasoning, time.perf_counter() - started)


def _said(variant: str, answer: str | None, seconds: float) -> Check:
    if not answer:
        return Check(
            "Generation", "warn", f"{variant} answered nothing", "try another base, or train the adapter longer"
        )
    return Check("Generation", "ok", f"{variant}: {answer[:_SHOWN]} ({seconds:.1f} s)")
