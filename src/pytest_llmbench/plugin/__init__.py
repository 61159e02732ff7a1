"""The pytest plugin: cases become items, items get their answers, and the session ends with a report.

Free when unused: what this module imports at the top knows nothing of models, and no hook does anything before an item
asks for a case.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import time
import warnings
from collections.abc import Generator, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import pytest

from pytest_llmbench.core.errors import LLMBenchError
from pytest_llmbench.core.starter import CONFIG, SUITES
from pytest_llmbench.plugin import hookspecs, options, selection
from pytest_llmbench.plugin.autotune_gathering import AutotuneGathering
from pytest_llmbench.plugin.autotune_session import AUTOTUNE, FIXTURE, AutotuneSession
from pytest_llmbench.plugin.benchmark_gathering import PLANNED, RESULT, SKIPPED, TOKEN, BenchmarkGathering
from pytest_llmbench.plugin.benchmark_session import BENCHMARK, BenchmarkSession
from pytest_llmbench.plugin.chunks import LEFT_OUT, is_in_chunk, planned_of, pytest_pyfunc_call, pytest_runtest_setup
from pytest_llmbench.plugin.context_gathering import ContextGathering
from pytest_llmbench.plugin.context_session import CONTEXT, ContextSession
from pytest_llmbench.plugin.context_session import FIXTURE as CONTEXT_FIXTURE
from pytest_llmbench.plugin.fixtures import (
    ANSWERS,
    SHORT_NAMES,
    llmbench_answers,
    llmbench_backend,
    llmbench_case,
    llmbench_cases,
    llmbench_settings,
    server_context,
    server_limits,
    short_training,
)
from pytest_llmbench.plugin.selection import SELECTION, Selection, is_ours, may_be_asked_for
from pytest_llmbench.plugin.session import SESSION, Session, ending

if TYPE_CHECKING:
    from pytest_llmbench.cases.suites import Case

__all__ = [
    "llmbench_answers",
    "llmbench_backend",
    "llmbench_case",
    "llmbench_cases",
    "llmbench_settings",
    "pytest_pyfunc_call",
    "pytest_runtest_setup",
    "server_context",
    "server_limits",
    "short_training",
]

_MARKERS = {
    "benchmark": "answers of a base model and its fine-tune on the suites' cases (pytest-llmbench)",
    "autotune": "how many users a live server holds (pytest-llmbench)",
    "context": "how long a context a live server holds (pytest-llmbench)",
    "finetune": "whether training still learns (pytest-llmbench)",
}


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Declare the hooks that others may implement."""
    pluginmanager.add_hookspecs(hookspecs)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options."""
    options.add_options(parser)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Declare the markers, and make the session's empty state."""
    _quieten_asyncio(config)
    for name, meaning in _MARKERS.items():
        config.addinivalue_line("markers", f"{name}: {meaning}")
    if not config.pluginmanager.hasplugin("asyncio"):  # else strict markers would hide what is missing
        config.addinivalue_line("markers", "asyncio: an asynchronous test, which needs pytest-asyncio")
    worker: dict[str, str] | None = getattr(config, "workerinput", None)
    token = worker[TOKEN] if worker else _new_token()
    config.stash[SESSION] = Session(config)
    config.stash[BENCHMARK] = BenchmarkSession(config, token)
    config.stash[AUTOTUNE] = AutotuneSession(config, token)
    config.stash[CONTEXT] = ContextSession(config, token)
    config.stash[SELECTION] = Selection(config)
    if worker is None:
        config.pluginmanager.register(BenchmarkGathering(config, token), "llmbench-gathering")
        config.pluginmanager.register(AutotuneGathering(config), "llmbench-autotune-gathering")
        config.pluginmanager.register(ContextGathering(config), "llmbench-context-gathering")
        config.pluginmanager.register(_LeftOut(config), "llmbench-left-out")
    else:
        config.pluginmanager.register(_Worker(config), "llmbench-worker")


