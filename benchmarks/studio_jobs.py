"""A studio's jobs: what a kill -9 loses, how fast long jobs open, and what watching takes from a training.

- kills: a fast scripted trainer writes real events; its group, its program, the studio that runs it, or both sides are
  killed at random moments, each kill in the middle of a job. A watcher notes every event that it was shown, and goes on
  behind the last one when the studio is back. In the end: what was shown is told again as it was, each event once and
  in order; every step that a trainer wrote is an event, once; no job is left running, and no process.
- opening: a job of 1,000 events and one of 100,000, opened in turn: its page, its curve, its log and its newest
  event, all from `llmbench studio`.
- watching: real trainings of the embedded model (`llmbench finetune`), their steps a second with four watchers of
  `llmbench studio` and with none, in alternating stretches; and the CPU time of the server in both.

Run `python benchmarks/studio_jobs.py`; 1,000 kills take some minutes of one core. Linux only.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ctypes
import itertools
import json
import multiprocessing
import os
import random
import signal
import sqlite3
import statistics
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil
from measuring import measure_parts
from numpy.typing import NDArray
from scipy.stats import trim_mean

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from support.scripted_jobs import Scripted, add_dataset, scripted_jobs, studio_options, training
from support.tiny_training import rows, write_rows

from pytest_llmbench.studio.job_events import EvaluationData, LogData, StepData
from pytest_llmbench.studio.job_files import new_in_journal
from pytest_llmbench.studio.job_kinds import JOURNAL
from pytest_llmbench.studio.job_queue import QueueLimits
from pytest_llmbench.studio.job_record import JobRecord
from pytest_llmbench.studio.jobs import Jobs
from pytest_llmbench.studio.store import Event, Job, Store, open_store

Floats = NDArray[np.float64]
STEPS, PAUSE_S = 60, 0.004
LONGEST_LIFE_S = 0.5
LANES = 4
VICTIMS = ("studio", "studio", "program", "group", "both")
LIMITS = QueueLimits(look_s=0.02, spare_bytes=0)
SIZES = (1_000, 100_000)
OPENINGS = 40
STRETCH_S, OPENING_S, PANEL_S, WATCHERS, FIRST_STEPS = 3.0, 0.5, 2.0, 4, 12
TRIMMED = 0.1
MODEL, WATCHED_JOBS, STEPS_A_JOB = "smollm2-135m", 4, 200
PR_SET_CHILD_SUBREAPER = 36


def main() -> None:
    """Measure all, or one part anew, then write `results/studio_jobs.json` and a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=("kills", "opening", "watching"))
    chosen = parser.parse_args()
    measures: Mapping[str, Callable[[Path], Mapping[str, Any]]] = {
        "kills": lambda folder: kills(folder, chosen.kills, chosen.seed),
        "opening": opening,
        "watching": watching,
    }
    measure_parts("studio_jobs", measures, chosen.only, _lines)


# kills


