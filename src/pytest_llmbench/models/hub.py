"""Models of the Hugging Face hub, from its local cache first."""

from __future__ import annotations

from pathlib import Path

from pytest_llmbench.core.errors import ModelError, NotReadyError
from pytest_llmbench.models.hashing import weight_files

_CONFIGURATION = ["*.json", "*.txt", "*.model", "*.jinja", "*.py", "*.tiktoken"]
_OTHER_FORMATS = ["original/*", "consolidated*", "*/*.safetensors", "*/*.bin", "onnx/*", "*.gguf"]


def snapshot(hub_id: str, revision: str | None) -> Path:
    """The local folder of a hub model; it is downloaded when it is not complete yet and the hub may be asked.

    Raises:
        NotReadyError: huggingface_hub is not installed.
        ModelError: unknown, gated, offline or unreachable, with what to do.
    """
    if folder := cached(hub_id, revision):
        return folder
    if offline():
        raise ModelError(
            f"{hub_id} is not in the local hub cache and HF_HUB_OFFLINE forbids a download; "
            f"unset HF_HUB_OFFLINE, or fetch it first: hf download {hub_id}"
        )
    return _download(hub_id, revision)


def offline() -> bool:
    """Whether HF_HUB_OFFLINE forbids asking the hub."""
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def cached(hub_id: str, revision: str | None) -> Path | None:
    """The local folder when configuration and weights are all there, else None. Never asks the network.

    Raises:
        NotReadyError: huggingface_hub is not installed.
    """
    try:
        import huggingface_hub
        from huggingface_hub import errors
    except ImportError as error:
        raise NotReadyError("hub models need the local extra: pip install 'pytest-llmbench[local]'") from error
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


def _is_whole(folder: Path) -> bool:
    try:
        return (folder / "config.json").is_file() and bool(weight_files(folder))
    except ModelError:
        return False


def _download(hub_id: str, revision: str | None) -> Path:
    import huggingface_hub
    from huggingface_hub import errors

    try:
        folder = huggingface_hub.snapshot_download(
            hub_id, revision=revision, allow_patterns=[*_CONFIGURATION, "*.safetensors"], ignore_patterns=_OTHER_FORMATS
        )
        if not any(Path(folder).glob("*.safetensors")):
            patterns = [*_CONFIGURATION, "pytorch_model*.bin"]
            folder = huggingface_hub.snapshot_download(
                hub_id, revision=revision, allow_patterns=patterns, ignore_patterns=_OTHER_FORMATS
            )
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
    return Path(folder)
