"""The server holds as many users as are required."""

import pytest

from pytest_llmbench.api import ServerLimits


@pytest.mark.autotune
@pytest.mark.asyncio
async def test_users(server_limits: ServerLimits) -> None:
    server_limits.check(await server_limits.max_users())
