"""`llmbench tune`: what it refuses, and a whole tuning on calibrated servers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.calibrated_launcher import CalibratedLauncher
from support.command_line import llmbench
from typer.testing import Result

from pytest_llmbench.context.tuning import session
from pytest_llmbench.context.tuning.launching import Launched
from pytest_llmbench.context.tuning.measuring import Measured

pytest.importorskip("optuna")


@pytest.fixture(autouse=True)
def calibrated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CalibratedLauncher:
    """In an empty folder, with calibrated servers to start."""
    launcher = CalibratedLauncher()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(session, "_launcher", lambda *_: launcher)
    monkeypatch.setattr(session, "check_answers", lambda url, *_: launcher.asked(url))
    monkeypatch.setattr(session, "CapacityMeasure", lambda *_: launcher.measure)
    return launcher


def tuned(*words: str) -> Result:
    same = (f"--fix={one}" for one in ("unified_kv=false", "kv_type=q8_0", "batch_tokens=2048", "micro_batch=256"))
    varied = ("--vary", "slots=4,16", "--fix", "threads=2")
    return llmbench("tune", *varied, *same, "--trials", "2", *words, LLMBENCH_OUTPUT__PNG="false")


def test_a_whole_tuning_tells_its_verdict_writes_its_reports_and_is_not_begun_twice() -> None:
    done = tuned("--rounds", "3")
    assert done.exit_code == 0, done.output
    assert "The winner holds" in done.stdout
    assert "trial 2 of 2 | slots=16 |" in done.stderr
    found = json.loads(Path("reports/tune.json").read_text())
    assert (found["outcome"], found["trials"][found["winner"] - 1]["settings"]) == ("better", {"slots": 16})
    assert "--parallel 16" in Path("reports/tune/serving/serve.sh").read_text()
    again = tuned()
    assert (again.exit_code, again.stderr.count("\n")) == (2, 1)
    told = "the study 'tune' has 2 trials; go on with them by resuming, or name another study (--study, --resume)"
    assert told in again.stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--vary", "slots=12:30"), 'slots: "12:30"'),
        (("--fix", "slots=2024-01-01"), 'slots: "2024-01-01"'),
        (("--fix", "slots=on"), 'slots: "on"'),
    ],
)
def test_a_value_is_read_as_in_a_settings_file(words: tuple[str, ...], told: str) -> None:
    done = llmbench("tune", *words)
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1), done.output
    assert told in done.stderr


def test_what_was_known_when_it_was_stopped_is_reported_and_gone_on_with(
    calibrated: CalibratedLauncher, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measure(server: Launched, name: str, /, *, first: int = 1, bar: int | None = None) -> Measured:
        if len(calibrated.started) == 2:
            raise KeyboardInterrupt
        return calibrated.measure(server, name, first=first, bar=bar)

    monkeypatch.setattr(session, "CapacityMeasure", lambda *_: measure)
    stopped = tuned("--rounds", "3")
    assert (stopped.exit_code, calibrated.open) == (130, 0)
    assert "Cut short: this is what was known after 1 trial and 0 rounds of confirmation" in stopped.stdout
    found = json.loads(Path("reports/tune.json").read_text())
    assert (found["cut_short"], found["outcome"], len(found["trials"])) == (True, "baseline_best", 1)
    assert tuned("--rounds", "3", "--resume").exit_code == 0
    found = json.loads(Path("reports/tune.json").read_text())
    assert (found["cut_short"], found["outcome"], len(found["trials"])) == (False, "better", 2)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--vary", "slotz=1,2"), "tune.vary: there is no setting 'slotz'; did you mean 'slots'? (--vary)"),
        (
            ("--max-context", "9000"),
            "9000 tokens are beyond smollm2-135m, which reads 8192; give at most that (--max-c",
        ),
        (("--vary", "slots"), "--vary: 'slots' is not NAME=VALUE,VALUE, such as slots=4"),
        (("--fix", "slots=4", "--fix", "slots=5"), "--fix: slots is given twice"),
        (
            ("--fix", "slots=8", "--baseline", "slots=4"),
            "tune.fixed: slots is the same in each trial, so the baseline has",
        ),
        (("--max-context", "12"), 'tune.context: "12" is not valid; give a whole number from 64'),
        (
            ("--study", "a/b"),
            "--study: tune.study: 'a/b' cannot name a study, whose file is called by it: write",
        ),
        (("--study", "b", "--resume"), "there is no study 'b' to resume; in reports/tune: none; name one of them, or"),
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
