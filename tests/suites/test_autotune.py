"""What a user runs, copies and extends: the limits of a live server, `pytest -m autotune --llmbench-server URL`."""

import pytest

from pytest_llmbench.api import ServerLimits

pytestmark = [pytest.mark.autotune, pytest.mark.asyncio]


async def test_max_concurrent_users(server_limits: ServerLimits) -> None:
    """The most people who get their answers in time; `--llmbench-require-users N` makes it a gate."""
    server_limits.check(await server_limits.max_users())


async def test_max_history(server_limits: ServerLimits) -> None:
    """The most earlier messages that can be sent along."""
    await server_limits.max_history()


async def test_max_tokens(server_limits: ServerLimits) -> None:
    """The longest answers that still come in time, and the share of answers that is cut off there."""
    await server_limits.max_tokens()


async def test_temperature(server_limits: ServerLimits) -> None:
    """The temperature whose answers are best, by the metrics of the main job."""
    await server_limits.temperature()
