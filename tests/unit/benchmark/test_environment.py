from __future__ import annotations

import importlib.metadata
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import constants
from support.tiny_models import safetensors_bytes, write_adapter

from pytest_llmbench.benchmark import environment
from pytest_llmbench.benchmark.environment import STEPS, Check, check_setup
from pytest_llmbench.core import starter
from pytest_llmbench.core.settings import Settings
from pytest_llmbench.models import sources
from pytest_llmbench.models.memory.weights import GIB, GpuMemory

REQUIRES = [
    "numpy>=1.26",
    "torch>=2.0; extra == 'local'",
    "pytest-llmbench[local]; extra == 'train'",
    "trl>=1.0; extra == 'train'",
]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A complete project on a machine without GPU, with a base in a folder, and all packages installed."""
    for name in ("prompts", "adapters", "base"):
        (tmp_path / name).mkdir()
    (tmp_path / "prompts/tools.yaml").write_text("tools: {volume_up: [son]}")
    (tmp_path / "prompts/sound.yaml").write_text("category: sound\ncases: [{id: up, prompt: monte le son}]")
    (tmp_path / "base/config.json").write_text("{}")
    (tmp_path / "base/model.safetensors").write_bytes(safetensors_bytes(16))
    write_adapter(tmp_path / "adapters/demo", base_name="base")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(importlib.metadata, "requires", lambda _: REQUIRES)
    return tmp_path


def check(**model: Any) -> dict[str, list[Check]]:
    found = check_setup(Settings.model_validate({"model": {"base": "base", **model}}))
    return {step: [each for each in found if each.step == step] for step in STEPS}


def statuses(checks: list[Check]) -> list[str]:
    return [each.status for each in checks]


def test_a_complete_project_without_gpu_passes_with_one_warning(project: Path) -> None:
    checks = check()
    assert [step for step in STEPS for each in checks[step] if each.status == "warn"] == ["PyTorch"]
    assert not [each for step in STEPS for each in checks[step] if each.status == "fail"]
    assert "CPU" in checks["PyTorch"][-1].remedy


def test_each_gpu_is_shown_with_its_name_and_memory(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gpus = [GpuMemory(index, f"card {index}", 0, 0, 24 * GIB) for index in range(2)]
    monkeypatch.setattr(environment, "gpu_memory", lambda: gpus)
    assert [each.detail for each in check()["PyTorch"][1:]] == [
        "GPU 0 of 2: card 0, 24.0 GB",
        "GPU 1 of 2: card 1, 24.0 GB",
    ]


def test_cuda_asked_for_and_absent_fails(project: Path) -> None:
    assert statuses(check(device="cuda")["PyTorch"]) == ["ok", "fail"]


def test_a_missing_or_old_package_names_the_extra_to_install(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = ("no-such-package-of-ours; extra == 'train'", "no-such-metric; extra == 'evaluate'")
    changed = [*REQUIRES, "numpy>=99", *missing]
    monkeypatch.setattr(importlib.metadata, "requires", lambda _: changed)
    core, local, train, evaluate = check()["Dependencies"]
    assert (core.status, local.status, train.status) == ("fail", "ok", "warn")
    assert "is not >=99" in core.detail
    assert "no-such-package-of-ours is missing" in train.detail
    assert train.remedy == "pip install --upgrade 'pytest-llmbench[train]'"
    assert (evaluate.status, evaluate.remedy) == ("warn", "pip install --upgrade 'pytest-llmbench[evaluate]'")


def test_a_folder_the_project_lacks_is_the_packaged_one(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packaged = project.parent / "packaged"
    packaged.mkdir()
    (project / "prompts").rename(packaged / "prompts")
    monkeypatch.setattr(starter, "starter_folder", lambda: packaged)
    folders = check()["Folders"]
    assert statuses(folders) == ["ok"] * 4
    assert "the packaged one; `llmbench init`" in folders[0].detail


def test_a_folder_that_exists_nowhere_fails(project: Path) -> None:
    settings = Settings.model_validate({"model": {"base": "base"}, "benchmark": {"prompts": ["mine"]}})
    assert Check(
        "Folders", "fail", "mine does not exist", "mend the path, or start from `llmbench init`", 2
    ) in check_setup(settings)


def test_a_report_folder_that_cannot_be_made_fails(project: Path) -> None:
    (project / "reports").write_text("a file is in the way")
    assert statuses(check()["Folders"])[-1] == "fail"


def test_adapters_are_listed_with_what_is_wrong_with_each(project: Path) -> None:
    write_adapter(project / "adapters/other", base_name="other")
    (write_adapter(project / "adapters/half") / "adapter_model.safetensors").unlink()
    found = check()["Adapters"]
    assert [
        (each.status, word in each.detail)
        for each, word in zip(found, ["rank 4", "half-written", "not on base"], strict=True)
    ] == [
        ("ok", True),
        ("warn", True),
        ("warn", True),
    ]


def test_a_chosen_adapter_that_does_not_fit_fails(project: Path) -> None:
    write_adapter(project / "adapters/other", base_name="other")
    assert statuses(check(adapter="adapters/other")["Adapters"]) == ["fail"]
    assert statuses(check(adapter="none")["Adapters"]) == ["ok"]


@pytest.mark.parametrize(
    ("base", "status", "word"),
    [("no-such-model", "fail", "unknown model"), ("org/model", "fail", "HF_HUB_OFFLINE"), ("base", "ok", "folder")],
)
def test_the_base_is_looked_up_without_loading_or_fetching_it(
    project: Path, monkeypatch: pytest.MonkeyPatch, base: str, status: str, word: str
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(project / "hub"))
    found = check(base=base)["Configuration"][0]
    assert (found.status, word in found.detail) == (status, True)


def test_a_gguf_file_is_not_converted_by_checking(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "some.gguf").write_bytes(b"GGUF")
    monkeypatch.setattr(sources, "convert", lambda _: pytest.fail("converted"))
    found = check(base="some.gguf")["Configuration"][0]
    assert (found.status, "converted on first use" in found.detail) == ("ok", True)


def test_a_full_disk_is_told(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    checks = check()
    assert "only 0.0 GB free" in checks["Folders"][-1].detail
    assert "LLMBENCH_CACHE_DIR" in checks["Configuration"][-1].remedy


def test_with_a_server_nothing_local_is_needed(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changed = [*REQUIRES, "no-such-package-of-ours; extra == 'local'"]
    monkeypatch.setattr(importlib.metadata, "requires", lambda _: changed)
    here = {"base": "no-such-model", "adapter": "nowhere"}
    settings = Settings.model_validate({"model": here, "server": {"url": "http://127.0.0.1:1"}})
    assert "fail" not in statuses(check_setup(settings))


def test_a_check_is_plain_data(project: Path) -> None:
    import dataclasses

    assert json.loads(json.dumps([dataclasses.asdict(each) for each in check()["Python"]]))[0]["status"] == "ok"
