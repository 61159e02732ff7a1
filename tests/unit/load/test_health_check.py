from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterator

import pytest
from support.calibrated_engine import Calibration
from support.calibrated_server import CalibratedServer, Serve, calibrated_servers

from pytest_llmbench.core.errors import ServerError
from pytest_llmbench.generation.client.chat_client import ChatClient
from pytest_llmbench.load.health_check import IdleWatch, busy_requests


@pytest.fixture
def serve() -> Iterator[Serve]:
    with calibrated_servers() as start:
        yield start


@pytest.mark.parametrize(
    ("page", "busy"),
    [
        ("llamacpp:requests_processing 2\nllamacpp:requests_deferred 3\nllamacpp:n_decode_total 99\n", 5),
        ('vllm:num_requests_running{model_name="a b",e="{0}"} 1.0\nvllm:num_requests_waiting{e="0"} 0.0 17000\n', 1),
        ("# TYPE sglang:num_running_reqs gauge\nsglang:num_running_reqs 0\nsglang:num_queue_reqs 0.0\n", 0),
        ("process_cpu_seconds_total 3\n", None),
        ("<html>", None),
    ],
)
def test_the_requests_at_work_are_read_from_the_metrics_of_known_servers(page: str, busy: float | None) -> None:
    assert busy_requests(page) == busy


def test_a_gauge_that_is_no_number_never_says_idle() -> None:
    assert math.isnan(busy_requests("llamacpp:requests_processing x") or 0)


def drained(server: CalibratedServer, tokens: int, longest_s: float) -> tuple[float | None, int]:
    """What the watch says after somebody left such a long answer, and how much the server then still had to do."""

    async def run() -> tuple[float | None, int]:
        control = ChatClient(server.url, {"Connection": "close"}, 1, 5.0, 0)
        hasty = ChatClient(server.url, {}, 1, 0.2, 0)
        try:
            watch = await IdleWatch.of(control, {"model": "calibrated"}, 5.0)
            question = [{"role": "user", "content": "raconte"}]
            left = await hasty.ask({"model": "calibrated", "messages": question, "max_tokens": tokens, "stream": True})
            assert (left.finish, server.busy) == ("timeout", 1)
            return await watch.wait(longest_s), server.busy
        finally:
            await control.close()
            await hasty.close()

    return asyncio.run(run())


@pytest.mark.parametrize("metrics", ["llama.cpp", "vllm", None])
def test_it_waits_until_abandoned_work_is_done(serve: Serve, metrics: str | None) -> None:
    stubborn = Calibration(slots=1, aborts_free_slots=False)
    idle_after_s, busy = drained(serve(stubborn, metrics=metrics, answer_tokens=10**6), tokens=500, longest_s=20.0)
    assert idle_after_s is not None
    assert busy == 0


@pytest.mark.parametrize("metrics", ["llama.cpp", None])
def test_a_server_that_never_becomes_idle_is_not_waited_for_longer_than_allowed(
    serve: Serve, metrics: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    stubborn = Calibration(slots=1, aborts_free_slots=False)
    begun = time.monotonic()
    server = serve(stubborn, metrics=metrics, answer_tokens=10**6)
    idle_after_s, busy = drained(server, tokens=10**6, longest_s=0.3)
    assert idle_after_s is None
    assert busy >= 1
    assert time.monotonic() - begun >= 0.3
    assert "still at work 0.3 s after the load ended" in caplog.text


def test_a_server_that_refuses_its_first_question_cannot_be_watched(serve: Serve) -> None:
    server = serve(metrics=None, fault=lambda _: 500)
    with pytest.raises(ServerError, match=r"a first question failed \(HTTP 500"):
        drained(server, 1, 1.0)
