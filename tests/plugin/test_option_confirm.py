"""`--llmbench-confirm`: a gate that fails asks both sides again before it ends the session."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support.plugin_project import Project

CASES = [f"c{number}" for number in range(12)]
GATE = ("--llmbench-no-cache", "--llmbench-gate=regression", "--llmbench-confirm")
LOADED = """\
import dataclasses
from pathlib import Path

import pytest_llmbench.benchmark.main_job
from support.parrot import Parrot


class Moody(Parrot):
    \"\"\"Knows its cases with every seed but the unlucky ones.\"\"\"

    def __init__(self, seed):
        unlucky = Path("unlucky").read_text().split() if Path("unlucky").exists() else []
        always = "always" in unlucky
        super().__init__(knows=lambda case: not always and str(seed) not in unlucky)

    def describe(self):
        return {"backend": "transformers", "base_model": "parrot", "device": "cpu", "adapters": {}}


def opened(settings, cases=(), **_):
    return Moody(settings.generation.seed)


pytest_llmbench.benchmark.main_job.open_backend = opened
"""

FORGETS = """

    def complete(self, cases, variant):
        for done in super().complete(cases, "base" if variant == "finetuned" else "finetuned"):
            yield dataclasses.replace(done, variant=variant)
"""


@pytest.fixture
def moody(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Twelve cases, a model that may be unlucky with a seed, and a first run saved as `accepted`."""
    import pytest_llmbench.benchmark.main_job

    monkeypatch.setattr(
        pytest_llmbench.benchmark.main_job, "open_backend", pytest_llmbench.benchmark.main_job.open_backend
    )
    for name in ("lights", "sound"):
        (project.path / f"prompts/{name}.yaml").unlink()
    cases = "\n".join(f"  - {{id: {case}, prompt: monte le son {case}, keywords: [son]}}" for case in CASES)
    project.write("prompts/drill.yaml", f"category: drill\ncases:\n{cases}\n")
    project.write("conftest.py", LOADED)
    assert project.run("--llmbench-save=accepted").ret == 0
    return project


def gate(project: Project) -> Any:
    return json.loads((project.path / "reports/benchmark.json").read_text())["gate"]


def test_an_unlucky_seed_does_not_fail_the_session(moody: Project) -> None:
    moody.write("unlucky", "7")
    assert moody.run(*GATE, "--llmbench-compare=accepted", "--llmbench-seed=7").ret == 0
    found = gate(moody)
    assert (found["outcome"], found["failed"]) == ("pass", False)
    assert [note["kind"] for note in found["notes"]] == ["unconfirmed"]
    (folder,) = (moody.path / "reports/runs").glob("0002_*")
    assert {path.parent.name for path in folder.glob("*/run.json")} == {"again", "baseline-again"}


def test_fresh_answers_to_the_first_cases_alone_pass_no_gate(moody: Project) -> None:
    moody.write("unlucky", "7")
    assert moody.run(*GATE, "--llmbench-compare=accepted", "--llmbench-seed=7", "--llmbench-limit=8").ret == 0
    found = gate(moody)
    assert (found["outcome"], found["because"]["kind"]) == ("inconclusive", "limited")
    assert [note["kind"] for note in found["notes"]] == ["unconfirmed"]


def test_a_fall_that_comes_again_fails(moody: Project) -> None:
    moody.write("conftest.py", LOADED.replace('"adapters": {}}', '"adapters": {}}' + FORGETS))
    result = moody.run(*GATE)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert (gate(moody)["outcome"], gate(moody)["notes"][0]["kind"]) == ("fail", "confirmed")


def test_what_could_not_be_confirmed_is_refused_before_anything_is_asked(moody: Project) -> None:
    before = moody.asked()
    moody.write("configs/llmbench.yaml", "output: {html: false, png: false}\ngeneration: {temperature: 0}\n")
    greedy = moody.run(*GATE, "--llmbench-compare=accepted")
    assert greedy.ret == 2
    assert "the answers are greedy" in greedy.stdout.str() + greedy.stderr.str()
    moody.write("configs/llmbench.yaml", "output: {html: false, png: false}\n")
    run = next((moody.path / "reports/runs").glob("0001_*/run.json"))
    document = json.loads(run.read_text())
    document["metadata"]["backend"]["adapters"] = {"finetuned": {"path": "adapters/gone", "weights_sha256": "0"}}
    run.write_text(json.dumps(document, indent=2))
    gone = moody.run(*GATE, "--llmbench-compare=accepted")
    assert gone.ret == 2
    assert "adapters/gone is not there" in gone.stdout.str() + gone.stderr.str()
    assert moody.asked() == before
