from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import jsonschema
import pytest

from pytest_llmbench import __version__
from pytest_llmbench.core.provenance import provenance
from pytest_llmbench.runs.storage import run_schema

GIT = ["git", "-c", "user.name=A", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run([*GIT, *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    git(tmp_path, "init", "--quiet")
    (tmp_path / "case.yaml").write_text("one", encoding="utf-8")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "-m", "first")
    return tmp_path


def test_it_fits_the_schema_of_the_run_file() -> None:
    known = run_schema()["$defs"]["metadata"]["properties"]
    found = provenance()
    assert set(found) <= set(known)
    jsonschema.Draft202012Validator({"properties": known}).validate(found)


def test_the_commit_is_dirty_after_an_edit_but_not_for_new_reports(repository: Path) -> None:
    commit = git(repository, "rev-parse", "HEAD")
    (repository / "report.txt").write_text("new", encoding="utf-8")
    assert provenance(repository)["git"] == {"commit": commit, "dirty": False}
    (repository / "case.yaml").write_text("two", encoding="utf-8")
    assert provenance(repository)["git"] == {"commit": commit, "dirty": True}


def test_git_is_null_outside_a_repository_and_without_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert provenance(tmp_path)["git"] is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert provenance(tmp_path)["git"] is None


def test_only_installed_libraries_have_a_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[provenance.__module__], "LIBRARIES", ("pytest", "no-such-library"))
    assert provenance()["versions"] == {"pytest-llmbench": __version__, "pytest": pytest.__version__}


def test_libraries_that_answered_nothing_have_no_version() -> None:
    versions = provenance(answered_here=False)["versions"]
    assert "pytest" in versions
    assert not {"torch", "transformers", "peft", "bitsandbytes"} & set(versions)


def test_gpus_are_listed_where_torch_is_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    device = SimpleNamespace(name="A GPU", total_memory=24 * 2**30)
    cuda = SimpleNamespace(
        is_available=lambda: True, device_count=lambda: 1, get_device_properties=lambda index: [device][index]
    )
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    assert provenance()["gpus"] == [{"name": "A GPU", "memory_bytes": 24 * 2**30}]


def test_nothing_heavy_is_imported_for_it_nor_by_the_reports() -> None:
    code = (
        "import sys; import pytest_llmbench.reports;"
        "from pytest_llmbench.core.provenance import provenance; provenance();"
        "print(sorted({'torch', 'transformers', 'matplotlib', 'jsonschema', 'pytest'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
