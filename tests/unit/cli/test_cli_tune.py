"""`llmbench tune`: what it refuses, and a whole tuning on calibrated servers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.calibrated_launcher import CalibratedLauncher
from support.command_line import llmbench

from pytest_llmbench.context.tuning import session

pytest.importorskip("optuna")


@pytest.fixture(autouse=True)
def calibrated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CalibratedLauncher:
    """In an empty folder, with calibrated servers to start."""
    launcher = CalibratedLauncher()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(session, "_launcher", lambda *_: launcher)
    monkeypatch.setattr(session, "checked", lambda url, *_: launcher.asked(url))
    monkeypatch.setattr(session, "CapacityMeasure", lambda *_: launcher.measure)
    return launcher


def tuned(*words: str) -> tuple[int, str, str]:
    space = ("--vary", "slots=4,16", "--fix", "unified_kv=false", "--fix", "kv_type=q8_0", "--fix", "batch_tokens=2048")
    done = llmbench("tune", *space, "--fix", "micro_batch=256", "--fix", "threads=2", *words)
    return done.exit_code, done.stdout, done.stderr


def test_a_whole_tuning_tells_its_verdict_writes_its_reports_and_is_not_begun_twice() -> None:
    code, told, progress = tuned("--trials", "2", "--rounds", "3", "--json")
    assert code == 0, progress
    found = json.loads(told)
    assert (found["outcome"], found["trials"][found["winner"] - 1]["settings"]) == ("better", {"slots": 16})
    assert "trial 2 of 2 | slots=16 |" in progress
    assert Path("reports/tune.html").is_file()
    code, _, why = tuned("--trials", "2")
    assert (code, why.count("\n")) == (2, 1)
    assert (
        "the study 'tune' has 2 trials; go on with them by resuming, or name another study (--study, --resume)" in why
    )
    code, told, _ = tuned("--trials", "2", "--rounds", "3", "--resume")
    assert code == 0
    assert "The winner holds" in told


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--vary", "slotz=1,2"), "tune.vary: there is no setting 'slotz'; did you mean 'slots'? (--vary)"),
        (("--vary", "slots"), "--vary: 'slots' is not NAME=VALUE,VALUE, such as slots=4"),
        (("--fix", "slots=4", "--fix", "slots=5"), "--fix: slots is given twice"),
        (("--max-context", "12"), 'tune.context: "12" is not valid; give a whole number from 64'),
        (("--study", "a/b"), "tune.study"),
    ],
)
def test_a_mistake_is_one_line_and_starts_nothing(
    words: tuple[str, ...], told: str, calibrated: CalibratedLauncher
) -> None:
    done = llmbench("tune", *words)
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1), done.output
    assert told in done.stderr
    assert calibrated.started == []
    assert not Path("reports").exists()
