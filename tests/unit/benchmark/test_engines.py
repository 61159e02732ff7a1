"""`model.engine`: what an engine cannot do is refused before anything is loaded."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from support.scripted_engines import ScriptedEngine
from support.tiny_ggufs import byte_level_gguf
from support.tiny_models import write_adapter
from support.tiny_training import save_tiny_model

from pytest_llmbench.benchmark import main_job
from pytest_llmbench.benchmark.engines import Pair, check_engine, engine_source, load_pair
from pytest_llmbench.core.errors import LLMBenchError, ModelError, NotReadyError, UsageError
from pytest_llmbench.core.settings import Settings, load_settings
from pytest_llmbench.models.sources import Source


@pytest.fixture(scope="module")
def gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return byte_level_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf", "gpt-2", ["monte le son", "ouvre"])


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMBENCH_CACHE_DIR", str(tmp_path / "cache"))


def settings(**model: Any) -> Settings:
    return Settings.model_validate({"model": model})


def given(**model: str) -> Settings:
    return load_settings(None, {f"model.{key}": (value, "--option") for key, value in model.items()}, {})


def test_memory_that_runs_out_once_the_weights_are_there_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    out = torch.OutOfMemoryError("CUDA out of memory")
    monkeypatch.setattr("pytest_llmbench.models.loading.load_base", lambda *_: None)
    monkeypatch.setattr("pytest_llmbench.models.held_weights.hold_weights", lambda *_: (_ for _ in ()).throw(out))
    with pytest.raises(ModelError, match=r"tiny \(/tiny\) does not fit in memory; use model\.quantization: nf4"):
        load_pair(Pair(Source("tiny", "tiny", "/tiny", "", "folder"), {}, {}, ()), settings())


def test_a_quantization_that_the_file_does_not_have_is_refused(gguf: Path) -> None:
    with pytest.raises(UsageError, match=r"quantization: nf4, but tiny\.gguf is F32.* leave model\.quantization out"):
        check_engine(given(engine="llamacpp", base=str(gguf), quantization="nf4"))


@pytest.mark.parametrize("quantization", [None, "none"])
def test_a_file_decides_where_nothing_contradicts_it(gguf: Path, quantization: str | None) -> None:
    said = {"quantization": quantization} if quantization else {}
    check_engine(given(engine="llamacpp", base=str(gguf), **said))


def test_settings_read_back_from_a_run_contradict_nothing(gguf: Path) -> None:
    """They name every setting, the default quantization too."""
    check_engine(settings(**given(engine="llamacpp", base=str(gguf)).model.model_dump()))


@pytest.mark.parametrize(
    ("engine", "base", "told"),
    [
        ("llamacpp", "org/model", "is none here; give one"),
        ("vllm", "x.gguf", "is a GGUF file; give the model's folder"),
    ],
)
def test_a_base_of_a_form_that_the_engine_does_not_read_is_refused(
    engine: str, base: str, told: str, tmp_path: Path, gguf: Path
) -> None:
    if base.endswith(".gguf"):
        base = str((tmp_path / base).absolute())
        Path(base).write_bytes(gguf.read_bytes())
    with pytest.raises(UsageError, match=told):
        check_engine(settings(engine=engine, base=base))


@pytest.mark.parametrize(("engine", "package"), [("llamacpp", "xllamacpp"), ("vllm", "vllm")])
def test_a_missing_engine_is_told_with_what_to_install(
    engine: str, package: str, gguf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == package else name)
    with pytest.raises(NotReadyError, match=f"needs {package}, which is not installed; pip install") as caught:
        engine_source(settings(engine=engine, base=str(gguf)).model)
    assert caught.value.exit_code == LLMBenchError.exit_code + 1


def test_settings_that_the_engine_has_no_use_for_are_announced(gguf: Path, caplog: pytest.LogCaptureFixture) -> None:
    check_engine(given(engine="llamacpp", base=str(gguf), hold="packed", device="cpu"))
    assert caplog.messages == ["model.hold changes nothing with model.engine: llamacpp"]
    caplog.clear()
    said = {"model.engine": "vllm", "model.base": "org/model", "model.hold": "packed", "generation.threads": "2"}
    check_engine(load_settings(None, {key: (value, "--option") for key, value in said.items()}, {}))
    assert caplog.messages == [
        "model.hold changes nothing with model.engine: vllm",
        "generation.threads changes nothing with model.engine: vllm",
    ]


def test_a_machine_recalls_the_pair_that_it_has_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = save_tiny_model(tmp_path / "base")
    write_adapter(tmp_path / "adapter")
    chosen = settings(base=str(base), adapter=str(tmp_path / "adapter"), verify_adapter=False)
    monkeypatch.setattr("pytest_llmbench.benchmark.engines.load_pair", lambda *_: ScriptedEngine(chosen))
    assert main_job._recollected(chosen, ()) is None
    loaded = main_job.open_backend(chosen)
    kept = main_job._recollected(chosen, ())
    assert kept is not None
    assert kept["identity"] == {name: dict(loaded.identity(name)) for name in loaded.variants}
    config = tmp_path / "adapter" / "adapter_config.json"
    config.write_text(config.read_text().replace("{", '{"trained": "again", ', 1))
    assert main_job._recollected(chosen, ()) is None


def test_recalling_downloads_and_converts_nothing(gguf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytest_llmbench.benchmark.engines.resolve", lambda *_, **__: pytest.fail("it was fetched"))
    assert main_job._recollected(settings(base=str(gguf)), ()) is None
