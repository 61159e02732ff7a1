"""As little as can be written with aiohttp: so many loops, each event parsed, no more.

usage: python load_bare_aiohttp.py URL USERS REQUESTS

Prints the times to first token, in seconds, as JSON.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
import time

import aiohttp

_WORDS = "Allume la lumière du salon et dis-moi quelle heure il est, s'il te plaît, puis monte un peu le son, merci."


async def main(url: str, users: int, requests: int) -> None:
    """Ask in `users` loops until so many requests were made."""
    first_s, numbers = list[float](), itertools.count()

    async def user(session: aiohttp.ClientSession) -> None:
        while (number := next(numbers)) < requests:
            body = {
                "model": "known-latency",
                "messages": [{"role": "user", "content": f"{number} {_WORDS}"}],
                "max_tokens": 20,
                "stream": True,
                "stream_options": {"include_usage": True},
            }
            first_at, started = None, time.monotonic()
            async with session.post(f"{url}/v1/chat/completions", json=body) as response:
                async for line in response.content:
                    if line.startswith(b"data: {"):
                        event = json.loads(line[6:])
                        if first_at is None and event["choices"] and event["choices"][0]["delta"].get("content"):
                            first_at = time.monotonic()
            assert first_at is not None
            first_s.append(first_at - started)

    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=users)) as session,
        asyncio.TaskGroup() as all_,
    ):
        for _ in range(users):
            all_.create_task(user(session))
    print(json.dumps({"first_s": first_s}))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
