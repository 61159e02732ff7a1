"""`llmbench check` and `llmbench smoke`: what they show, and what they end with."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.command_line import llmbench

from pytest_llmbench.benchmark import environment, smoke
from pytest_llmbench.benchmark.environment import Check
from pytest_llmbench.cli import check
from pytest_llmbench.core.settings import Settings

FINE = Check("Python", "ok", "3.12.1")
WARNED = Check("PyTorch", "warn", "no GPU", "nothing to do")
FAILED = Check("Folders", "fail", "prompts does not exist", "start from `llmbench init`")


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes both commands find these."""

    def find(*checks: Check) -> None:
        monkeypatch.setattr(environment, "check_setup", lambda _: list(checks))
        monkeypatch.setattr(smoke, "smoke", lambda _: iter(checks))

    return find


@pytest.mark.parametrize("command", ["check", "smoke"])
@pytest.mark.parametrize(
    ("checks", "code", "verdict"),
    [((FINE,), 0, "ready"), ((FINE, WARNED), 0, "ready, with 1"), ((FINE, WARNED, FAILED), 3, "not ready: 1 of 3")],
)
def test_only_a_failure_is_not_ready(
    found: Callable[..., None],
    command: str,
    checks: tuple[Check, ...],
    code: int,
    verdict: str,
) -> None:
    found(*checks)
    done = llmbench(command)
    assert done.exit_code == code
    assert done.stdout.splitlines()[-1].startswith(verdict)


def test_each_finding_has_its_sign_and_what_to_do_where_something_is(found: Callable[..., None]) -> None:
    found(FINE, Check("Python", "ok", "64 bits", "unused"), WARNED, FAILED)
    assert llmbench("check").stdout.splitlines()[:-2] == [
        "✓ Python         3.12.1",
        "✓                64 bits",
        "⚠ PyTorch        no GPU",
        "                 → nothing to do",
        "✗ Folders        prompts does not exist",
        "                 → start from `llmbench init`",
    ]


@pytest.mark.parametrize("command", ["check", "smoke"])
def test_json_carries_the_same_findings_and_ends_alike(found: Callable[..., None], command: str) -> None:
    found(FINE, FAILED)
    done = llmbench(command, "--json")
    assert done.exit_code == 3
    assert json.loads(done.stdout) == {
        "ready": False,
        "checks": [
            {"step": "Python", "status": "ok", "detail": "3.12.1", "remedy": "", "exit_code": 3},
            {
                "step": "Folders",
                "status": "fail",
                "detail": "prompts does not exist",
                "remedy": "start from `llmbench init`",
                "exit_code": 3,
            },
        ],
    }


def test_options_reach_what_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Settings] = []

    def check_setup(settings: Settings) -> list[Check]:
        given.append(settings)
        return [FINE]

    monkeypatch.setattr(environment, "check_setup", check_setup)
    llmbench("check", "--base", "org/model", "--adapter", "none", "--quantization", "int8", "--device", "cpu")
    model = given[0].model
    assert (model.base, model.adapter, model.quantization, model.device) == ("org/model", "none", "int8", "cpu")


def test_all_six_checks_of_a_real_machine_are_shown(tmp_path: Path) -> None:
    done = llmbench("check", "--base", "no-such-model", "--json", LLMBENCH_CACHE_DIR=str(tmp_path))
    document = json.loads(done.stdout)
    assert list(dict.fromkeys(check["step"] for check in document["checks"])) == [*environment.STEPS]
    assert (document["ready"], done.exit_code) == (False, 2)


def test_a_step_is_shown_before_the_next_one_starts(capsys: pytest.CaptureFixture[str]) -> None:
    shown: list[str] = []

    def steps() -> Iterator[Check]:
        yield FINE
        shown.append(capsys.readouterr().out)
        yield WARNED

    check.tell(steps())
    assert "3.12.1" in shown[0]


def test_on_a_terminal_the_step_under_way_is_named(monkeypatch: pytest.MonkeyPatch, found: Callable[..., None]) -> None:
    named: list[str] = []
    monkeypatch.setattr("pytest_llmbench.cli.smoke._name", named.append)
    answers = [Check("Generation", "ok", name) for name in ("base", "finetuned")]
    found(*(Check(step, "ok", "") for step in smoke.STEPS[:3]), *answers)
    llmbench("smoke")
    assert named == [*smoke.STEPS]
    found(Check("Imports", "ok", ""), Check("GPU", "fail", "none"))
    named.clear()
    llmbench("smoke")
    assert named == ["Imports", "GPU"]
