"""What a user runs, copies and extends: every case of the suites, answered by the base and by its fine-tune."""

import pytest

from pytest_llmbench.api import Answers


@pytest.mark.benchmark
def test_case(llmbench_answers: Answers) -> None:
    """The case's `expect:` holds; without one, the answer is recorded and scored."""
    llmbench_answers.check()
