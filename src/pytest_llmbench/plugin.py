"""The pytest plugin: cases become items, items get their answers, and the session ends with a report.

Free when unused: what this module imports at the top knows nothing of models, and no hook does anything before an item
asks for a case.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from pytest_llmbench import autotune_gathering, hookspecs, options
from pytest_llmbench.autotune_session import AUTOTUNE, FIXTURE, AutotuneSession
from pytest_llmbench.errors import LLMBenchError
from pytest_llmbench.fixtures import (
    ANSWERS,
    answers,
    case,
    llmbench_backend,
    llmbench_cases,
    llmbench_settings,
    server_limits,
    short_training,
)
from pytest_llmbench.gathering import RESULT, TOKEN, WORKER_OUTPUT, Gathering
from pytest_llmbench.session import SESSION, BenchmarkSession, ending

if TYPE_CHECKING:
    from pytest_llmbench.cases import Case

__all__ = [
    "answers",
    "case",
    "llmbench_backend",
    "llmbench_cases",
    "llmbench_settings",
    "server_limits",
    "short_training",
]

_MARKERS = {
    "benchmark": "answers of a base model and its fine-tune on the suites' cases (pytest-llmbench)",
    "autotune": "how many users a live server holds (pytest-llmbench)",
    "context": "which context length and server settings to run (pytest-llmbench)",
    "finetune": "whether training still learns (pytest-llmbench)",
}


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Declare the hooks that others may implement."""
    pluginmanager.add_hookspecs(hookspecs)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options."""
    options.add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Declare the markers, and make the session's empty state."""
    for name, meaning in _MARKERS.items():
        config.addinivalue_line("markers", f"{name}: {meaning}")
    if not config.pluginmanager.hasplugin("asyncio"):  # else strict markers would hide what is missing
        config.addinivalue_line("markers", "asyncio: an asynchronous test, which needs pytest-asyncio")
    worker: dict[str, str] | None = getattr(config, "workerinput", None)
    token = worker[TOKEN] if worker else f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
    config.stash[SESSION] = BenchmarkSession(config, token)
    config.stash[AUTOTUNE] = AutotuneSession(config, token)
    if worker is None:
        config.pluginmanager.register(Gathering(config, token), "llmbench-gathering")
        config.pluginmanager.register(autotune_gathering.AutotuneGathering(config), "llmbench-autotune-gathering")
    else:
        config.pluginmanager.register(_Worker(config), "llmbench-worker")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make one item a case of every test that asks for `case`, and one a target of those that ask for `server_limits`.

    A single target leaves the names of items as they are.
    """
    ours = metafunc.config.stash[SESSION]
    if _is_ours(metafunc, "case"):
        with _told_at_collection(ours):
            cases, epochs = ours.cases, ours.settings.generation.epochs
        metafunc.parametrize("case", cases, ids=[_item_id(one, epochs) for one in cases], indirect=True)
    if _is_ours(metafunc, FIXTURE):
        with _told_at_collection(ours):
            targets = metafunc.config.stash[AUTOTUNE].targets
        if len(targets) > 1:
            metafunc.parametrize(FIXTURE, targets.values(), ids=targets, indirect=True)


@pytest.hookimpl(trylast=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """Tell the planner which cases were selected, after `-k`, `-m`, `--lf` and all others had their say."""
    ours = session.config.stash[SESSION]
    session.config.stash[AUTOTUNE].plan(session.items)
    if ours.cases_were_read:
        ours.plan(item.callspec.params.get("case") for item in session.items if hasattr(item, "callspec"))
        if not hasattr(session.config, "workerinput"):  # pytest-xdist would start others in place of one that ends here
            with ending(session):
                ours.check_gate()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Send the case's record along with the item's report, from whatever process it ran in."""
    report = yield
    given = item.stash.get(ANSWERS, None)
    if given is not None and report.when == "call":
        from pytest_llmbench.benchmark import case_result

        setattr(report, RESULT, case_result(given).to_json())
    return report


class _Worker:
    """In a process of pytest-xdist: tells the controller what this one did."""

    def __init__(self, config: Any) -> None:
        self._config = config

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self) -> None:
        """Hand over what this process knows of its model, and let go of it."""
        self._config.workeroutput[autotune_gathering.WORKER_OUTPUT] = self._config.stash[AUTOTUNE].close()
        self._config.workeroutput[WORKER_OUTPUT] = self._config.stash[SESSION].close()


def _is_ours(metafunc: pytest.Metafunc, name: str) -> bool:
    """Whether a test's fixture of that name is this plugin's; one of the user's own is none of our business."""
    definitions = metafunc._arg2fixturedefs.get(name)  # noqa: SLF001  # pytest has no public way to ask whose it is
    return definitions is not None and definitions[-1].func.__module__ == case.__module__


@contextlib.contextmanager
def _told_at_collection(ours: BenchmarkSession) -> Iterator[None]:
    try:
        yield
    except LLMBenchError as error:
        ours.fault = error  # pytest-xdist would end with 1, whatever the error's code is
        raise pytest.Collector.CollectError(str(error)) from error  # how pytest shows one message and no traceback


def _item_id(one: Case, epochs: int) -> str:
    return f"{one.name}#{one.epoch}" if epochs > 1 else one.name
