from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import constants, errors
from support.tiny_models import safetensors_bytes

from pytest_llmbench.core.errors import ModelError
from pytest_llmbench.models import hub
from pytest_llmbench.models.hashing import file_hash
from pytest_llmbench.models.sources import resolve

COMMIT = "c" * 40


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty hub cache that the installed huggingface_hub uses."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    return tmp_path


def fill(cache: Path, *, weights: bool = True) -> Path:
    """What a download of org/model leaves: blobs named by hash, and a snapshot of links to them."""
    repository = cache / "models--org--model"
    snapshot = repository / "snapshots" / COMMIT
    for folder in (snapshot, repository / "blobs", repository / "refs"):
        folder.mkdir(parents=True)
    (repository / "refs/main").write_text(COMMIT)
    (snapshot / "config.json").write_text("{}")
    if weights:
        content = safetensors_bytes(16)
        blob = repository / "blobs" / hashlib.sha256(content).hexdigest()
        blob.write_bytes(content)
        (snapshot / "model.safetensors").symlink_to(blob)
    return snapshot


def test_a_cached_hub_model_is_found_offline_with_the_hash_its_folder_has(hub_cache: Path, tmp_path: Path) -> None:
    snapshot = fill(hub_cache)
    source = resolve("org/model")
    assert (source.path, source.kind, source.name) == (str(snapshot), "hub", "org/model")
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "config.json").write_text("{}")
    (copy / "model.safetensors").write_bytes(safetensors_bytes(16))
    assert resolve(str(copy)).weights_hash == source.weights_hash


def test_the_hash_of_a_hub_file_is_read_from_its_name(hub_cache: Path) -> None:
    blob = (fill(hub_cache) / "model.safetensors").resolve()
    blob.write_bytes(b"never read")
    assert file_hash(blob) == blob.name


@pytest.mark.parametrize("half_downloaded", [True, False])
def test_offline_a_hub_model_that_is_not_all_there_says_how_to_get_it(
    hub_cache: Path, monkeypatch: pytest.MonkeyPatch, *, half_downloaded: bool
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    if half_downloaded:
        fill(hub_cache, weights=False)
    with pytest.raises(ModelError, match=r"HF_HUB_OFFLINE.*hf download org/model"):
        resolve("org/model")


class Response:
    """The little of an HTTP response that huggingface_hub's errors look at."""

    headers: dict[str, str] = {}  # noqa: RUF012
    request = None
    status_code = 403


@pytest.mark.parametrize(
    ("failure", "advice"),
    [
        (errors.GatedRepoError("gated", response=Response()), "accept its licence.*HF_TOKEN"),  # type: ignore[arg-type]
        (errors.RepositoryNotFoundError("gone", response=Response()), "check the spelling"),  # type: ignore[arg-type]
        (errors.RevisionNotFoundError("gone", response=Response()), "no revision 'v9'"),  # type: ignore[arg-type]
        (errors.LocalEntryNotFoundError("no route to host"), "no route to host.*check the network"),
    ],
)
def test_each_refusal_of_the_hub_says_what_to_do(
    hub_cache: Path, monkeypatch: pytest.MonkeyPatch, failure: Exception, advice: str
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)

    def refuse(*_: Any, local_files_only: bool = False, **__: Any) -> str:
        raise errors.LocalEntryNotFoundError("not cached") if local_files_only else failure

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    with pytest.raises(ModelError, match=advice):
        hub.snapshot("org/model", "v9")
