"""Adapter folders: which one `auto` means, whether it is whole, and whether it was made for this base."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_llmbench.core.errors import AdapterError
from pytest_llmbench.core.locale import N_
from pytest_llmbench.core.records import BASE, FINETUNED
from pytest_llmbench.models.adapter_kinds import why_unusable
from pytest_llmbench.models.hashing import file_hash
from pytest_llmbench.models.sources import Source

TRAINING_RECORD = "llmbench_training.json"
"""Written beside an adapter by its training: `base_weights_hash`, `base_name`, `finished_at` (ISO 8601) and more."""

CONFIG = "adapter_config.json"
CHAT_TEMPLATE = "chat_template.jinja"
WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")

_LENGTH = 8  # a safetensors file starts with the length of its header

_WHERE_THE_BASE_WAS = ("base_model_name_or_path", "revision", "inference_mode")

_log = logging.getLogger("pytest_llmbench")


@dataclasses.dataclass(frozen=True, slots=True)
class Adapter:
    """A whole adapter folder. `base_hash` is None when the training did not record which weights it started from.

    `weights_hash` is the SHA-256 of the weight file. `config_hash` covers what else changes the answers (alpha, target
    modules); a stored answer may be reused only when both are equal.

    `chat_template` is the template in the folder: what its prompts looked like in training.
    """

    name: str
    path: str
    weights_file: str
    weights_hash: str
    config_hash: str
    base_hash: str | None
    base_name: str | None
    kind: str
    rank: int | None
    alpha: float | None
    target_modules: tuple[str, ...]
    made_at: float
    chat_template: str | None = None


def find_adapter(choice: str, folder: Path | str, source: Source, *, verify: bool = True) -> Adapter | None:
    """The adapter that `choice` means: `none`, a folder, or `auto` for the newest sub-folder of `folder` that fits.

    An adapter fits when the recorded hash of its base equals the source's, or, where none was recorded, the name of
    its base does. With `verify` off, one that does not fit is taken all the same, and that is announced.

    Raises:
        AdapterError: the chosen folder is missing, half-written, or made for another base.
    """
    if choice == "none":
        return None
    if choice == "auto":
        return _newest(Path(folder), source, verify=verify)
    adapter = read_adapter(Path(choice).expanduser())
    if misfit := why_not(adapter, source):
        if verify:
            raise AdapterError(f"{misfit}; choose another adapter, or set model.verify_adapter: false to use it anyway")
        _log.warning(N_("%s; used anyway, because model.verify_adapter is false"), misfit)
    return adapter


def find_adapters(
    choices: Sequence[str], folder: Path | str, source: Source, *, verify: bool = True
) -> dict[str, Adapter]:
    """The adapters that the choices mean, by variant: one is called `finetuned`, several go by their folders' names.

    Raises:
        AdapterError: one cannot be used (as `find_adapter` says), or two choices mean the same folder.
    """
    found = [find_adapter(choice, folder, source, verify=verify) for choice in choices]
    adapters = [adapter for adapter in found if adapter is not None]
    if len(adapters) <= 1:
        return {FINETUNED: adapters[0]} if adapters else {}
    paths = [Path(adapter.path).resolve() for adapter in adapters]
    if twice := [path for index, path in enumerate(paths) if path in paths[:index]]:
        raise AdapterError(f"adapter {twice[0]} was chosen twice; name each once (auto takes the newest)")
    return dict(zip(_telling_names(paths), adapters, strict=True))


def _telling_names(paths: Sequence[Path]) -> list[str]:
    """The last parts of each path, as few as tell all of them apart, and from the base."""
    depths = range(1, max(len(path.parts) for path in paths) + 1)
    all_names = (["-".join(path.parts[-depth:]).strip("/") for path in paths] for depth in depths)
    return next(names for names in all_names if len({BASE, *names}) > len(paths))


def read_adapter(path: Path) -> Adapter:
    """Read an adapter folder and check that it is whole, without loading its weights.

    Raises:
        AdapterError: no such folder, no configuration, weights that are missing, cut short or corrupt, or an adapter
            of a kind that cannot be compared with its base in one model (`adapter_kinds`).
    """
    config, weights = check_folder(path)
    record = training_record(path)
    return Adapter(
        name=path.resolve().name,
        path=str(path.resolve()),
        weights_file=weights.name,
        weights_hash=file_hash(weights),
        config_hash=_config_hash(config),
        base_hash=record.get("base_weights_hash"),
        base_name=record.get("base_name") or config.get("base_model_name_or_path"),
        kind=str(config.get("peft_type")),
        rank=config.get("r"),
        alpha=config.get("lora_alpha"),
        target_modules=_names(config.get("target_modules")),
        made_at=_made_at(record, weights),
        chat_template=_chat_template(path),
    )


def check_folder(path: Path) -> tuple[dict[str, Any], Path]:
    """The configuration and the weight file of an adapter folder that is whole; nothing is hashed.

    Raises:
        AdapterError: as `read_adapter`.
    """
    if not path.is_dir():
        raise AdapterError(f"no such adapter folder: {path}")
    if (path / "config.json").is_file() and not (path / CONFIG).is_file():
        raise AdapterError(
            f"{path} is a whole model and no adapter (merged, perhaps); give it as model.base in a run of its own"
        )
    config = _read_json(path / CONFIG)
    weights = _weights(path)
    if reason := why_unusable(config, _names_in(weights)):
        raise AdapterError(f"adapter {path} cannot be compared with its base in one model: {reason}")
    return config, weights


def training_record(path: Path) -> dict[str, Any]:
    """What the training wrote into an adapter's folder; empty where it wrote nothing, as other tools do.

    Raises:
        AdapterError: the record cannot be read.
    """
    record = path / TRAINING_RECORD
    return _read_json(record) if record.is_file() else {}


def why_not(adapter: Adapter, source: Source) -> str | None:
    """Why the adapter does not fit this base, in one sentence naming both; None when it fits."""
    about = f"adapter {adapter.path}"
    if adapter.base_hash is not None:
        if adapter.base_hash == source.weights_hash:
            return None
        made_for = f"{adapter.base_name or 'a base'} with weights {adapter.base_hash[:12]}"
        return f"{about} was trained on {made_for}, but {source.name} has weights {source.weights_hash[:12]}"
    if adapter.base_name is None:
        return f"{about} does not say which base it was trained on, so it may not fit {source.name}"
    if _last(adapter.base_name) in {_last(name) for name in (source.name, *source.known_as)}:
        return None
    return f"{about} was trained on {adapter.base_name}, not on {source.name}"


def _last(name: str) -> str:
    return name.replace("\\", "/").rstrip("/").rpartition("/")[2].casefold()


def _newest(folder: Path, source: Source, *, verify: bool) -> Adapter | None:
    """Walk the sub-folders from the newest to the oldest; what does not fit is listed when nothing is found."""
    skipped: list[str] = []
    whole: list[Adapter] = []
    for path in sorted(child for child in folder.glob("*") if child.is_dir() and not child.name.startswith(".")):
        try:
            whole.append(read_adapter(path))
        except AdapterError as error:
            skipped.append(str(error))
    for adapter in sorted(whole, key=lambda each: (each.made_at, each.name), reverse=True):
        misfit = why_not(adapter, source)
        if misfit is None:
            return adapter
        if not verify:
            _log.warning(N_("%s; used anyway, because model.verify_adapter is false"), misfit)
            return adapter
        skipped.append(misfit)
    _log.warning(N_("no adapter for %s in %s: %s"), source.name, folder, "; ".join(skipped) or "there is none")
    return None


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise AdapterError(f"{path.parent} is not an adapter folder: it has no {path.name}")
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise AdapterError(f"{path}: not valid JSON ({error}); train or copy the adapter again") from error
    if not isinstance(data, dict):
        raise AdapterError(f"{path}: not a JSON object; train or copy the adapter again")
    return data


def _chat_template(path: Path) -> str | None:
    """As transformers writes it beside a tokenizer: a file, or in older versions a key of the tokenizer's."""
    if (path / CHAT_TEMPLATE).is_file():
        try:
            return (path / CHAT_TEMPLATE).read_text(encoding="utf-8") or None
        except UnicodeDecodeError as error:
            raise AdapterError(f"{path / CHAT_TEMPLATE}: not UTF-8 text ({error}); save it as UTF-8") from error
    config = path / "tokenizer_config.json"
    told = _read_json(config).get("chat_template") if config.is_file() else None
    return told if isinstance(told, str) and told else None


