"""Trials whose users live in two processes, against the calibrated server."""

from __future__ import annotations

import asyncio
import itertools
import logging
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, cast

import pytest
from support.calibrated_engine import Calibration
from support.calibrated_server import CalibratedServer, Serve, calibrated_servers

from pytest_llmbench.core.errors import ServerError, UsageError
from pytest_llmbench.load import worker
from pytest_llmbench.load.client import ChatServer
from pytest_llmbench.load.conversations import Conversation, Conversations
from pytest_llmbench.load.records import SLO, Trial
from pytest_llmbench.load.trial import LoadTest, TrialLimits
from pytest_llmbench.load.users import Habits, UserShare
from pytest_llmbench.load.worker import Live, WorkerReport
from pytest_llmbench.load.workers import SharedCrowd


@pytest.fixture
def serve() -> Iterator[Serve]:
    with calibrated_servers() as start:
        yield start


@pytest.fixture(autouse=True)
def _no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LLMBENCH_API_KEY", raising=False)


TALK = [Conversation((f"bonjour {number}", f"et {number}", f"merci {number}")) for number in range(5)]
PLENTY = Calibration(slots=64, full_speed=64)


def trials(
    server: CalibratedServer,
    *plans: tuple[float, int],
    habits: Habits | None = None,
    slo: SLO | None = None,
    processes: int | Literal["auto"] = 2,
    between: Callable[[LoadTest], None] = lambda _: None,
    meanwhile: Callable[[], None] = lambda: None,
    **limits: Any,
) -> list[Trial]:
    async def run() -> list[Trial]:
        any_client = {"max_loop_lag_s": 9.0, "max_client_cpu": 9.0}  # the machine that tests run on is seldom free
        chosen = TrialLimits(**{"error_rate": 0.0, "warm_up_s": 0.0, "drain_s": 10.0, **any_client, **limits})
        people = habits or Habits(cooldown_s=0.02)
        done = []
        async with LoadTest(
            ChatServer.at(server.url), Conversations(TALK), people, slo or SLO(0.9, 2.0), chosen, processes
        ) as load:
            for level, requests in plans:
                asyncio.get_running_loop().call_later(0.1, meanwhile)
                done.append(await load.trial(level, requests))
                between(load)
        return done

    return asyncio.run(run())


def test_users_of_all_processes_are_one_crowd_that_never_says_the_same_twice(serve: Serve) -> None:
    server = serve(PLENTY)
    first, second = trials(server, (5, 40), (5, 40), slo=SLO(0.9, 0.3), warm_up_s=0.5)
    for trial in (first, second):
        assert trial.processes == 2
        assert {request.user for request in trial.requests} == {0, 1, 2, 3, 4}
        assert trial.client_cpu > 0
        starts = [request.started_s for request in trial.requests]
        assert starts == sorted(starts)
        assert all(request.tokens == 8 and len(request.gaps_s) == 7 for request in trial.requests)
    openings = [seen.prompt for seen in server.served if len(seen.body["messages"]) == 1]
    assert len(set(openings)) == len(openings)
    assert first.sent + second.sent == len(server.served)
    assert server.most_connected <= 5 + 1  # the users, and who looks at /metrics
    assert server.busy == 0


