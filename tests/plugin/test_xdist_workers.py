"""pytest-xdist: several processes, one run."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.plugin_project import CASES, Project, asked_once

from pytest_llmbench.plugin.worker_devices import device_of, devices


def test_workers_share_the_answers_and_make_one_run_and_one_report(project: Project) -> None:
    project.backend("before_batch=lambda size: time.sleep(0.2)", more="import time")
    result = project.run("-n", "2", "--llmbench-no-cache")
    result.assert_outcomes(passed=6)
    assert sorted(project.asked()) == asked_once(*CASES)
    assert len(project.processes()) == 2
    assert project.runs() == ["0001"]
    assert project.reported() == list(CASES)
    assert project.report()["metadata"]["processes"] == 2
    result.stdout.fnmatch_lines(["*base -> finetuned*", "12 answers in *"])


def test_killed_workers_lose_no_answer(project: Project) -> None:
    project.backend("before_answer=lambda count: count == 5 and os.kill(os.getpid(), 9)")
    result = project.run("-n", "2", "--llmbench-no-cache", "--max-worker-restart=0")
    result.stdout.fnmatch_lines(["cut short: *--llmbench-resume"])
    project.backend()
    project.run("--llmbench-no-cache", "--llmbench-resume").assert_outcomes(passed=6)
    assert sorted(project.asked()) == asked_once(*CASES)
    assert project.runs() == ["0001"]


def test_a_worker_that_is_not_ready_ends_the_session_with_its_message_and_code(project: Project) -> None:
    project.write(
        "conftest.py",
        "from pytest_llmbench.core.errors import NotReadyError\n"
        "def pytest_llmbench_backend(settings):\n    raise NotReadyError('no model here; get one')\n",
    )
    result = project.run("-n", "2")
    assert result.ret == 3
    result.stdout.fnmatch_lines(["!* no model here; get one !*"])
    result.stdout.no_fnmatch_line("*Traceback*")
    result.stdout.no_fnmatch_line("*dsession*")


def test_a_wrong_setting_is_told_by_workers_too(project: Project) -> None:
    result = project.run("-n", "2", "--llmbench-epochs", "zero")
    assert result.ret == 2
    result.stdout.fnmatch_lines(["*--llmbench-epochs: generation.epochs:*"])
    result.stdout.no_fnmatch_line("*Traceback*")
    assert project.asked() == []


def test_a_refused_gate_is_one_message_of_workers_too(project: Project) -> None:
    project.write("configs/llmbench.yaml", "gate: {metrics: [keywrds]}\n")
    result = project.run("-n", "2")
    assert result.ret == 2
    result.stdout.fnmatch_lines(["!* gate.metrics: 'keywrds' is no metric; did you mean 'keywords'? !*"])
    result.stdout.no_fnmatch_line("*crashed*")
    assert project.asked() == []


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_failed_item_is_failed_in_the_report_whoever_ran_it(project: Project, workers: str) -> None:
    project.expect_the_impossible("sound/mute")
    result = project.run("-n", workers)
    result.assert_outcomes(passed=5, failed=1)
    assert [row["outcome"] for row in project.report()["results"]] == ["passed"] * 5 + ["failed"]


_RECORDS_ITS_DEVICE = """\
import os
from pathlib import Path

import pytest_llmbench.benchmark.main_job
from parrot import Parrot


def opened(settings, cases=(), **_):
    Path(f"device-{os.getpid()}").write_text(os.environ["CUDA_VISIBLE_DEVICES"])
    return Parrot(before_batch=lambda size: __import__("time").sleep(0.2))


pytest_llmbench.benchmark.main_job.open_backend = opened
"""


def test_each_worker_has_a_gpu_of_its_own(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    import pytest_llmbench.benchmark.main_job as job

    monkeypatch.setattr(job, "open_backend", job.open_backend)  # what the conftest replaces comes back
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,GPU-8a2f")
    project.write("conftest.py", _RECORDS_ITS_DEVICE)
    project.run("-n", "2", "--llmbench-no-cache", "--llmbench-adapter=none").assert_outcomes(passed=6)
    seen = [path.read_text() for path in project.path.glob("device-*")]
    assert sorted(seen) == ["3", "GPU-8a2f"]


@pytest.mark.parametrize(("worker", "device"), [("gw0", "0"), ("gw1", "1"), ("gw5", "1"), ("main", None)])
def test_more_workers_than_gpus_share_them(worker: str, device: str | None, tmp_path: Path) -> None:
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm"):
        (tmp_path / name).touch()
    assert device_of(worker, devices({}, tmp_path)) == device
    assert device_of(worker, devices({"CUDA_VISIBLE_DEVICES": "7"}, tmp_path)) is None


def test_a_ray_cluster_takes_no_second_division_of_the_work(project: Project) -> None:
    project.write("conftest.py", "")
    result = project.run("-n", "2", "--llmbench-ray", "auto", "--llmbench-adapter=none")
    assert result.ret == 2
    result.stdout.fnmatch_lines(["!* leave out pytest-xdist's -n, and set ray.actors instead (--llmbench-ray) !*"])
