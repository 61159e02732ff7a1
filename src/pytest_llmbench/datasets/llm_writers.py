"""Asking a live OpenAI-compatible server to write rows; every answer is on disk before the next is waited for."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pytest_llmbench.core.journal import Journal
from pytest_llmbench.datasets.llm_prompts import Assignment

_TIMEOUT_S = 120.0
_OPEN_TIMEOUT_S = 10.0
_RETRIES = 3
_MOST_TOKENS = 2048
_SEED_BITS = 0x7FFFFFFF


class AnswerJournal:
    """Answers by the question they belong to, one JSON line each. A line that a crash cut off is asked again."""

    def __init__(self, path: Path) -> None:
        self._lines = Journal(path)
        self._answers: dict[str, str] = {}
        for line in self._lines.unread():
            with contextlib.suppress(ValueError, KeyError, TypeError):
                data = json.loads(line)
                self._answers[data["key"]] = data["answer"]

    def get(self, key: str) -> str | None:
        """The answer of this key, if it was given."""
        return self._answers.get(key)

    def add(self, key: str, answer: str) -> None:
        """Append an answer. Raises NotReadyError when the disk refuses."""
        self._lines.append({"key": key, "answer": answer})
        self._answers[key] = answer


def ask_all(
    assignments: Sequence[Assignment],
    *,
    url: str,
    model: str | None,
    key: str,
    seed: int,
    journal: AnswerJournal,
    concurrency: int,
    on_answer: Callable[[], None],
) -> list[str | None]:
    """The server's answer to each assignment; None where it failed. What the journal holds is not asked again.

    `model` may be left out where the server serves one. `key` is the server's, empty when it wants none.

    Raises:
        ServerError: nobody answers there, or key or model are refused; what was answered before is in the journal.
        UsageError: the URL is none.
        NotReadyError: the disk is full.
    """
    from pytest_llmbench.generation.client.background_loop import BackgroundLoop
    from pytest_llmbench.generation.client.server_address import api_url, request_headers

    loop = BackgroundLoop()
    try:
        session = _Session(api_url(url), request_headers({}, key), seed, journal, on_answer)
        return loop.run(session.ask_all(assignments, model, concurrency))
    finally:
        loop.close()


class _Session:
    def __init__(
        self, url: str, headers: dict[str, str], seed: int, journal: AnswerJournal, on_answer: Callable[[], None]
    ) -> None:
        self._url = url
        self._headers = headers
        self._seed = seed
        self._journal = journal
        self._on_answer = on_answer

    async def ask_all(self, assignments: Sequence[Assignment], model: str | None, concurrency: int) -> list[str | None]:
        from pytest_llmbench.generation.client.chat_client import ChatClient

        client = ChatClient(self._url, self._headers, concurrency, _TIMEOUT_S, _RETRIES)
        answers: list[str | None] = [None] * len(assignments)
        waiting = iter(enumerate(assignments))
        try:
            name = await self._model(client, model)

            async def keep_a_slot_busy() -> None:
                for place, assignment in waiting:
                    answers[place] = await self._answer(client, assignment, name)

            async with asyncio.TaskGroup() as slots:
                for _ in range(concurrency):
                    slots.create_task(keep_a_slot_busy())
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from failures
        finally:
            await client.close()
        return answers

    async def _model(self, client: Any, model: str | None) -> str:
        from pytest_llmbench.generation.client.served_models import VariantTarget, with_models
        from pytest_llmbench.generation.client.server_pages import engine_behind, reach

        reached = await reach(client, _OPEN_TIMEOUT_S, named=model is not None)
        engine, wanted = await engine_behind(client, reached), {"base": VariantTarget(model, {})}
        target = with_models(wanted, reached.models, reached.url, all_listed=engine.lists_all)["base"]
        return str(target.model)

    async def _answer(self, client: Any, assignment: Assignment, model: str) -> str | None:
        body = {"model": model, "messages": assignment.messages, "temperature": 0.7, "max_tokens": _MOST_TOKENS}
        digest = hashlib.sha256(json.dumps([self._seed, body], sort_keys=True).encode())
        key = digest.hexdigest()
        text = self._journal.get(key)
        if text is None:
            seed = int.from_bytes(digest.digest()[:4]) & _SEED_BITS
            reply = await client.ask({**body, "seed": seed, "stream": False})
            text = reply.text if reply.finish == "stop" else None
            if text is not None:
                self._journal.add(key, text)
        self._on_answer()
        return text
