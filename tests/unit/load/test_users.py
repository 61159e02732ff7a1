"""Who comes when and says what, as the calibrated server sees it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import Iterator
from typing import Any

import pytest
from support.calibrated_engine import Calibration
from support.calibrated_server import CalibratedServer, Serve, calibrated_servers

from pytest_llmbench.core.errors import UsageError
from pytest_llmbench.load.client import AddressBook, Call, ChatServer, UserConnection
from pytest_llmbench.load.conversations import Conversation, Conversations
from pytest_llmbench.load.users import Crowd, Habits


@pytest.fixture
def serve() -> Iterator[Serve]:
    with calibrated_servers() as start:
        yield start


TALK = [Conversation((f"bonjour {number}", f"et {number}", f"merci {number}"), "Réponds.") for number in range(7)]


def live(server: CalibratedServer, level: float, calls: int, cycle_s: float = 0.1, **habits: Any) -> list[Call]:
    """What a crowd asked until it had asked so much."""

    async def run() -> list[Call]:
        book, target = AddressBook(), ChatServer.at(server.url, body={"model": "calibrated"})
        crowd = Crowd(
            lambda: UserConnection(target, book),
            Habits(**{"cooldown_s": 0.01, **habits}),
            Conversations(TALK),
            cycle_s,
        )
        living = asyncio.create_task(crowd.live(level))
        async with asyncio.timeout(10):
            while len(crowd.calls) < calls and not living.done():  # noqa: ASYNC110  # the crowd signals nothing
                await asyncio.sleep(0.002)
        living.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await living
        return crowd.calls

    return asyncio.run(run())


def test_staggered_users_are_spread_over_a_cycle(serve: Serve) -> None:
    begun = time.monotonic()
    calls = live(serve(), level=5, calls=5, cycle_s=0.25, cooldown_s=5.0)
    assert [call.user for call in calls] == [0, 1, 2, 3, 4]
    assert all(call.started - begun >= place * 0.25 / 5 for place, call in enumerate(calls))


def test_a_burst_asks_all_at_once_and_begins_again_all_at_once(serve: Serve) -> None:
    server = serve(Calibration(slots=1), answer_tokens=50)
    calls = live(server, level=4, calls=10, arrivals="burst", messages=2, jitter=0)
    assert server.most_open == 4
    last_of_round = max(call.ended or 0.0 for call in calls if call.message == 1)
    assert min(call.started for call in calls if call.message == 2) >= last_of_round


def test_no_more_connections_than_users(serve: Serve) -> None:
    server = serve()
    live(server, level=6, calls=60, cycle_s=0.02, cooldown_s=0.0)
    assert server.most_connected <= 6
    assert len(server.connections) <= 6


@pytest.mark.parametrize(
    ("history", "roles"),
    [
        (4, ["s u", "s u a u", "s u a u a u", "s u a u a u"]),
        (3, ["s u", "s u a u", "s u a u", "s u a u"]),  # a history never begins with an answer
        (0, ["s u", "s u", "s u", "s u"]),
    ],
)
def test_a_message_carries_the_last_ones_of_its_conversation(serve: Serve, history: int, roles: list[str]) -> None:
    server = serve(answer_tokens=2)
    live(server, 1, 6, arrivals="burst", messages=4, history=history)
    bodies = [seen.body["messages"] for seen in server.served]
    assert [" ".join(message["role"][0] for message in messages) for messages in bodies[:4]] == roles
    assert len(bodies[4]) == 2  # the next conversation knows nothing of this one
    if history == 4:
        assert bodies[1][2] == {"role": "assistant", "content": "t0 t1 "}
        assert bodies[3][1:] == [*bodies[2][3:], {"role": "assistant", "content": "t0 t1 "}, bodies[3][-1]]


def test_a_failed_message_is_not_in_the_history_and_gives_a_pause(serve: Serve) -> None:
    server = serve(fault=lambda number: 500 if number == 0 else None)
    first, second, *_ = live(server, 1, 3, arrivals="burst", cooldown_s=0.0)
    assert len(server.served[1].body["messages"]) == 2
    assert second.started - (first.ended or 0.0) >= 0.24


def test_visitors_come_at_the_rate_they_were_asked_for(serve: Serve) -> None:
    server = serve(Calibration(slots=100, full_speed=100), answer_tokens=1)
    calls = live(server, level=300.0, calls=200, arrivals="poisson")
    gaps = [later.started - sooner.started for sooner, later in itertools.pairwise(calls)]
    rate = len(gaps) / sum(gaps)
    assert 150 < rate < 600
    assert len({call.user for call in calls}) == len(calls)
    assert len(server.connections) < len(calls)  # visitors take over the connections of those who left


def test_visitors_do_not_wait_for_a_slow_server(serve: Serve) -> None:
    server = serve(Calibration(slots=1), answer_tokens=100_000)
    assert len(live(server, level=300.0, calls=20, arrivals="poisson")) >= 20


@pytest.mark.parametrize("wrong", [{"messages": 0}, {"history": -1}, {"cooldown_s": -1}, {"jitter": 2}])
def test_habits_that_no_person_can_have_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        Habits(**wrong)


@pytest.mark.parametrize(("since_the_end_s", "pause_s"), [(0.0, 2.0), (1.5, 0.5)])
def test_people_cool_down_from_an_answers_end_however_long_its_stream_stays_open(
    since_the_end_s: float, pause_s: float
) -> None:
    habits = Habits(cooldown_s=2.0, jitter=0.0)
    crowd = Crowd(lambda: pytest.fail("nobody is asked"), habits, Conversations(TALK), 1.0)
    call = Call(0, 0)
    call.end("stop", at=100.0)
    assert crowd.pause_s(call, 100.0 + since_the_end_s) == pause_s