@pytest.hookimpl(trylast=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """Add the short names of fixtures that no other plugin has; a `conftest.py` always goes before plugins."""
    for name, plugin in SHORT_NAMES.items():
        if not session._fixturemanager.getfixturedefs(name, session):  # noqa: SLF001  # there is no public way to ask
            session.config.pluginmanager.register(plugin(), f"llmbench-fixture-{name}")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make one item a case, or a chunk of cases, of every test that asks for a case, and one a target of those that ask
    for `server_limits` or `server_context`.

    Suites and settings of tests that nobody asked for are not read. A single target leaves the names of items alone.
    """
    ours, test = metafunc.config.stash[SESSION], metafunc.definition
    if _asks_for(test, "llmbench_case"):
        with _told_at_collection(ours):
            chunks, epochs = ours.chunks, ours.settings.generation.epochs
        if chunks is None:
            given: Sequence[object] = ours.cases
            ids = [_item_id(one, epochs) for one in ours.cases]
        else:
            given, ids = chunks, [chunk.name for chunk in chunks]
        metafunc.parametrize("llmbench_case", given, ids=ids, indirect=True)
    for fixture in (FIXTURE, CONTEXT_FIXTURE):
        if _asks_for(test, fixture):
            with _told_at_collection(ours):
                targets = metafunc.config.stash[AUTOTUNE].targets
            if len(targets) > 1:
                metafunc.parametrize(fixture, targets.values(), ids=targets, indirect=True)


def pytest_itemcollected(item: pytest.Item) -> None:
    """Give a heavy test the marker of its kind, so that `-m` finds it."""
    marker = item.config.stash[SELECTION].see(item)
    if marker and not item.get_closest_marker(marker):
        item.add_marker(marker)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what nobody asked for."""
    if unasked := config.stash[SELECTION].apply(items):
        config.hook.pytest_deselected(items=unasked)


@pytest.hookimpl(trylast=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """Tell the planner which cases were selected, after `-k`, `-m`, `--lf` and all others had their say."""
    ours, benchmark = session.config.stash[SESSION], session.config.stash[BENCHMARK]
    session.config.stash[AUTOTUNE].plan(session.items)
    if ours.cases_were_read:
        params = [item.callspec.params for item in session.items if hasattr(item, "callspec")]
        benchmark.plan(given.get("llmbench_case") for given in params)
    markers = {selection.marker_of(item) for item in session.items}
    with ending(session):
        if markers & {"benchmark", "context", "finetune"}:
            ours.check_name()
        if "benchmark" in markers:
            benchmark.check_written()
            if not hasattr(session.config, "workerinput"):  # pytest-xdist starts others in place of one that ends here
                benchmark.check_gate()
        elif "finetune" in markers:
            ours.check_base()
        if "context" in markers:
            session.config.stash[CONTEXT].check_baseline(alone="benchmark" not in markers)
        if "autotune" in markers:
            session.config.stash[SELECTION].check_gate(ours.settings.load.require_users)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Send the case's record along with the item's report, from whatever process it ran in, and first which it is.

    An error of ours in a test names the options by which what it speaks of is given.
    """
    if call.excinfo is not None and isinstance(error := call.excinfo.value, LLMBenchError):
        error.args = (options.told_error(error),)
    report = yield
    given = item.stash.get(ANSWERS, None)
    asked_for_nothing = report.when == "call" and report.skipped and given is None and not is_in_chunk(item)
    if (report.when == "setup" or asked_for_nothing) and (planned := planned_of(item)):
        setattr(report, PLANNED, planned)
    if report.when == "call" and (skipped := item.stash.get(LEFT_OUT, None)):
        setattr(report, SKIPPED, skipped)
    # a fixture that was given the answer can fail or skip in the setup, and no call follows
    if given is not None and (report.when == "call" or (report.when == "setup" and not report.passed)):
        from pytest_llmbench.benchmark.main_job import case_result

        setattr(report, RESULT, case_result(given).to_json())
    return report


class _Worker:
    """In a process of pytest-xdist: tells the controller what this one did."""

    def __init__(self, config: Any) -> None:
        self._config = config

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self) -> None:
        """Hand over what this process knows of its model, and let go of it."""
        self._config.workeroutput[AutotuneGathering.worker_output] = self._config.stash[AUTOTUNE].close()
        self._config.workeroutput[ContextGathering.worker_output] = self._config.stash[CONTEXT].close()
        self._config.workeroutput[BenchmarkGathering.worker_output] = self._config.stash[BENCHMARK].close()
        self._config.workeroutput[selection.WORKER_OUTPUT] = self._config.stash[SELECTION].to_json()


class _LeftOut:
    """In the process that people see: says which tests did not run, and how to run them."""

    def __init__(self, config: pytest.Config) -> None:
        self._selection = config.stash[SELECTION]

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Let the workers of pytest-xdist decide as this process would."""
        node.workerinput[selection.NAMED] = self._selection.files_are_named

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Keep what a worker left out; all of them leave out the same."""
        if told := getattr(node, "workeroutput", {}).get(selection.WORKER_OUTPUT):
            self._selection.take(told)

    def pytest_terminal_summary(
        self, terminalreporter: pytest.TerminalReporter, exitstatus: int, config: pytest.Config
    ) -> None:
        """One line for each thing to know; none where there is nothing of ours."""
        nothing = exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED
        for line in selection.summary(self._selection, config, nothing_collected=nothing):
            terminalreporter.write_line(line)


def _new_token() -> str:
    """Unlike any other session's, though containers that share a folder of reports often have the same process ids."""
    return f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}-{secrets.token_hex(3)}"


def _asks_for(test: pytest.Function, fixture: str) -> bool:
    return fixture in test.fixturenames and is_ours(test, fixture) and may_be_asked_for(test)


def _quieten_asyncio(config: pytest.Config) -> None:
    """In a project with our suites, pytest-asyncio's word about an option that they need not set.

    pytest undoes this when all plugins are configured.
    """
    if any((config.invocation_params.dir / file).is_file() for file in (str(CONFIG), *SUITES)):
        warnings.filterwarnings("ignore", 'The configuration option "asyncio_default_fixture_loop_scope" is unset')


@contextlib.contextmanager
def _told_at_collection(ours: Session) -> Iterator[None]:
    try:
        yield
    except LLMBenchError as error:
        ours.fault = error  # pytest-xdist would end with 1, whatever the error's code is
        # how pytest shows one message and no traceback
        raise pytest.Collector.CollectError(options.told_error(error)) from error


def _item_id(one: Case, epochs: int) -> str:
    return f"{one.name}#{one.epoch}" if epochs > 1 else one.name
