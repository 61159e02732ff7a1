"""Jobs of a studio: the queue, what is told of them, and how they end."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from support.scripted_jobs import (
    DATASET,
    LIMITS,
    Scripted,
    add_dataset,
    scripted_jobs,
    training,
    wait_for,
)
from support.studio import options

from pytest_llmbench.core.errors import NotReadyError, UsageError, WrongModelError
from pytest_llmbench.studio.job_events import StateData
from pytest_llmbench.studio.job_kinds import Benchmarking, JobFiles
from pytest_llmbench.studio.job_queue import JobQueue
from pytest_llmbench.studio.jobs import Jobs, StartAutotune, StartBenchmark, StartFinetuning, WrongStateError
from pytest_llmbench.studio.store import Event, Job, NotFoundError, Store, open_store

FOREVER = "import time; print('started', flush=True); time.sleep(60)"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {FOREVER}"
WITH_A_CHILD = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {FOREVER!r}]); {FOREVER}"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = open_store(tmp_path / "studio")
    add_dataset(store)
    yield store
    store.close()


async def _events(jobs: Jobs, job_id: int, after: int = 0) -> list[Event]:
    return [event async for some in jobs.events(job_id, after) for event in some]


def _told(jobs: Jobs, job_id: int, after: int = 0) -> list[Event]:
    return asyncio.run(asyncio.wait_for(_events(jobs, job_id, after), 30))


def _is(jobs: Jobs, job_id: int, *states: str) -> bool:
    return jobs.get(job_id).state in states


def _started(jobs: Jobs, job_id: int) -> bool:
    return bool(jobs.log(job_id))


def test_a_training_is_told_step_by_step_to_all_who_watch_and_again_from_any_event(store: Store) -> None:
    with scripted_jobs(store, Scripted(steps=30)) as jobs:
        job = jobs.start_finetuning(training(num_epochs=2, rank=4))

        async def four() -> list[list[Event]]:
            return await asyncio.gather(*(_events(jobs, job.id) for _ in range(4)))

        watched = asyncio.run(asyncio.wait_for(four(), 30))
        ended = jobs.get(job.id)
        again = _told(jobs, job.id, after=10)
    first = watched[0]
    assert all([event.sequence for event in one] == list(range(1, ended.events + 1)) for one in watched)
    assert [event.data["step"] for event in first if event.kind == "step"] == list(range(1, 31))
    assert [event.data["state"] for event in first if event.kind == "state"] == ["queued", "running", "finished"]
    assert [event.data["line"] for event in first if event.kind == "log"] == ["step 10", "step 20", "step 30"]
    assert [event.sequence for event in again] == list(range(11, ended.events + 1))
    assert (ended.settings["epochs"], ended.settings["rank"]) == (2, 4)
    assert ended.settings["batch_size"] is not None  # the preset's
    assert ended.progress is not None
    assert (ended.progress["step"], ended.result, ended.pid) == (30, {"adapter": ended.output}, None)


def test_jobs_run_one_at_a_time_in_the_order_they_are_put_in(store: Store) -> None:
    with scripted_jobs(store, Scripted(FOREVER)) as jobs:
        ids = [jobs.start_finetuning(training()).id for _ in range(4)]
        wait_for(lambda: _started(jobs, ids[0]))
        assert [job.id for job in jobs.reorder([ids[3], ids[2]])] == [ids[3], ids[2], ids[1]]
        with pytest.raises(WrongStateError, match="only jobs that wait"):
            jobs.reorder([ids[0]])
        jobs.cancel(ids[2])
        jobs.cancel(ids[0])
        wait_for(lambda: _started(jobs, ids[3]))
        assert [(job.id, job.state) for job in jobs.list()] == [
            (ids[3], "running"),
            (ids[1], "queued"),
            (ids[2], "cancelled"),
            (ids[0], "cancelled"),
        ]
        jobs.cancel(ids[1])
        jobs.cancel(ids[3])
        wait_for(lambda: _is(jobs, ids[3], "cancelled"))


@pytest.mark.parametrize("program", [FOREVER, STUBBORN, WITH_A_CHILD], ids=["alone", "stubborn", "with a child"])
def test_cancel_ends_every_process_of_a_job(store: Store, program: str) -> None:
    with scripted_jobs(store, Scripted(program)) as jobs:
        job = jobs.start_finetuning(training())
        wait_for(lambda: len(jobs.log(job.id)) == (2 if program == WITH_A_CHILD else 1))
        group = jobs.get(job.id).pid
        assert jobs.cancel(job.id).state == "cancelling"
        wait_for(lambda: _is(jobs, job.id, "cancelled"))
        assert [one for one in psutil.process_iter() if _group(one) == group] == []
        with pytest.raises(WrongStateError, match="is cancelled already"):
            jobs.cancel(job.id)


def _group(process: psutil.Process) -> int | None:
    try:
        return None if process.status() == psutil.STATUS_ZOMBIE else os.getpgid(process.pid)
    except (psutil.NoSuchProcess, ProcessLookupError):
        return None


def test_a_running_job_is_taken_up_by_the_next_studio(store: Store) -> None:
    work = Scripted(steps=60, pause=0.02)
    with scripted_jobs(store, work) as jobs:
        job = jobs.start_finetuning(training())
        wait_for(lambda: len(jobs.curve(job.id).steps) > 5)
        pid = jobs.get(job.id).pid
    with scripted_jobs(store, work) as jobs:
        assert (jobs.get(job.id).state, jobs.get(job.id).pid) == ("running", pid)
        told = _told(jobs, job.id)
    assert [event.data["step"] for event in told if event.kind == "step"] == list(range(1, 61))
    assert [event.data["state"] for event in told if event.kind == "state"] == ["queued", "running", "finished"]


SERVER = """
import sys, time
from pathlib import Path
from support.scripted_jobs import Scripted, add_dataset, scripted_jobs, training
from pytest_llmbench.studio.store import open_store
store = open_store(Path(sys.argv[1]))
add_dataset(store)
with scripted_jobs(store, Scripted(steps=100, pause=0.02)) as jobs:
    job = jobs.start_finetuning(training())
    while len(jobs.curve(job.id).steps) < 5:
        time.sleep(0.01)
    print(jobs.get(job.id).events, flush=True)
    time.sleep(60)
