"""The fixtures that a benchmark test is written with: `case`, `answers`, and what they stand on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

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