def test_a_burst_over_processes_begins_and_goes_on_together(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "signal.py").write_text("")  # a file of the user's is no module of ours
    monkeypatch.chdir(tmp_path)
    habits = Habits("burst", messages=2, cooldown_s=0.0, jitter=0)
    [trial] = trials(serve(Calibration(slots=1), answer_tokens=40), (4, 20), habits=habits)
    rounds = [
        [request for request in trial.requests if request.message // 2 == number]
        for number in range(max(request.message for request in trial.requests) // 2)
    ]
    assert len(rounds) >= 2
    for earlier, later in itertools.pairwise(rounds):
        assert max(request.ended_s for request in earlier) <= min(request.started_s for request in later)


def test_visitors_of_all_processes_together_come_at_the_rate(serve: Serve) -> None:
    [trial] = trials(serve(PLENTY), (80.0, 100), habits=Habits("poisson"))
    assert len({request.user for request in trial.requests}) == 100
    assert 0.6 < trial.requests[-1].started_s < 2.5  # 100 at 80 a second


def test_processes_may_open_as_many_connections_as_visitors_who_are_not_answered_need(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    orders: list[Live] = []
    made = SharedCrowd._order

    def order(crowd: SharedCrowd, level: float, share: UserShare, starts_at: float) -> Live:
        orders.append(made(crowd, level, share, starts_at))
        return orders[-1]

    monkeypatch.setattr(SharedCrowd, "_order", order)
    trials(serve(PLENTY), (20.0, 10), habits=Habits("poisson"), slo=SLO(0.9, 0.4))
    assert [order.connections for order in orders] == [5 * 0.4] * 2
    asked: list[int] = []
    monkeypatch.setattr(worker, "allow_open_files", asked.append)
    with pytest.raises(AttributeError):  # there is nobody to live
        asyncio.run(worker._live(orders[0], *cast("Any", [None] * 3)))
    assert asked == [2 * 20 + 64]


def test_hung_streams_are_cut_off_in_all_processes(serve: Serve) -> None:
    server = serve(fault=lambda _: "hang")
    [trial] = trials(server, (12, 12), habits=Habits("burst"), slo=SLO(0.9, 0.4))
    assert {request.finish for request in trial.requests} == {"aborted"}
    assert all(request.first_token_s is not None for request in trial.requests)  # what had come is not lost
    assert (server.open, server.busy) == (0, 0)


def test_a_promise_on_the_first_token_is_judged_across_processes(serve: Serve) -> None:
    server = serve(Calibration(slots=50, full_speed=50, decode_tokens_per_s=10), answer_tokens=50)
    [trial] = trials(server, (10, 20), slo=SLO(0.9, 0.4, "first_token"))
    assert trial.reason.startswith("20 of 20 answers")
    assert all(request.latency_s > 0.4 for request in trial.requests)


def test_a_refused_key_ends_it_with_the_reason(serve: Serve) -> None:
    server = serve(fault=lambda number: 401 if number > 5 else None)
    with pytest.raises(ServerError, match="HTTP 401: calibrated refusal; "):
        trials(server, (4, 100))


def test_a_server_that_dies_makes_the_trial_invalid(serve: Serve) -> None:
    server = serve(PLENTY)
    [trial] = trials(server, (4, 10_000), meanwhile=server.close, drain_s=0.2)
    assert (trial.verdict, trial.idle_after_s) == ("invalid", None)
    assert "the server is gone: no connection" in trial.reason


def test_a_process_that_dies_makes_the_trial_invalid_and_the_next_one_starts_anew(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    kept: list[Any] = []

    def kill() -> None:
        if len(kept) == 1:
            kept[0].pop().kill()
            kept.append(None)

    def between(load: LoadTest) -> None:
        kept.append(list(load._workers._workers) if not kept else None)  # type: ignore[union-attr]

    before, broken, after = trials(serve(PLENTY), (4, 40), (4, 10_000), (4, 40), between=between, meanwhile=kill)
    assert [trial.verdict for trial in (before, broken, after)] == ["undecided", "invalid", "undecided"]
    assert broken.reason == "process 2 of 2 of the load generator died"
    assert broken.reason in caplog.text


class MadeUpWorker:
    """A process that is gone, or one that never says anything."""

    def __init__(self, *, gone: bool) -> None:
        self.alive, self._gone, self.killed = not gone, gone, False

    def send(self, order: object) -> None:
        pass

    async def report(self) -> WorkerReport:
        if self._gone:
            raise EOFError
        await asyncio.sleep(60)
        raise AssertionError("nobody waits so long")

    def kill(self) -> None:
        self.killed = True

    async def close(self) -> None:
        pass


def test_a_process_that_dies_beside_one_that_hangs_is_what_ended_the_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytest_llmbench.load.workers._STOP_S", 0.05)
    workers = [MadeUpWorker(gone=True), MadeUpWorker(gone=False)]
    crowd = SharedCrowd(workers, Conversations(TALK), ChatServer("http://h/v1", {}), Habits(), 1.0)
    asyncio.run(crowd.live(4))
    assert str(crowd.stopped) == "process 1 of 2 of the load generator died"
    assert [worker.killed for worker in workers] == [False, True]


def test_a_client_that_was_too_slow_goes_on_with_more_processes(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("pytest_llmbench.load.trial.usable_cores", lambda: 2)
    naps = iter([0.6])
    server = serve(PLENTY)
    slow, later = trials(
        server,
        *((4, 20), (4, 20)),
        meanwhile=lambda: time.sleep(next(naps, 0.0)),
        processes="auto",
        max_loop_lag_s=0.25,
    )
    assert [(trial.verdict, trial.processes) for trial in (slow, later)] == [("undecided", 2)] * 2
    assert slow.sent + later.sent == len(server.served)  # the first try is paid for too
    warned = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert [record.getMessage() for record in warned] == [
        "the load generator was too slow: it goes on with 2 processes"
    ]


def test_with_no_more_cores_a_slow_client_stays_invalid(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytest_llmbench.load.trial.usable_cores", lambda: 1)
    [trial] = trials(serve(PLENTY), (4, 20), processes="auto", max_client_cpu=1e-6)
    assert (trial.verdict, trial.processes) == ("invalid", 1)


def test_processes_end_with_the_one_that_started_them_however_it_ends() -> None:
    program = (
        "import asyncio\n"
        "from pytest_llmbench.load.conversations import Conversation, Conversations\n"
        "from pytest_llmbench.load.workers import ThisMachine, WorkerProcesses\n"
        "async def main():\n"
        "    workers = await WorkerProcesses.started(ThisMachine(), 2, Conversations([Conversation(('a',))]))\n"
        "    print('ready', flush=True)\n"
        "    await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        assert parent.stderr is not None
        assert parent.stdout.readline() == b"ready\n"
        parent.kill()
        assert parent.stderr.read() == b""  # they hold it open as long as they live


def test_a_process_imports_nothing_heavy() -> None:
    program = "import sys, pytest_llmbench.load.worker; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "transformers", "scipy", "numpy", "pydantic", "pytest"} & set(loaded)


def test_a_tls_context_of_ones_own_stays_in_one_process() -> None:
    target = ChatServer("https://h/v1", tls=ssl.create_default_context())
    with pytest.raises(UsageError, match=r"set load\.processes to 1"):
        LoadTest(target, Conversations(TALK), processes=2)
    with pytest.raises(UsageError, match="at least 1 process"):
        LoadTest(target, Conversations(TALK), processes=0)
    assert LoadTest(target, Conversations(TALK))._most_processes == 1
