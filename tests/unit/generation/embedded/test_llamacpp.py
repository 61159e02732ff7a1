from __future__ import annotations

import importlib.util
import socket
from collections import namedtuple
from pathlib import Path

import psutil
import pytest

from pytest_llmbench.core.errors import AdapterError, ModelError, NotReadyError, UsageError
from pytest_llmbench.generation.embedded import llamacpp
from pytest_llmbench.generation.embedded.llamacpp import EmbeddedServer, LlamaOptions, ServedModel, served_model


@pytest.fixture
def model(tmp_path: Path) -> ServedModel:
    gguf = tmp_path / "tiny.gguf"
    gguf.write_bytes(b"GGUF")
    return ServedModel(gguf, "tiny")


@pytest.fixture
def _installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)


def test_without_xllamacpp_it_says_what_to_install(model: ServedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(NotReadyError, match=r"pip install 'pytest-llmbench\[serve\]'"), EmbeddedServer(model):
        pass


@pytest.mark.usefixtures("_installed")
def test_a_port_that_is_taken_is_told_before_a_model_is_loaded(model: ServedModel) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(NotReadyError, match=f"port {port} of .* choose another"), EmbeddedServer(model, port=port):
            pass


@pytest.mark.usefixtures("_installed")
def test_a_model_larger_than_the_free_memory_is_not_started(
    model: ServedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = namedtuple("memory", "available")  # noqa: PYI024  # as psutil gives it
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory(3))
    with pytest.raises(NotReadyError, match=r"tiny\.gguf needs 0\.0 GiB of memory"), EmbeddedServer(model):
        pass


@pytest.mark.usefixtures("_installed")
def test_every_part_of_a_split_file_is_held_against_memory_and_none_where_a_gpu_takes_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = parts = [tmp_path / f"tiny-0000{part}-of-00002.gguf" for part in (1, 2)]
    for part in parts:
        part.write_bytes(b"GGUF")
    monkeypatch.setattr(llamacpp, "available_memory", lambda: 6)
    with pytest.raises(NotReadyError, match=r"needs 0\.0 GiB of memory"), EmbeddedServer(ServedModel(first, "tiny")):
        pass
    monkeypatch.setattr(EmbeddedServer, "_started", lambda *_: pytest.fail("started"))
    on_gpu = EmbeddedServer(ServedModel(first, "tiny"), options=LlamaOptions(device="cuda"))
    with pytest.raises(pytest.fail.Exception, match="started"), on_gpu:
        pass


def test_a_build_that_does_not_see_the_gpu_loads_nothing_larger_than_the_memory(
    model: ServedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("xllamacpp")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr(llamacpp, "_is_for_gpu", lambda _: True)
    monkeypatch.setattr(llamacpp, "available_memory", lambda: 3)
    told = r"this build of xllamacpp sees no GPU, and tiny\.gguf needs 0\.0 GiB of memory"
    with pytest.raises(NotReadyError, match=told), EmbeddedServer(model):
        pass


@pytest.mark.parametrize(("option", "value"), [("slots", 0), ("context", 1), ("port", -1)])
def test_a_number_out_of_range_is_refused(model: ServedModel, option: str, value: int) -> None:
    with pytest.raises(UsageError, match=f"{option} must be at least"):
        EmbeddedServer(model, **{option: value})  # type: ignore[arg-type]  # a number of those that are numbers


def test_a_model_that_is_no_gguf_cannot_be_served() -> None:
    with pytest.raises(ModelError, match=r"org/model is not here as a GGUF file, .* give a \.gguf file"):
        served_model("org/model")


def test_a_gguf_file_goes_by_its_name_and_may_have_a_lora_in_gguf(model: ServedModel, tmp_path: Path) -> None:
    lora = tmp_path / "mine.gguf"
    lora.write_bytes(b"GGUF")
    assert served_model(str(model.gguf)) == model
    assert served_model(str(model.gguf), str(lora)) == ServedModel(model.gguf, "tiny", (lora,), "mine")
    with pytest.raises(AdapterError, match=r"no such file: .*missing\.gguf"):
        served_model(str(model.gguf), str(tmp_path / "missing.gguf"))
