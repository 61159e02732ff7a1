"""Chunks: items that stand for many cases of a large suite, each case a subtest of pytest 9.

What depends on the case (`llmbench_answers`, and fixtures of users that ask for it) is made anew for each case, what
does not is made once a chunk. A case that passes costs no report of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from _pytest.skipping import xfailed_key

from pytest_llmbench.plugin.benchmark_session import BENCHMARK
from pytest_llmbench.plugin.fixtures import ANSWERS
from pytest_llmbench.plugin.session import ending

if TYPE_CHECKING:
    from pytest_llmbench.benchmark.main_job import Answers
    from pytest_llmbench.cases.case_list import Chunk
    from pytest_llmbench.cases.suites import Case
    from pytest_llmbench.core.records import CaseResult

FIXTURE = "llmbench_case"
_RUNNING = pytest.StashKey["Chunk"]()
_ONE_CASE = pytest.StashKey[bool]()
LEFT_OUT = pytest.StashKey[list[tuple[str, int]]]()
"""Name and epoch of those cases of a chunk that were skipped before they asked for an answer."""


def is_in_chunk(item: pytest.Item) -> bool:
    """Whether what is reported now is one case of a chunk, of which the chunk's own report tells."""
    return _ONE_CASE in item.stash


def chunk_of(item: pytest.Item) -> Chunk | None:
    """The chunk that an item stands for, None where it stands for a case or for none."""
    given = getattr(item, "callspec", None)
    found = given.params.get(FIXTURE) if given else None
    from pytest_llmbench.cases.case_list import Chunk

    return found if isinstance(found, Chunk) else None


def planned_of(item: pytest.Item) -> tuple[str, int, int] | None:
    """What an item stands for, as plain data: name and epoch of its case, or name of its chunk, and how many cases."""
    given = getattr(item, "callspec", None)
    if given is None or FIXTURE not in given.params:
        return None
    from pytest_llmbench.cases.suites import Case

    if (chunk := chunk_of(item)) is not None:
        return chunk.name, 0, len(chunk.places)
    case = given.params[FIXTURE]
    return (case.name, case.epoch, 1) if isinstance(case, Case) else None  # users' tests may have other parameters


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Leave what depends on the case to the single cases."""
    if isinstance(item, pytest.Function) and FIXTURE in item.fixturenames and (chunk := chunk_of(item)):
        item.stash[_RUNNING] = chunk
        item.funcargs.update(dict.fromkeys(_by_case(item)))


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> object:
    """Call the test for each case of its chunk; the call for one case is everybody else's."""
    if _RUNNING not in pyfuncitem.stash or _ONE_CASE in pyfuncitem.stash:
        return None
    chunk, params = pyfuncitem.stash[_RUNNING], pyfuncitem.callspec.params
    subtests = pyfuncitem._request.getfixturevalue("subtests")  # noqa: SLF001  # a test need not ask for it
    benchmark = pyfuncitem.config.stash[BENCHMARK]
    results: list[CaseResult] = []
    with ending(pyfuncitem.session):
        cases = list(chunk.cases)
        benchmark.plan_chunk(cases)
    try:
        pyfuncitem.stash[_ONE_CASE] = True
        for case in cases:
            params[FIXTURE] = case
            _run(pyfuncitem, case, subtests, results)
    finally:
        del pyfuncitem.stash[_ONE_CASE]
        params[FIXTURE] = chunk
        with ending(pyfuncitem.session):
            benchmark.keep_results(chunk, results)
    return True


def _run(item: pytest.Function, case: Case, subtests: Any, results: list[CaseResult]) -> None:
    """Run the test for the case that its parameters hold; its record joins the results, where it was answered."""
    from pytest_llmbench.benchmark.main_job import case_result

    outcome = _Outcome(item, subtests, case.name + (f"#{case.epoch}" if case.epoch else ""))
    item._initrequest()  # noqa: SLF001  # as plugins do that run a test again: fixtures are looked up anew
    try:
        with outcome:
            item._request._fillfixtures()  # noqa: SLF001
            item.ihook.pytest_pyfunc_call(pyfuncitem=item)
    finally:  # with -x the subtest lets its failure through
        if outcome.skipped and outcome.answers is None:
            item.stash.setdefault(LEFT_OUT, []).append((case.name, case.epoch))
        if outcome.answers is not None:
            results.append(case_result(outcome.answers, outcome="failed" if outcome.failed else "passed"))


class _Outcome:
    """Turns what is raised in the block into a subtest that failed or was skipped; nothing else becomes one.

    `answers` are those that the case was given, None where it asked for none, or was still under way.
    """

    def __init__(self, item: pytest.Item, subtests: Any, name: str) -> None:
        self._item, self._subtests, self._name = item, subtests, name
        self.answers: Answers | None = None
        self.failed = self.skipped = False

    def __enter__(self) -> None:
        """Nothing is made before something is raised."""

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> bool:
        __tracebackhide__ = True
        answers = self._item.stash.get(ANSWERS, None)
        if answers is not None:
            del self._item.stash[ANSWERS]  # else the report of this item would carry the record of one case
        if isinstance(error, KeyboardInterrupt | pytest.exit.Exception):
            return False  # what ends the session is no failure of the case
        self.answers = answers
        if error is None:
            return False
        self.skipped = isinstance(error, pytest.skip.Exception)
        self.failed = not (self.skipped or _expected(self._item, error))
        with self._subtests.test(self._name):
            _raise(error)
        return True


def _expected(item: pytest.Item, error: BaseException) -> bool:
    """Whether the test says itself that it fails, by `pytest.xfail()` or its mark: that is no failure to pytest."""
    if isinstance(error, pytest.xfail.Exception):
        return True
    mark = item.stash.get(xfailed_key, None)
    raises = () if mark is None or item.config.option.runxfail else mark.raises
    return raises is None or (isinstance(raises, type | tuple) and isinstance(error, raises))


def _raise(error: BaseException) -> None:
    __tracebackhide__ = True
    raise error


def _by_case(item: pytest.Function) -> set[str]:
    """The fixtures of an item that depend on its case."""
    definitions = item._fixtureinfo.name2fixturedefs  # noqa: SLF001  # there is no public way to ask
    found = {FIXTURE}
    while more := {
        name
        for name, known in definitions.items()
        if name not in found and any(not found.isdisjoint(one.argnames) for one in known)
    }:
        found |= more
    return found & {*item.fixturenames}