def kills(folder: Path, count: int, seed: int) -> dict[str, Any]:
    """Kill in several studios side by side, and sum what was lost."""
    store = open_store(folder / "first")  # imports what each studio would have to
    add_dataset(store)
    Jobs(store, studio_options(folder)).start_finetuning(training())
    store.close()
    folders = [folder / str(lane) for lane in range(LANES)]
    counts = [count // LANES + (lane < count % LANES) for lane in range(LANES)]
    with multiprocessing.get_context("fork").Pool(LANES) as lanes:
        found = lanes.starmap(_lane, zip(folders, counts, range(seed, seed + LANES), strict=True))
    return {name: _sum([one[name] for one in found]) for name in found[0]}


def _sum(values: Sequence[Any]) -> Any:
    if isinstance(values[0], dict):
        return dict(sum(map(Counter, values), Counter[str]()))
    return sum(values)


def _lane(folder: Path, count: int, seed: int) -> dict[str, Any]:
    """Kill, and hold what is left against what was shown and written."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # trainers whose studio is gone are ours to reap
    store = open_store(folder)
    add_dataset(store)
    store.close()
    dice, killed = random.Random(seed), Counter[str]()  # noqa: S311
    groups: set[int] = set()
    studio = _fork(lambda: _studio(folder))
    while killed.total() < count:
        time.sleep(dice.uniform(0, LONGEST_LIFE_S))
        victim, running = dice.choice(VICTIMS), _running(folder)
        if running is None:
            continue  # no job to be killed in the middle of
        leader, program = running
        groups.add(leader)
        with contextlib.suppress(ProcessLookupError, psutil.NoSuchProcess):
            if victim in ("group", "both"):
                os.killpg(leader, signal.SIGKILL)
            elif victim == "program":
                program.kill()
        if victim in ("studio", "both"):
            os.kill(studio, signal.SIGKILL)
            os.waitpid(studio, 0)
            _reap()
            studio = _fork(lambda: _studio(folder))
        killed[victim] += 1
    (folder / "enough").touch()
    os.waitpid(studio, 0)
    _reap()
    return {"kills": dict(killed), **_faults(folder, groups)}


def _fork(work: Callable[[], None]) -> int:
    """A process that was not yet told to import anything; so a studio starts in a few milliseconds."""
    pid = os.fork()
    if pid:
        return pid
    try:
        work()
    finally:
        os._exit(0)


def _studio(folder: Path) -> None:
    """Start and resume jobs, and watch them, until that is enough and all are over."""
    store = open_store(folder)
    with scripted_jobs(store, Scripted(steps=STEPS, pause=PAUSE_S), LIMITS) as jobs:
        told = _last_shown(folder / "shown")
        for job in jobs.list():  # some were over before all was shown
            if told[job.id] < job.events or job.state != "finished":
                _see_through(jobs, job.id, told[job.id], folder / "shown")
        while not (folder / "enough").exists():
            _see_through(jobs, jobs.start_finetuning(training()).id, 0, folder / "shown")
    store.close()


def _see_through(jobs: Jobs, job_id: int, after: int, shown: Path) -> None:
    """Show a job's events, and resume it until it has finished."""
    while True:
        asyncio.run(_watch(jobs, job_id, after, shown))
        job = jobs.get(job_id)
        if job.state == "finished":
            return
        after = job.events
        jobs.resume(job_id)


async def _watch(jobs: Jobs, job_id: int, after: int, shown: Path) -> None:
    with shown.open("ab", buffering=0) as file:
        async for some in jobs.events(job_id, after):
            for event in some:
                file.write(json.dumps([job_id, event.sequence, event.data]).encode() + b"\n")


def _last_shown(path: Path) -> Mapping[int, int]:
    """The newest event of each job that was shown."""
    last: defaultdict[int, int] = defaultdict(int)
    for job_id, sequence, _ in _shown(path):
        last[job_id] = max(last[job_id], sequence)
    return last


def _shown(path: Path) -> Iterator[tuple[int, int, Mapping[str, Any]]]:
    if path.exists():
        yield from (tuple(json.loads(line)) for line in path.read_bytes().splitlines())


def _running(folder: Path) -> tuple[int, psutil.Process] | None:
    """The leader of the job that runs, and its program; read beside the studio, as another program would."""
    with contextlib.closing(sqlite3.connect(folder / "studio.db", timeout=10)) as connection:
        found = connection.execute("SELECT pid FROM jobs WHERE state = 'running'").fetchone()
    with contextlib.suppress(psutil.NoSuchProcess):
        programs = psutil.Process(found[0]).children() if found else []
        return (found[0], programs[0]) if programs else None
    return None


def _reap() -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _faults(folder: Path, groups: set[int]) -> dict[str, Any]:
    shown: dict[int, list[tuple[int, Mapping[str, Any]]]] = defaultdict(list)
    for job_id, sequence, data in _shown(folder / "shown"):
        shown[job_id].append((sequence, data))
    lost = doubled = changed = steps_wrong = 0
    states: Counter[str] = Counter()
    store = open_store(folder)
    with store.reading() as session:
        jobs = session.query(Job).all()
        for job in jobs:
            states[job.state] += 1
            events = session.query(Event).filter(Event.job_id == job.id).order_by(Event.sequence).all()
            kept = [(event.sequence, event.data) for event in events]
            sequences = Counter(sequence for sequence, _ in shown[job.id])
            doubled += sum(times - 1 for times in sequences.values())
            lost += len({sequence for sequence, _ in kept} - set(sequences))
            changed += sum(one not in (kept[one[0] - 1 : one[0]]) for one in shown[job.id])
            lost += sum(sequence != place for place, (sequence, _) in enumerate(kept, 1))
            written = [json.loads(line)["step"] for line in (folder / job.folder / "journal.jsonl").open("rb")]
            told = [event.data["step"] for event in events if event.kind == "step"]
            steps_wrong += not told == written == list(range(1, STEPS + 1))
    total = sum(map(len, shown.values()))
    store.close()
    return {
        "jobs": len(jobs),
        "states": dict(states),
        "events shown": total,
        "lost": lost,
        "doubled": doubled,
        "changed": changed,
        "jobs whose steps are not each told once": steps_wrong,
        "processes left": sum(_is_in(process, groups) for process in psutil.process_iter()),
    }


def _is_in(process: psutil.Process, groups: set[int]) -> bool:
    with contextlib.suppress(psutil.Error, ProcessLookupError):
        return process.status() != psutil.STATUS_ZOMBIE and os.getpgid(process.pid) in groups
    return False


# opening


def opening(folder: Path) -> dict[str, Any]:
    """Milliseconds until the page of a job, its curve, its log and its newest event are there; medians, in turn."""
    store = open_store(folder / "studio")
    add_dataset(store)
    jobs = Jobs(store, studio_options(folder), LIMITS)
    ids = {size: _long_job(store, jobs, size) for size in SIZES}
    store.close()
    taken: dict[int, list[float]] = {size: [] for size in SIZES}
    with _served(folder) as (url, _):
        for _ in range(OPENINGS):
            for size, job_id in ids.items():
                began = time.perf_counter()
                for page in (f"jobs/{job_id}", *(f"api/jobs/{job_id}/{part}" for part in ("curve", "log"))):
                    _get(f"{url}{page}")
                _get(f"{url}api/jobs/{job_id}/events?after={size - 1}")
                taken[size].append(1000 * (time.perf_counter() - began))
    medians = {str(size): statistics.median(times) for size, times in taken.items()}
    return {"milliseconds": medians, "times as long": medians[str(SIZES[1])] / medians[str(SIZES[0])]}


@contextlib.contextmanager
def _served(folder: Path) -> Iterator[tuple[str, psutil.Process]]:
    """`llmbench studio` in a folder: its address, and its process."""
    words = ("studio", "--port", "0", "--folder", str(folder / "studio"), "--allow-any-model")
    command = [sys.executable, "-m", "pytest_llmbench.cli", *words]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().partition(" ")[0], psutil.Process(process.pid)
        finally:
            process.terminate()


def _get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=60) as answer:  # noqa: S310
        return bytes(answer.read())


