"""A tiny random model with a tokenizer, adapters for it, and a cache of its own for every test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.tiny_models import save, save_adapter, tiny_llama

from pytest_llmbench.core.settings import Settings
from pytest_llmbench.models.sources import Source, resolve


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMBENCH_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def settings_with() -> Callable[..., Settings]:
    """Settings on the CPU, with the given fields of the model section changed."""

    def build(**model: Any) -> Settings:
        return Settings.model_validate({"model": {"device": "cpu", **model}})

    return build


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of two layers, saved with a word tokenizer that has no padding token."""
    folder = tmp_path_factory.mktemp("models") / "tiny-llama"
    save(tiny_llama(), folder)
    return folder


@pytest.fixture
def tiny(tiny_folder: Path) -> Source:
    return resolve(str(tiny_folder))


@pytest.fixture(scope="session")
def adapter_folder(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random adapter of the tiny model, which changes its answers."""
    folder = tmp_path_factory.mktemp("adapters") / "random"
    save_adapter(tiny_folder, folder, init_lora_weights=False)
    return folder
