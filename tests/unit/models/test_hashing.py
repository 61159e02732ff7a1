from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from pytest_llmbench.core.errors import ModelError
from pytest_llmbench.models.hashing import config_hash, file_hash, gguf_hash, weight_files

EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_a_file_is_read_once_until_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    path.write_bytes(b"")
    assert file_hash(path) == EMPTY
    before = path.stat()
    path.write_bytes(b"")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert file_hash(path) == EMPTY
    path.write_bytes(b"other")
    assert file_hash(path) != EMPTY


def test_an_unchanged_file_is_not_read_again(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    path.write_bytes(b"one")
    before, first = path.stat(), file_hash(path)
    path.write_bytes(b"two")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert file_hash(path) == first


def test_a_cache_that_cannot_be_written_stops_nothing_but_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "weights").write_bytes(b"")
    (tmp_path / "cache").write_text("a file is in the way")
    monkeypatch.setenv("LLMBENCH_CACHE_DIR", str(tmp_path / "cache"))
    assert file_hash(tmp_path / "weights") == EMPTY
    assert "computed again" in caplog.text


def test_safetensors_win_over_bin_and_adapters_are_not_the_model(tmp_path: Path) -> None:
    for name in ("pytorch_model.bin", "adapter_model.safetensors", "consolidated.safetensors", "training_args.bin"):
        (tmp_path / name).write_bytes(b"")
    assert [path.name for path in weight_files(tmp_path)] == ["pytorch_model.bin"]
    (tmp_path / "model.safetensors").write_bytes(b"")
    assert [path.name for path in weight_files(tmp_path)] == ["model.safetensors"]


@pytest.mark.parametrize(
    ("present", "taken"),
    [
        (["model.safetensors", "model.safetensors.index.json", "model-00001-of-00001.safetensors"], [0]),
        (["model.safetensors.index.json", "model-00001-of-00001.safetensors", "pytorch_model.bin"], [1]),
        (["pytorch_model.bin", "pytorch_model.bin.index.json", "model-00001-of-00001.safetensors"], [0]),
        (["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"], [0, 1]),
    ],
)
def test_the_weights_are_those_that_transformers_reads(tmp_path: Path, present: list[str], taken: list[int]) -> None:
    index = json.dumps({"weight_map": {"a": "model-00001-of-00001.safetensors"}})
    for name in present:
        (tmp_path / name).write_text(index)
    assert weight_files(tmp_path) == [tmp_path / present[place] for place in taken]


def test_a_part_that_the_others_names_tell_of_is_missed(tmp_path: Path) -> None:
    for name in ("model-00001-of-00003.safetensors", "model-00003-of-00003.safetensors"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(ModelError, match=r": model-00002-of-00003\.safetensors is missing; fetch the model again"):
        weight_files(tmp_path)


def test_configuration_and_code_have_a_hash_and_weights_are_no_part_of_it(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"a")
    before = config_hash(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"b")
    (tmp_path / "README.md").write_text("read me")
    assert config_hash(tmp_path) == before
    (tmp_path / "config.json").write_text('{"rope_theta": 1}')
    assert (other := config_hash(tmp_path)) != before
    (tmp_path / "modeling_own.py").write_text("")
    assert config_hash(tmp_path) not in {before, other}


def test_a_split_gguf_file_is_known_by_all_its_parts(tmp_path: Path) -> None:
    first, second = (tmp_path / f"m-0000{number}-of-00002.gguf" for number in (1, 2))
    first.write_bytes(b"GGUF 1")
    with pytest.raises(ModelError, match=r"m-00002-of-00002\.gguf is missing"):
        gguf_hash(first)
    second.write_bytes(b"GGUF 2")
    before = gguf_hash(first)
    second.write_bytes(b"GGUF 2, another")
    assert gguf_hash(first) != before
    assert gguf_hash(first.rename(tmp_path / "alone.gguf")) == file_hash(tmp_path / "alone.gguf")
