"""The fixtures that tests are written with: `case`, `answers`, `server_limits`, `short_training`, and their ground."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_llmbench.finetune_session import ShortTraining, start_training
from pytest_llmbench.server_limits import ServerLimits, limits_of
from pytest_llmbench.session import SESSION, ending

if TYPE_CHECKING:
    from pytest_llmbench.benchmark import Answers
    from pytest_llmbench.cases import Case
    from pytest_llmbench.generation.backend import Backend
    from pytest_llmbench.settings import Settings

ANSWERS = pytest.StashKey["Answers"]()


@pytest.fixture(scope="session")
def llmbench_settings(request: pytest.FixtureRequest) -> Settings:
    """The settings of this session: command line over environment over file over defaults."""
    with ending(request.session):
        return request.config.stash[SESSION].settings


@pytest.fixture(scope="session")
def llmbench_backend(request: pytest.FixtureRequest) -> Backend:
    """Who answers, loaded once: `complete(cases, variant)` yields completions."""
    with ending(request.session):
        return request.config.stash[SESSION].benchmark.backend


@pytest.fixture(scope="session")
def llmbench_cases(request: pytest.FixtureRequest) -> list[Case]:
    """Every case of the suites, whatever was selected."""
    with ending(request.session):
        return request.config.stash[SESSION].cases


@pytest.fixture
def case(request: pytest.FixtureRequest) -> Case:
    """One case of the suites; a test that asks for it becomes one item a case."""
    selected: Case = request.param
    return selected


@pytest.fixture
def answers(case: Case, request: pytest.FixtureRequest) -> Answers:
    """What the base and the fine-tune answered to `case`, and the scores; `answers.check()` holds `expect:`."""
    with ending(request.session):
        given = request.config.stash[SESSION].answers(case)
    request.node.stash[ANSWERS] = given
    return given


@pytest.fixture
def server_limits(request: pytest.FixtureRequest) -> ServerLimits:
    """Asks how much the live server holds: `await server_limits.max_users()`; one item a target where several are."""
    with ending(request.session):
        return limits_of(request)


@pytest.fixture(scope="session")
def short_training(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ShortTraining:
    """A short real LoRA training, done once: `short_training.check_loss()` and more; `.proof` has the figures."""
    return start_training(request, tmp_path_factory)
