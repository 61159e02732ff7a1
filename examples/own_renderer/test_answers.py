"""Every case of the suites, answered by both sides."""

import pytest

from pytest_llmbench.api import Answers


@pytest.mark.benchmark
def test_case(llmbench_answers: Answers) -> None:
    llmbench_answers.check()
