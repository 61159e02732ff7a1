"""What users run, copy and extend: how long a context a server holds, `pytest -m context --llmbench-server URL`."""

import pytest

from pytest_llmbench.api import ServerContext

pytestmark = pytest.mark.context


def test_longest_prompt_that_is_accepted(server_context: ServerContext) -> None:
    """To the token. `--llmbench-require-context N` makes each of these a gate."""
    server_context.accepted()


def test_longest_prompt_that_is_answered_in_time(server_context: ServerContext) -> None:
    """Within `load.latency`, as often as `load.quantile` says."""
    server_context.in_time()


def test_longest_prompt_that_is_answered_right(server_context: ServerContext) -> None:
    """No fewer of the hidden facts are found than in the shortest prompt."""
    server_context.right()
