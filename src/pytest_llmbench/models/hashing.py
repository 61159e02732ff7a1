"""Which weights these are: SHA-256 of weight files, remembered so that a large model is read only once."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from pytest_llmbench.core.errors import ModelError, NotReadyError
from pytest_llmbench.core.files import write_text
from pytest_llmbench.core.locale import N_
from pytest_llmbench.core.starter import cache_dir

_log = logging.getLogger("pytest_llmbench")

_SHA256 = re.compile(r"[0-9a-f]{64}")
_FIRST_TAKEN = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
"""What transformers looks for, in its order: the first that is there is read, whatever lies beside it."""
_SHARDS = ("model*.safetensors", "*.safetensors", "pytorch_model*.bin")
_PART = re.compile(r"(?P<stem>.+)-\d{5}-of-(?P<count>\d{5})(?P<suffix>\.\w+)")
_NOT_THE_MODEL = ("adapter_model", "consolidated")


def file_hash(path: Path) -> str:
    """SHA-256 of a file, in hex. Remembered in the cache by path, size and modification time."""
    target = path.resolve()
    if target.parent.name == "blobs" and _SHA256.fullmatch(target.name):  # the hub's cache names large files so
        return target.name
    status = target.stat()
    key = hashlib.sha256(f"{target}\0{status.st_size}\0{status.st_mtime_ns}".encode()).hexdigest()
    memo = cache_dir() / "hashes" / key[:32]
    if memo.is_file() and _SHA256.fullmatch(known := memo.read_text(encoding="utf-8")):
        return known
    with target.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    try:
        write_text(memo, digest)
    except NotReadyError as error:
        _log.warning(N_("the hash of %s is not remembered and will be computed again: %s"), target.name, error)
    return digest


def gguf_files(gguf: Path) -> list[Path]:
    """The file, or all parts of one that is split, which llama.cpp reads by the name of the first.

    Raises:
        ModelError: a part is missing.
    """
    return _numbered([gguf])


def gguf_hash(gguf: Path) -> str:
    """SHA-256 of a GGUF file; of one that is split, over the SHA-256s of all its parts, as llama.cpp reads them all.

    Raises:
        ModelError: a part is missing.
    """
    parts = gguf_files(gguf)
    return file_hash(gguf) if len(parts) == 1 else _hash_over(parts)


def weights_hash(folder: Path) -> str:
    """SHA-256 over the SHA-256s of the folder's weight files, in the order of their names.

    Raises:
        ModelError: the folder has no weights, or lacks a file that its index names.
    """
    return _hash_over(weight_files(folder))


def _hash_over(files: Iterable[Path]) -> str:
    total = hashlib.sha256()
    for path in files:
        total.update(bytes.fromhex(file_hash(path)))
    return total.hexdigest()


def config_hash(folder: Path) -> str:
    """SHA-256 over what else decides how a folder's weights compute: its configuration, and code that comes with it."""
    total = hashlib.sha256()
    for path in sorted((*folder.glob("config.json"), *folder.glob("*.py"))):
        total.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return total.hexdigest()


def weight_files(folder: Path) -> list[Path]:
    """The files that hold the model's weights, those that transformers would read, sorted by name.

    Where it would read none, as without an index, they are all that are named like weights, for other engines.

    Raises:
        ModelError: there are none, or one that the index names, or the names of others, is missing.
    """
    if first := next((folder / name for name in _FIRST_TAKEN if (folder / name).is_file()), None):
        return _indexed(first) if first.suffix == ".json" else [first]
    for pattern in _SHARDS:
        found = sorted(path for path in folder.glob(pattern) if not path.name.startswith(_NOT_THE_MODEL))
        if found:
            return _numbered(found)
    raise ModelError(f"{folder}: no weights (model.safetensors or pytorch_model.bin); is the download complete?")


def _numbered(files: Sequence[Path]) -> list[Path]:
    """The files, each that is one of several by its name with all the others. Raises ModelError where one is missing.

    Nothing but the names tells of those that are missing after an interrupted download.
    """
    whole = sorted({part for path in files for part in _parts(path)})
    if missing := [path.name for path in whole if not path.is_file()]:
        raise ModelError(f"{whole[0].parent}: {', '.join(missing)} is missing; fetch the model again")
    return whole


def _parts(path: Path) -> list[Path]:
    found = _PART.fullmatch(path.name)
    if found is None:
        return [path]
    return [
        path.with_name(f"{found['stem']}-{number:05}-of-{found['count']}{found['suffix']}")
        for number in range(1, int(found["count"]) + 1)
    ]


def _indexed(index: Path) -> list[Path]:
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise ModelError(f"{index}: not a weight index ({error}); download or copy the model again") from error
    shards = [index.parent / name for name in names]
    missing = [shard.name for shard in shards if not shard.is_file()]
    if missing:
        raise ModelError(
            f"{index.parent}: {', '.join(missing)} named by {index.name} is missing; fetch the model again"
        )
    return shards
