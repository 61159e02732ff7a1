"""The fixtures that tests are written with: a case and its answers, a server's limits, its context, a training.

`case` and `answers` are short for `llmbench_case` and `llmbench_answers`, where nobody has fixtures of these names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import pytest

from pytest_llmbench.plugin.benchmark_session import BENCHMARK
from pytest_llmbench.plugin.context_session import ServerContext, context_of
from pytest_llmbench.plugin.finetune_session import ShortTraining, start_training
from pytest_llmbench.plugin.selection import require_asked
from pytest_llmbench.plugin.server_limits import ServerLimits, limits_of
from pytest_llmbench.plugin.session import SESSION, ending

if TYPE_CHECKING:
    from pytest_llmbench.benchmark.main_job import Answers
    from pytest_llmbench.cases.suites import Case
    from pytest_llmbench.core.settings import Settings
    from pytest_llmbench.generation.backend import Backend

ANSWERS = pytest.StashKey["Answers"]()


@pytest.fixture(scope="session")
def llmbench_settings(request: pytest.FixtureRequest) -> Settings:
    """The settings of this session: command line over environment over file over defaults."""
    with ending(request.session):
        return request.config.stash[SESSION].settings


@pytest.fixture(scope="session")
def llmbench_backend(request: pytest.FixtureRequest) -> Backend:
    """Who answers, loaded once: `complete(cases, variant)` yields completions."""
    require_asked(request)
    with ending(request.session):
        return request.config.stash[BENCHMARK].benchmark.backend


@pytest.fixture(scope="session")
def llmbench_cases(request: pytest.FixtureRequest) -> Sequence[Case]:
    """Every case of the suites, whatever was selected."""
    with ending(request.session):
        return request.config.stash[SESSION].cases


@pytest.fixture
def llmbench_case(request: pytest.FixtureRequest) -> Case:
    """One case of the suites; a test that asks for it becomes one item a case."""
    selected: Case = request.param
    return selected


@pytest.fixture
def llmbench_answers(llmbench_case: Case, request: pytest.FixtureRequest) -> Answers:
    """What base and fine-tune answered to `llmbench_case`, and the scores; its `check()` holds `expect:`."""
    return _answers(llmbench_case, "llmbench_case", request)


@pytest.fixture
def server_limits(request: pytest.FixtureRequest) -> ServerLimits:
    """Asks how much the live server holds: `await server_limits.max_users()`; one item a target where several are."""
    require_asked(request)
    with ending(request.session):
        return limits_of(request)


@pytest.fixture
def server_context(request: pytest.FixtureRequest) -> ServerContext:
    """Asks how long a context the live server holds: `server_context.accepted()`, `.in_time()`, `.right()`."""
    require_asked(request)
    with ending(request.session):
        return context_of(request)


@pytest.fixture(scope="session")
def short_training(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ShortTraining:
    """A short real LoRA training, done once: `short_training.check_loss()` and more; `.proof` has the figures."""
    require_asked(request)
    return start_training(request, tmp_path_factory)


class _ShortCase:
    @pytest.fixture
    def case(self, llmbench_case: Case) -> Case:
        """`llmbench_case` by a shorter name."""
        return llmbench_case


class _ShortAnswers:
    @pytest.fixture
    def answers(self, case: Case, request: pytest.FixtureRequest) -> Answers:
        """`llmbench_answers` by a shorter name: the answers to `case`."""
        return _answers(case, "case", request)


SHORT_NAMES: Mapping[str, type] = {"case": _ShortCase, "answers": _ShortAnswers}
"""Plugins, each with the fixture of this name; registered where nobody else has one."""


def _answers(asked: object, fixture: str, request: pytest.FixtureRequest) -> Answers:
    from pytest_llmbench.cases.suites import Case

    require_asked(request)
    if not isinstance(asked, Case):
        pytest.fail(_no_case(asked, fixture, request), pytrace=False)
    with ending(request.session):
        given = request.config.stash[BENCHMARK].answers(asked)
    request.node.stash[ANSWERS] = given
    return given


def _no_case(given: object, fixture: str, request: pytest.FixtureRequest) -> str:
    """Why there are no answers: a fixture or parameter of the user's own has the place of ours."""
    message = (
        f"'{request.fixturename}' of pytest-llmbench answers a case of the suites, but '{fixture}' is one of your own "
        f"here, a {type(given).__name__}: {given!r:.60}"
    )
    if fixture == "case":
        return f"{message}\nwrite llmbench_case and llmbench_answers, names that nobody else has"
    return f"{message}\ngive it another name, or let it return a pytest_llmbench.api.Case"
