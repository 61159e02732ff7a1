"""The pytest plugin: cases become items, items get their answers, and the session ends with a report.

Free when unused: what this module imports at the top knows nothing of models, and no hook does anything before an item
asks for a case.
"""

from __future__ import annotations

import os
import time
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import pytest

from pytest_llmbench import hookspecs, options
from pytest_llmbench.errors import LLMBenchError
from pytest_llmbench.fixtures import ANSWERS, answers, case, llmbench_backend, llmbench_cases, llmbench_settings
from pytest_llmbench.gathering import RESULT, TOKEN, WORKER_OUTPUT, Gathering
from pytest_llmbench.session import SESSION, BenchmarkSession

if TYPE_CHECKING:
    from pytest_llmbench.cases import Case

__all__ = ["answers", "case", "llmbench_backend", "llmbench_cases", "llmbench_settings"]

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
    worker: dict[str, str] | None = getattr(config, "workerinput", None)
    token = worker[TOKEN] if worker else f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
    config.stash[SESSION] = BenchmarkSession(config, token)
    if worker is None:
        config.pluginmanager.register(Gathering(config, token), "llmbench-gathering")
    else:
        config.pluginmanager.register(_Worker(config), "llmbench-worker")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make one item a case of every test that asks for this plugin's `case`."""
    # pytest has no public way to ask whose fixture it is; a `case` of the user's own is none of our business
    definitions = metafunc._arg2fixturedefs.get("case")  # noqa: SLF001
    if not definitions or definitions[-1].func.__module__ != case.__module__:
        return
    ours = metafunc.config.stash[SESSION]
    try:
        cases, epochs = ours.cases, ours.settings.generation.epochs
    except LLMBenchError as error:
        ours.fault = error  # pytest-xdist would end with 1, whatever the error's code is
        raise pytest.Collector.CollectError(str(error)) from error  # how pytest shows one message and no traceback
    metafunc.parametrize("case", cases, ids=[_item_id(one, epochs) for one in cases], indirect=True)


@pytest.hookimpl(trylast=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """Tell the planner which cases were selected, after `-k`, `-m`, `--lf` and all others had their say."""
    ours = session.config.stash[SESSION]
    if ours.cases_were_read:
        ours.plan(item.callspec.params.get("case") for item in session.items if hasattr(item, "callspec"))


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
        self._config.workeroutput[WORKER_OUTPUT] = self._config.stash[SESSION].close()


def _item_id(one: Case, epochs: int) -> str:
    return f"{one.name}#{one.epoch}" if epochs > 1 else one.name
