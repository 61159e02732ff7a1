"""What a loading found is taken again only where all that it depended on is as it was."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from support.parrot import Parrot
from support.tiny_models import save, tiny_llama

from pytest_llmbench.cases.suites import Case
from pytest_llmbench.core.announcing import Announcement
from pytest_llmbench.core.errors import naming
from pytest_llmbench.core.settings import Settings
from pytest_llmbench.generation.backend import Backend
from pytest_llmbench.generation.local import remembered
from pytest_llmbench.generation.local.remembered import (
    RememberedPair,
    announced,
    pair_key,
    recalled,
    remembering,
)
from pytest_llmbench.models.sources import resolve


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LLMBENCH_CACHE_DIR", str(tmp_path / "cache"))
    save(tiny_llama(), tmp_path / "base")
    return tmp_path / "base"


def key(base: Path, **sections: Mapping[str, Any]) -> str:
    return pair_key(resolve(str(base)), {}, Settings.model_validate(sections))


def touched(name: str) -> Callable[[Path, pytest.MonkeyPatch], None]:
    def touch(base: Path, _: pytest.MonkeyPatch) -> None:
        path = base / name
        path.write_text(json.dumps({**json.loads(path.read_text()), "added": 1}))

    return touch


def of_another_version(_: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.metadata.version", lambda name: f"{name} of tomorrow")


def with_other_gpus(_: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")


def in_a_smaller_container(_: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembered, "total_memory", lambda: 2**20)


def batch_invariant(_: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_BATCH_INVARIANT", "1")


@pytest.mark.parametrize(
    "change",
    [
        touched("tokenizer_config.json"),
        touched("config.json"),
        of_another_version,
        with_other_gpus,
        in_a_smaller_container,
        batch_invariant,
    ],
    ids=["tokenizer", "configuration", "libraries", "gpus", "memory", "batch_invariant"],
)
def test_the_key_changes_with_all_that_a_loading_depends_on(
    base: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path, pytest.MonkeyPatch], None]
) -> None:
    before = key(base)
    assert key(base) == before
    change(base, monkeypatch)
    assert key(base) != before


@pytest.mark.parametrize("section", [{"model": {"quantization": "none"}}, {"generation": {"max_new_tokens": 7}}])
def test_the_key_changes_with_the_settings(base: Path, section: Mapping[str, Any]) -> None:
    assert key(base, **section) != key(base)


def test_a_pair_is_told_as_it_was_and_loaded_when_it_must_answer(base: Path) -> None:
    name = key(base)
    assert recalled(name) is None
    with remembering(name) as remember:
        logging.getLogger("pytest_llmbench").warning("a %s", "caveat", extra=naming("model.device"))
        remember(Parrot())
    kept = recalled(name)
    assert kept is not None

    assert announced(kept) == [Announcement("a %s", ("caveat",), ("model.device",))]

    loaded: list[Backend] = []

    def load() -> Backend:
        loaded.append(Parrot())
        return loaded[-1]

    pair = RememberedPair(kept, load, {"training_rows": 3})
    parrot = Parrot()
    assert pair.variants == parrot.variants
    assert [pair.identity(one) for one in pair.variants] == [parrot.identity(one) for one in parrot.variants]
    assert pair.batch_size() == parrot.batch_size()
    assert pair.describe() == {**parrot.describe(), "training_rows": 3, "loaded_at": kept["at"]}
    asked = Case("suite", "one", "monte le son", ({"role": "user", "content": "monte le son"},))
    assert pair.weight(asked) == 0
    assert not loaded
    assert list(pair.complete([], "base")) == []
    assert pair.describe() == parrot.describe()
    assert pair.weight(asked) == parrot.weight(asked) > 0
    assert len(loaded) == 1