def _weights(path: Path) -> Path:
    for name in WEIGHTS:
        weights = path / name
        if weights.is_file():
            fault = _fault_in_safetensors(weights) if weights.suffix == ".safetensors" else _fault_in_bin(weights)
            if fault:
                raise AdapterError(f"{weights}: {fault}; the adapter is half-written, train or copy it again")
            return weights
    raise AdapterError(f"{path} has {CONFIG} but no {' or '.join(WEIGHTS)}; the adapter is half-written")


def _fault_in_safetensors(path: Path) -> str | None:
    """Check the header against the file's size (https://huggingface.co/docs/safetensors, *Format*)."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(_LENGTH), "little")
        if size < _LENGTH + length or not length:
            return "cut short inside the safetensors header"
        try:
            header = json.loads(stream.read(length))
            ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        except (ValueError, KeyError, TypeError, AttributeError, IndexError):
            return "corrupt safetensors header"
    if not ends:
        return "holds no tensors"
    expected = _LENGTH + length + max(ends)
    return None if size == expected else f"{size} bytes where the header promises {expected}"


def _names_in(weights: Path) -> list[str]:
    """The names in a weight file that is whole; a pickled one would have to be loaded for them."""
    if weights.suffix != ".safetensors":
        return []
    with weights.open("rb") as stream:
        return list(json.loads(stream.read(int.from_bytes(stream.read(_LENGTH), "little"))))


def _fault_in_bin(path: Path) -> str | None:
    with path.open("rb") as stream:
        start = stream.read(2)
    if not start:
        return "empty"
    return "cut short" if start == b"PK" and not zipfile.is_zipfile(path) else None


def _config_hash(config: Mapping[str, Any]) -> str:
    kept = {key: value for key, value in config.items() if key not in _WHERE_THE_BASE_WAS}
    if isinstance(kept.get("target_modules"), list):  # PEFT writes a set, in any order
        kept["target_modules"] = sorted(kept["target_modules"])
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


def _names(modules: Any) -> tuple[str, ...]:
    if isinstance(modules, str):
        return (modules,)
    return tuple(sorted(str(module) for module in modules or ()))


def _made_at(record: Mapping[str, Any], weights: Path) -> float:
    """Seconds since 1970. A checkout or a copy gives every file a new date, so the record counts before the file's."""
    from datetime import datetime

    try:
        return datetime.fromisoformat(record["finished_at"]).timestamp()
    except (KeyError, ValueError, TypeError):
        return weights.stat().st_mtime
