"""A user's project with the autotune suite, and a stand-in for the server."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from support.plugin_project import Project

_HERE = Path(__file__).parent
_SUITE = _HERE.parent / "suites" / "test_autotune.py"
_CONFTEST = """\
import pytest_llmbench.autotune.server
from server_double import ServerDouble

{more}

def pytest_configure():
    server = pytest_llmbench.autotune.server
    server.ServerUnderTest, ServerDouble.real = ServerDouble, server.ServerUnderTest

def pytest_unconfigure():
    pytest_llmbench.autotune.server.ServerUnderTest = ServerDouble.real
"""
URL = "http://127.0.0.1:9/v1"
ITEMS = ("test_max_concurrent_users", "test_max_history", "test_max_tokens", "test_temperature")
SEARCHED = ("-m", "autotune", "-k", "not temperature", "--llmbench-server", URL)


class LimitsProject:
    """The project of one test; `base` runs pytest in it."""

    def __init__(self, base: Project) -> None:
        self.base, self.path, self.run, self.run_alone = base, base.path, base.run, base.run_alone
        (self.path / "test_suite.py").unlink()
        (self.path / "conftest.py").unlink()
        shutil.copy(_SUITE, self.path)
        self.write, self.files = base.write, base.files
        from support.serving_findings import users_finding

        chances = {"5": 0.999, "11": 0.6, "30": 0.0}
        self.write("finding.json", json.dumps({**users_finding(), "chances_at_least": chances, "decided": True}))

    def double(self, more: str = "") -> None:
        """Let the stand-in answer; `more` is what else the `conftest.py` holds."""
        shutil.copy(_HERE / "server_double.py", self.path)
        self.write("conftest.py", _CONFTEST.format(more=more))

    def settings(self, **load: Any) -> None:
        """Write the settings file."""
        self.write("configs/llmbench.yaml", json.dumps({"output": {"png": False}, "load": load}))

    def asked(self) -> list[list[str]]:
        """The log's lines, in words."""
        log = self.path / "asked.log"
        return [line.split() for line in log.read_text().splitlines()] if log.exists() else []

    def document(self) -> dict[str, Any]:
        """The latest JSON report."""
        document: dict[str, Any] = json.loads((self.path / "reports/autotune.json").read_text(encoding="utf-8"))
        return document

    def limits(self) -> dict[str, Any]:
        """The limits' file."""
        limits: dict[str, Any] = json.loads((self.path / "configs/model_limits.json").read_text(encoding="utf-8"))
        return limits


@pytest.fixture
def limits(project: Project, monkeypatch: pytest.MonkeyPatch) -> LimitsProject:
    """A project with the autotune suite, where a stand-in answers for the server."""
    monkeypatch.delitem(sys.modules, _SUITE.stem, raising=False)  # this session may have collected the original
    made = LimitsProject(project)
    made.double()
    return made