def _post(url: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
    data, headers = json.dumps(body).encode(), {"content-type": "application/json"}
    request = urllib.request.Request(url, data, headers, method="POST")  # noqa: S310
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
        return dict(json.loads(answer.read()))


def _long_job(store: Store, jobs: Jobs, size: int) -> int:
    """A training that is over, of so many events: steps, one line of the log in ten, one evaluation in a hundred."""
    job_id = jobs.start_finetuning(training()).id
    numbers = {"loss": 1.0, "token_accuracy": 0.5}
    with store.writing() as session:
        record = JobRecord(session, job_id)
        record.enter("running")
        now = datetime.now(UTC)
        for number in range(2, size - 1):
            if number % 100 == 0:
                record.add("evaluation", EvaluationData(step=number, **numbers), now)
            elif number % 10 == 0:
                record.add("log", LogData(line=f"step {number}/{size}  loss 1.000  token accuracy 50.0%"), now)
            else:
                step = StepData(
                    step=number, of=size, entropy=1.0, tokens=100 * number, tokens_per_s=500.0, memory=2**30, **numbers
                )
                record.add("step", step, now)
        record.enter("finished")
        assert record.job.events == size
    return job_id


# watching


def watching(folder: Path) -> dict[str, Any]:
    """What four watchers take of the speed: each stretch with them against the two beside it, with a 95 % interval."""
    store = open_store(folder / "studio")
    add_dataset(store, write_rows(folder / "rows.jsonl", rows(320)).absolute())
    store.close()
    with _served(folder) as (url, server):
        jobs = [_watched_job(url, folder / "studio", server) for _ in range(WATCHED_JOBS)]
    stretches = [one for job in jobs for one in job]
    costs = [cost for job in jobs for cost in _costs(job)]
    return {
        "trainings": WATCHED_JOBS,
        **_in_short(np.array(costs)),
        "costs": [round(cost, 4) for cost in costs],
        "server's share of a core": {
            "no watcher": statistics.mean(one.server for one in stretches if not one.watchers),
            f"{WATCHERS} watchers": statistics.mean(one.server for one in stretches if one.watchers),
        },
    }


def _in_short(costs: Floats) -> dict[str, Any]:
    """The mean, and the one without the lowest and the highest tenth, which a machine that dozes off does not move."""
    drawn = np.random.default_rng(1).choice(costs, (10_000, len(costs)))
    means = {"cost": drawn.mean(axis=1), "trimmed": trim_mean(drawn, TRIMMED, axis=1)}
    edges = {name: [float(edge) for edge in np.quantile(values, [0.025, 0.975])] for name, values in means.items()}
    return {
        "stretches with watchers": len(costs),
        "cost": float(costs.mean()),
        "interval": edges["cost"],
        "trimmed cost": float(trim_mean(costs, TRIMMED)),
        "trimmed interval": edges["trimmed"],
    }


def _watched_job(url: str, folder: Path, server: psutil.Process) -> Sequence[Stretch]:
    """The stretches of one training to its end, watched and not in turn, the first and the last one not."""
    given = {"dataset_id": "d1", "model_name": MODEL, "quantization": "none", "batch_size": 4, "max_length": 64}
    number = _post(f"{url}api/start-finetuning", given | {"gradient_accumulation": 1, "steps": STEPS_A_JOB})["id"]
    steps = _Steps(folder / f"jobs/{number:04d}" / JOURNAL)
    steps.after(0, FIRST_STEPS)
    found = (_stretch(f"{url}jobs/{number}", steps, server, WATCHERS * (turn % 2)) for turn in itertools.count())
    stretches = [one for one in itertools.takewhile(lambda one: one is not None, found) if one]
    print(f"training {number}: {len(stretches)} stretches", file=sys.stderr)
    return stretches[: len(stretches) - 1 + len(stretches) % 2]


def _costs(stretches: Sequence[Stretch]) -> Iterator[float]:
    """Held against the mean of both sides, as if the machine only drifted."""
    alone, watched = stretches[::2], stretches[1::2]
    for (before, after), one in zip(itertools.pairwise(alone), watched, strict=True):
        yield 1 - one.speed / ((before.speed + after.speed) / 2)


class Stretch(NamedTuple):
    """Steps that the trainer did a second, and what the server took of a core meanwhile."""

    watchers: int
    speed: float
    server: float


class _Steps:
    """The steps that a trainer has logged, read from its own journal, so that looking costs the server nothing."""

    def __init__(self, journal: Path) -> None:
        self._journal, self._read = journal, 0
        self.told: list[tuple[int, float]] = []

    def after(self, moment: float, count: int = 1) -> tuple[int, float] | None:
        """The first step that ended after a moment, or of the first `count` the last; None where the training ends."""
        while True:
            lines, _, self._read = new_in_journal(self._journal, self._read)
            self.told += [(line.data().step, line.at.timestamp()) for line in lines if line.kind == "step"]
            if len(found := [one for one in self.told if one[1] >= moment]) >= count:
                return found[count - 1]
            if self.told and self.told[-1][0] >= STEPS_A_JOB:
                return None
            time.sleep(0.05)


def _stretch(page: str, steps: _Steps, server: psutil.Process, watchers: int) -> Stretch | None:
    """From the first step that is logged with all watchers there; None where the training ends before the stretch."""
    stop = threading.Event()
    threads = [threading.Thread(target=_watch_page, args=(page, stop)) for _ in range(watchers)]
    for thread in threads:
        thread.start()
    first = steps.after(time.time() + OPENING_S)
    cpu, began = sum(server.cpu_times()[:2]), time.perf_counter()
    last = first and steps.after(first[1] + STRETCH_S)
    cpu_s, wall_s = sum(server.cpu_times()[:2]) - cpu, time.perf_counter() - began
    stop.set()
    for thread in threads:
        thread.join()
    if first is None or last is None:
        return None
    return Stretch(watchers, (last[0] - first[0]) / (last[1] - first[1]), cpu_s / wall_s)


def _watch_page(page: str, stop: threading.Event) -> None:
    """What the page of a job asks for: what happens from now on, and its panel anew at most every two seconds."""
    root, _, number = page.rpartition("/jobs/")
    after, asked = json.loads(_get(f"{root}/api/jobs/{number}"))["events"], 0.0
    with urllib.request.urlopen(f"{root}/api/jobs/{number}/events?after={after}", timeout=60) as stream:  # noqa: S310
        while not stop.is_set() and (line := stream.readline()):
            if line.startswith(b"event: step") and time.monotonic() >= asked + PANEL_S:
                asked = time.monotonic()
                _get(f"{page}/panel?seen=running")


def _lines(result: Mapping[str, Any]) -> Iterator[str]:
    yield "| what | measured | must be |\n|---|---|---|"
    for name, lines in (("kills", _of_kills), ("opening", _of_opening), ("watching", _of_watching)):
        if found := result.get(name):
            yield from (f"| {' | '.join(cells)} |" for cells in lines(found))
            before, after = found["load"]
            yield f"| load average of the machine before and after | {before:.1f}, {after:.1f} | |"


def _of_kills(found: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    yield "kill -9 in the middle of a job", f"{sum(found['kills'].values()):,} ({_listed(found['kills'])})", ""
    yield "events shown, in jobs", f"{found['events shown']:,}, {found['jobs']}", ""
    for name in ("lost", "doubled", "changed", "jobs whose steps are not each told once", "processes left"):
        yield name, str(found[name]), "0"
    yield "states in the end", _listed(found["states"]), "none running"


def _of_opening(found: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    for size, milliseconds in found["milliseconds"].items():
        yield f"a job of {int(size):,} events opens", f"{milliseconds:.1f} ms", ""
    yield "times as long", f"{found['times as long']:.2f}", "under 2"


def _of_watching(found: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    what = f"{WATCHERS} watchers take of a training's speed, mean of {found['stretches with watchers']} stretches"
    for name, cost, interval in (
        (what, "cost", "interval"),
        (f"the same without the lowest and the highest {TRIMMED:.0%}", "trimmed cost", "trimmed interval"),
    ):
        low, high = found[interval]
        yield name, f"{found[cost]:.1%} ({low:.1%} to {high:.1%})", "under 3 %"
    for name, share in found["server's share of a core"].items():
        yield f"the server's CPU time, {name}", f"{share:.1%} of a core", ""


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())


if __name__ == "__main__":
    main()
