"""Causes planted in real servers are the causes that the explanation names."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from support.calibrated_engine import Calibration
from support.calibrated_server import CalibratedServer, Serve, calibrated_servers
from support.serving_findings import finding

from pytest_llmbench.autotune.document import Finding
from pytest_llmbench.load.client import ChatServer
from pytest_llmbench.load.conversations import Conversation, Conversations
from pytest_llmbench.load.records import SLO
from pytest_llmbench.load.trial import LoadTest, TrialLimits
from pytest_llmbench.load.users import Habits
from pytest_llmbench.reports.serving.explanation_words import explain

LONG = " ".join(["mot"] * 100)
ANY_CLIENT = {"max_loop_lag_s": 9.0, "max_client_cpu": 9.0}  # the machine that tests run on is seldom free


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    monkeypatch.delenv("LLMBENCH_API_KEY", raising=False)
    with calibrated_servers() as start:
        yield start


def explained(
    server: CalibratedServer, levels: Sequence[int], limit_s: float, prompt: str = "bonjour", **asked: Any
) -> dict[str, Any]:
    """The explanation of trials at these levels; no verdict ends one early."""

    async def run() -> dict[str, Any]:
        slo = SLO(0.9, limit_s)
        talk = Conversations([Conversation((f"{prompt} {number}",)) for number in range(200)])
        limits = TrialLimits(warm_up_s=0.1, drain_s=20.0, error_rate=0.0, **ANY_CLIENT)
        async with LoadTest(
            ChatServer.at(server.url, **asked), talk, Habits("staggered", 1, 0, 0.05), slo, limits
        ) as load:
            trials = [await load.trial(level, max(6, 2 * level)) for level in levels]
        return explain(Finding.model_validate(finding(trials, slo, 40))).json_ready()

    return asyncio.run(run())


def test_few_slots_with_a_fast_decoding_are_named_and_counted(serve: Serve) -> None:
    server = serve(Calibration(slots=3, full_speed=3), scale=4.0, answer_tokens=40)
    found = explained(server, (1, 12, 14), limit_s=0.25)
    assert found["cause"] == "slots", found
    assert found["evidence"]["slots"] == 3
    assert "writes 3 at a time" in found["sentences"]["en"][0]


def test_long_prompts_are_named_though_slots_are_free(serve: Serve) -> None:
    server = serve(Calibration(slots=40, full_speed=40, prefill_tokens_per_s=500), scale=4.0, answer_tokens=4)
    found = explained(server, (1, 10, 12), limit_s=0.25, prompt=LONG)
    assert found["cause"] == "prefill", found


def test_decoding_that_is_shared_is_named(serve: Serve) -> None:
    server = serve(Calibration(slots=40, full_speed=1), scale=4.0, answer_tokens=20)
    found = explained(server, (1, 12, 14), limit_s=0.3)
    assert found["cause"] == "decode", found
    assert found["evidence"]["gap_s"] > 3 * found["evidence"]["gap_low_s"]


def test_errors_above_a_level_are_named_with_their_text(serve: Serve) -> None:
    server = serve(answer_tokens=60)
    server.fault = lambda _: 429 if server.open > 2 else None
    found = explained(server, (1, 10, 12), limit_s=1.0)
    assert found["cause"] == "errors", found
    assert found["evidence"]["error"] == "HTTP 429: calibrated refusal"