"""


def test_a_studio_that_was_killed_mid_training_loses_no_event(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", SERVER, str(tmp_path)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        shown = int(server.stdout.readline())
        server.kill()
    store = open_store(tmp_path)
    with scripted_jobs(store, Scripted(steps=100)) as jobs:
        with store.reading() as session:
            before = [session.get_one(Event, (1, sequence)).data for sequence in range(1, shown + 1)]
        told = _told(jobs, 1)
    store.close()
    assert [event.data for event in told[:shown]] == before
    assert [event.sequence for event in told] == list(range(1, len(told) + 1))
    assert [event.data["step"] for event in told if event.kind == "step"] == list(range(1, 101))
    assert [event.data["state"] for event in told if event.kind == "state"] == ["queued", "running", "finished"]


@pytest.mark.parametrize("whom", ["trainer", "group"])
def test_a_killed_job_is_interrupted_and_goes_on_where_it_was(store: Store, whom: str) -> None:
    work = Scripted(steps=40, pause=0.02)
    with scripted_jobs(store, work) as jobs:
        job = jobs.start_finetuning(training())
        wait_for(lambda: len(jobs.curve(job.id).steps) > 5)
        leader = jobs.get(job.id).pid
        assert leader is not None
        if whom == "group":
            os.killpg(leader, signal.SIGKILL)
        else:
            psutil.Process(leader).children()[0].kill()
        wait_for(lambda: _is(jobs, job.id, "interrupted"))
        problem = jobs.get(job.id).problem
        assert problem is not None
        assert problem["detail"].endswith("resume it")
        jobs.resume(job.id)
        told = _told(jobs, job.id)
    assert [event.data["step"] for event in told if event.kind == "step"] == list(range(1, 41))
    assert [event.data["state"] for event in told if event.kind == "state"][2:] == [
        "interrupted",
        "queued",
        "running",
        "finished",
    ]


def test_a_process_of_another_start_time_is_another_process(store: Store) -> None:
    with scripted_jobs(store, Scripted(FOREVER)) as jobs:
        job = jobs.start_finetuning(training())
        wait_for(lambda: _started(jobs, job.id))
    leader = jobs.get(job.id).pid
    assert leader is not None
    os.killpg(leader, signal.SIGKILL)
    os.waitpid(leader, 0)
    with store.writing() as session:  # the machine was started anew, and this test has its number now
        record = session.get_one(Job, job.id)
        record.pid, record.pid_started = os.getpid(), 1.0
    with scripted_jobs(store, Scripted(FOREVER)) as jobs:
        wait_for(lambda: _is(jobs, job.id, "interrupted"))


def test_a_failed_command_is_told_in_its_own_words(store: Store) -> None:
    program = "import sys; print('reading\\nerror: rows.jsonl:3: no answer\\n  add one'); sys.exit(2)"
    with scripted_jobs(store, Scripted(program)) as jobs:
        job = jobs.start_finetuning(training())
        states = [StateData.model_validate(one.data) for one in _told(jobs, job.id) if one.kind == "state"]
    problem = states[-1].problem
    assert problem is not None
    assert (states[-1].state, problem.code, problem.detail) == ("failed", "usage", "rows.jsonl:3: no answer\n  add one")
    with scripted_jobs(store, Scripted("import os; os._exit(7)")) as jobs:  # which says nothing
        jobs.resume(job.id)
        wait_for(lambda: _is(jobs, job.id, "failed"))
        assert jobs.get(job.id).problem == {"code": "failed", "detail": "its command ended with exit code 7"}


def test_what_an_earlier_studio_left_is_no_other_jobs(store: Store, tmp_path: Path) -> None:
    old = store.folder / "jobs/0001"
    old.mkdir(parents=True)
    (old / "output.log").write_text("of another job\n")
    with scripted_jobs(store, Scripted(steps=10)) as jobs:
        job = jobs.start_finetuning(training())
        assert [one.data["line"] for one in _told(jobs, job.id) if one.kind == "log"] == ["step 10"]
    run = tmp_path / "runs/0001_studio-job-1/run.json"
    run.parent.mkdir(parents=True)
    run.write_text("{}")
    chosen = options(tmp_path)
    (old / "output.began").write_text("0")
    os.utime(old / "output.began", (2000, 2000))
    os.utime(run, (1000, 1000))
    with pytest.raises(NotReadyError, match="ended before it saved a run"):
        Benchmarking().result(job, JobFiles(old), chosen, 1)
    os.utime(run, (2001, 2001))
    assert Benchmarking().result(job, JobFiles(old), chosen, 1)["run"] == "0001_studio-job-1"


def test_a_queue_that_waits_says_why_once(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    looks = itertools.count()

    def fails(_self: JobQueue) -> bool:
        next(looks)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(JobQueue, "look", fails)
    with caplog.at_level("WARNING", "pytest_llmbench"), scripted_jobs(store, Scripted()):
        wait_for(lambda: next(looks) > 20)
    assert caplog.text.count("No space left on device") == 1


def test_a_job_that_brought_nothing_has_not_finished(store: Store) -> None:
    with scripted_jobs(store, Scripted("print('done')")) as jobs:
        job = jobs.start_finetuning(training())
        wait_for(lambda: _is(jobs, job.id, "failed"))
        assert jobs.get(job.id).problem == {"code": "not_ready", "detail": "it wrote no step"}


def test_too_little_disk_is_refused_before_and_stops_a_job_meanwhile(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with scripted_jobs(store, Scripted(room=2**60)) as jobs, pytest.raises(NotReadyError, match="free some space"):
        jobs.start_finetuning(training())
    free = [2**40]
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=free[0]))
    with scripted_jobs(store, Scripted(FOREVER)) as jobs:
        job = jobs.start_finetuning(training())
        wait_for(lambda: _started(jobs, job.id))
        free[0] = -1
        wait_for(lambda: _is(jobs, job.id, "failed"))
        problem = jobs.get(job.id).problem
        assert problem is not None
        assert "stopped because only" in problem["detail"]


def test_what_cannot_be_asked_for_is_refused(store: Store) -> None:
    with scripted_jobs(store, Scripted(FOREVER)) as jobs:
        with pytest.raises(WrongModelError, match="not in the registry"):
            jobs.start_finetuning(StartFinetuning(dataset_id=DATASET, model_name="../../etc"))
        with pytest.raises(NotFoundError, match="no dataset 'other'"):
            jobs.start_finetuning(StartFinetuning(dataset_id="other", model_name="smollm2-135m"))
        with pytest.raises(UsageError, match="targets"):
            jobs.start_finetuning(training(targets=()))
        with pytest.raises(UsageError, match="is not on this machine"):
            jobs.start_autotune(StartAutotune(server="http://192.0.2.1:8000/v1"))
        for wrong in (jobs.get, jobs.cancel, jobs.resume, jobs.events, jobs.curve, jobs.log):
            with pytest.raises(NotFoundError, match="there is no job 9"):
                wrong(9)
        job = jobs.start_finetuning(training())
        with pytest.raises(WrongStateError, match="only a finished training"):
            jobs.start_benchmark(job.id, StartBenchmark())
        with pytest.raises(WrongStateError, match="can be resumed"):
            jobs.resume(job.id)
        jobs.cancel(job.id)
        wait_for(lambda: _is(jobs, job.id, "cancelled"))


def test_a_curve_has_few_points_however_long_it_was_and_what_was_done_again_once(store: Store, tmp_path: Path) -> None:
    with scripted_jobs(store, Scripted(steps=1000)) as jobs:
        job = jobs.start_finetuning(training())
        wait_for(lambda: _is(jobs, job.id, "finished"))
        steps = [step.step for step in jobs.curve(job.id, points=50).steps]
        assert (len(steps), steps[0], steps[-1]) == (50, 1, 1000)
        assert max(later - step for step, later in itertools.pairwise(steps)) <= 21
        assert [step.step for step in jobs.curve(job.id, points=1).steps] == [1000]
    journal = store.folder / job.folder / "journal.jsonl"
    repeated = [line for line in journal.read_text(encoding="utf-8").splitlines() if json.loads(line)["step"] > 900]
    with journal.open("a", encoding="utf-8") as file:
        file.write("".join(f"{line}\n" for line in repeated[:50]))
    with store.writing() as session:
        session.get_one(Job, job.id).state = "running"
    with scripted_jobs(store, Scripted()) as jobs:
        wait_for(lambda: _is(jobs, job.id, "finished", "interrupted"))
        steps = [step.step for step in jobs.curve(job.id, points=2000).steps]
    assert steps == list(range(1, 951))


def test_a_slow_watcher_and_one_that_vanishes_hold_up_nobody(store: Store) -> None:
    with scripted_jobs(store, Scripted(steps=200)) as jobs:
        job = jobs.start_finetuning(training())

        async def watch() -> tuple[list[int], list[int]]:
            vanishing = jobs.events(job.id)
            await anext(aiter(vanishing))
            del vanishing
            slow = aiter(jobs.events(job.id))
            first = [event.sequence for event in await anext(slow)]
            quick = [event.sequence for event in await _events(jobs, job.id)]
            return quick, first + [event.sequence async for some in slow for event in some]

        quick, slow = asyncio.run(asyncio.wait_for(watch(), 30))
    assert quick == slow == list(range(1, len(quick) + 1))
    assert len(quick) > 200


def test_a_watcher_hears_in_time_that_nothing_happens(store: Store) -> None:
    async def watch(jobs: Jobs, job_id: int) -> list[int]:
        events = jobs.events(job_id, patience_s=0.2)
        async with contextlib.aclosing(events):
            return [len(await anext(events)) for _ in range(3)]

    with scripted_jobs(store, Scripted("import time; time.sleep(60)")) as jobs:
        job = jobs.start_finetuning(training())
        wait_for(lambda: _is(jobs, job.id, "running"))
        heard = asyncio.run(asyncio.wait_for(watch(jobs, job.id), 30))
        jobs.cancel(job.id)
        wait_for(lambda: _is(jobs, job.id, "cancelled"))
    assert heard[0] > 0
    assert heard[1:] == [0, 0]


def test_lines_without_end_colours_and_bytes_that_are_no_text_are_shown(store: Store) -> None:
    program = (
        "import os; os.write(1, b'\\x1b[31m10%\\r20%\\r\\n' + b'x' * 5000 + b'\\n\\xff<b>');"
        "import sys; open(sys.argv[1], 'w').write('no JSON\\n')"
    )
    with scripted_jobs(store, Scripted(program)) as jobs:
        job = jobs.start_finetuning(training())
        wait_for(lambda: _is(jobs, job.id, "finished"))
        lines = [event.data["line"] for event in jobs.log(job.id)]
    assert lines[:2] == ["10%", "20%"]
    assert lines[2].endswith("x… (5000 characters)")
    assert sorted(lines[3:]) == ["a line of the journal cannot be read: no JSON", "�<b>"]


def test_two_jobs_at_once_where_that_is_allowed(store: Store) -> None:
    with scripted_jobs(store, Scripted(FOREVER), LIMITS.__class__(at_once=2, look_s=0.02, spare_bytes=0)) as jobs:
        ids = [jobs.start_finetuning(training()).id for _ in range(3)]
        wait_for(lambda: _started(jobs, ids[0]) and _started(jobs, ids[1]))
        assert _is(jobs, ids[2], "queued")
        for job_id in reversed(ids):
            jobs.cancel(job_id)
        wait_for(lambda: all(_is(jobs, job_id, "cancelled") for job_id in ids))
