"""What a CI runner does with a job: its commands in order, in a fresh clone, with the variables that it would set.

Only `pip` and `gh` are stand-ins; they write down how they were called. git pushes to a repository in a folder.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CACHED = Path(".cache")
REPOSITORY = "someone/commands"

_STAND_IN = """\
#!/bin/sh
for word in "$(basename "$0")" "$@"; do printf '%s\\t' "$word"; done >> "$CALLS"
echo >> "$CALLS"
case "$*" in *--jq*) cat "$EARLIER_COMMENT" 2>/dev/null || true;; esac
"""
_EXPRESSION = re.compile(r"\$\{\{(.*?)\}\}")
_STATUS = ("always()", "cancelled()", "failure()", "success()")


@dataclass(frozen=True, slots=True)
class Step:
    """One group of commands that ran."""

    name: str
    exit_code: int
    output: str


@dataclass(frozen=True, slots=True)
class Job:
    """A job that is over: where it ran, what ran in it, and what it handed to its server."""

    folder: Path
    steps: list[Step]
    uploaded: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether the server would show it green."""
        return not any(step.exit_code for step in self.steps)

    @property
    def exit_codes(self) -> dict[str, int]:
        """Of each step that ran."""
        return {step.name: step.exit_code for step in self.steps}

    @property
    def output(self) -> str:
        """Everything that was printed."""
        return "".join(step.output for step in self.steps)


class Machine:
    """A CI server's runner and its git server: `origin` is the repository that jobs clone and push to."""

    def __init__(self, root: Path, project: Path) -> None:
        self.origin, self._root, self._project, self._jobs = root / "origin.git", root, project, 0
        self.calls_file, self.earlier_comment = root / "calls", root / "earlier"
        stand_ins = root / "stand-ins"
        stand_ins.mkdir(parents=True)
        for program in ("pip", "gh"):
            (stand_ins / program).write_text(_STAND_IN)
            (stand_ins / program).chmod(0o755)
        self._environment = {
            "CALLS": str(self.calls_file),
            "EARLIER_COMMENT": str(self.earlier_comment),
            "CI": "true",
            "HOME": str(root),
            "LANG": "C.UTF-8",
            "PATH": os.pathsep.join([str(stand_ins), str(Path(sys.executable).parent), os.environ["PATH"]]),
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # those that only this repository's tests need are slow to load
            "PYTEST_PLUGINS": "pytest_llmbench.plugin",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        (root / ".gitconfig").write_text("[user]\nname = A Developer\nemail = developer@example.org\n")
        self._git("init", "--quiet", "--bare", "--initial-branch=main", str(self.origin))
        self._git("init", "--quiet", "--initial-branch=main")
        self.push("main", "The first fine-tune")

    def push(self, branch: str, message: str) -> None:
        """Commit all that the developer changed, and push it to a branch."""
        self._git("add", "--all")
        self._git("commit", "--quiet", "--allow-empty", f"--message={message}")
        self._git("push", "--quiet", str(self.origin), f"HEAD:refs/heads/{branch}")

    def start_from_main(self) -> None:
        """Put the developer's folder at the server's main, with what jobs pushed to it."""
        self._git("fetch", "--quiet", str(self.origin), "main")
        self._git("reset", "--quiet", "--hard", "FETCH_HEAD")

    def calls(self, program: str) -> list[list[str]]:
        """The arguments of each call of a stand-in."""
        lines = self.calls_file.read_text().splitlines() if self.calls_file.exists() else []
        calls = [line.rstrip("\t").split("\t") for line in lines]
        return [call[1:] for call in calls if call[0] == program]

    def clone(self, branch: str) -> tuple[Path, str]:
        """A fresh checkout of a branch's commit, and the commit."""
        self._jobs += 1
        folder = self._root / f"job-{self._jobs}"
        self._git("clone", "--quiet", f"--branch={branch}", str(self.origin), str(folder))
        return folder, self._git("-C", str(folder), "rev-parse", "HEAD").strip()

    def shell(self, name: str, script: str, folder: Path, variables: Mapping[str, str], *flags: str) -> Step:
        """Run commands as a runner does."""
        done = subprocess.run(
            ["bash", *flags, "-c", script],
            cwd=folder,
            env={**self._environment, **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return Step(name, done.returncode, done.stdout)

    def restore(self, folder: Path) -> None:
        """Give a job the cache that an earlier one left."""
        if (self._root / "cache").exists():
            shutil.copytree(self._root / "cache", folder / CACHED)

    def keep(self, folder: Path) -> None:
        """Take the cache that a job left."""
        shutil.rmtree(self._root / "cache", ignore_errors=True)
        if (folder / CACHED).exists():
            shutil.copytree(folder / CACHED, self._root / "cache")

    def _git(self, *arguments: str) -> str:
        command = ["git", *arguments]
        return subprocess.run(
            command, cwd=self._project, env=self._environment, capture_output=True, text=True, check=True
        ).stdout


def github(machine: Machine, workflow: Mapping[str, Any], name: str, *, branch: str, event: str) -> Job | None:
    """Run a job of a GitHub workflow; None where its `if` says no."""
    folder, commit = machine.clone(branch)
    summary = folder.with_suffix(".summary.md")
    github = {
        "event_name": event,
        "ref": f"refs/heads/{branch}",
        "repository": REPOSITORY,
        "sha": commit,
        "token": "a-token",
        "event.pull_request.head.repo.full_name": REPOSITORY if event == "pull_request" else "",
        "event.pull_request.number": "7" if event == "pull_request" else "",
    }
    contexts = {"runner.os": "Linux", **{f"github.{key}": value for key, value in github.items()}}
    job = workflow["jobs"][name]
    if not _truth(job.get("if", "success()"), contexts, failed=False):
        return None
    set_by_github = {
        "GITHUB_ACTIONS": "true",
        "GITHUB_EVENT_NAME": event,
        "GITHUB_REF": github["ref"],
        "GITHUB_REPOSITORY": REPOSITORY,
        "GITHUB_SHA": commit,
        "GITHUB_STEP_SUMMARY": str(summary),
        "GITHUB_WORKSPACE": str(folder),
    }
    done = Job(folder, [])
    for step in job["steps"]:
        if not _truth(step.get("if", "success()"), contexts, failed=not done.passed):
            continue
        if "run" in step:
            asked = {**workflow.get("env", {}), **job.get("env", {}), **step.get("env", {})}
            variables = {**set_by_github, **{key: _filled(str(text), contexts) for key, text in asked.items()}}
            done.steps.append(machine.shell(step["name"], _filled(step["run"], contexts), folder, variables, "-e"))
        elif step["uses"].startswith("actions/cache@"):
            assert Path(step["with"]["path"]) == CACHED
            machine.restore(folder)
        elif step["uses"].startswith("actions/upload-artifact@"):
            done.uploaded.extend(_files(folder, [step["with"]["path"]]))
    machine.keep(folder)
    return done


def gitlab(machine: Machine, pipeline: Mapping[str, Any], name: str, *, branch: str, source: str) -> Job | None:
    """Run a job of a GitLab pipeline; None where none of its rules fits. A manual job is taken to be played."""
    folder, commit = machine.clone(branch)
    job = _extended(pipeline, name)
    server = f"https://gitlab-ci-token:a-token@gitlab.example.com/{REPOSITORY}.git"
    variables = {
        "GITLAB_CI": "true",
        "CI_COMMIT_SHORT_SHA": commit[:8],
        "CI_DEFAULT_BRANCH": "main",
        "CI_JOB_TOKEN": "a-token",
        "CI_PIPELINE_SOURCE": source,
        "CI_PROJECT_DIR": str(folder),
        "CI_PROJECT_PATH": REPOSITORY,
        "CI_SERVER_FQDN": "gitlab.example.com",
        "GITLAB_USER_EMAIL": "accepting@example.org",
        "GITLAB_USER_NAME": "Who Accepts",
        "GIT_CONFIG_COUNT": "1",  # where the server's address leads to
        "GIT_CONFIG_KEY_0": f"url.{machine.origin}.insteadOf",
        "GIT_CONFIG_VALUE_0": server,
    }
    if source != "merge_request_event":  # in merge request pipelines it is not set
        variables["CI_COMMIT_BRANCH"] = branch
    if not any(_holds(rule["if"], variables) for rule in job["rules"]):
        return None
    asked = {key: re.sub(r"\$(\w+)", lambda found: variables[found[1]], text) for key, text in job["variables"].items()}
    machine.restore(folder)
    script = "\n".join([*job["before_script"], *job["script"]])
    done = Job(folder, [machine.shell(name, script, folder, {**variables, **asked}, "-e", "-o", "pipefail")])
    artifacts = job.get("artifacts", {})
    if done.passed or artifacts.get("when") == "always":
        junit = [artifacts["reports"]["junit"]] if "reports" in artifacts else []
        done.uploaded.extend(_files(folder, [*artifacts.get("paths", []), *junit]))
    if done.passed or job["cache"].get("when") == "always":
        machine.keep(folder)
    return done


def _truth(condition: str, contexts: Mapping[str, str], *, failed: bool) -> bool:
    """A GitHub condition made of comparisons and status functions joined by `&&`."""
    parts = [part.strip() for part in condition.removeprefix("${{").removesuffix("}}").split("&&")]
    told = {"success()": not failed, "failure()": failed, "always()": True, "!cancelled()": True}
    if not any(status in condition for status in _STATUS):
        parts.append("success()")
    return all(told[part] if part in told else _compared(part, contexts) for part in parts)


def _compared(comparison: str, contexts: Mapping[str, str]) -> bool:
    left, operator, right = comparison.split()
    equal = _value(left, contexts) == _value(right, contexts)
    return equal if operator == "==" else not equal


def _value(operand: str, contexts: Mapping[str, str]) -> str:
    return operand.strip("'") if operand.startswith("'") else contexts[operand]


def _filled(text: str, contexts: Mapping[str, str]) -> str:
    return _EXPRESSION.sub(lambda found: contexts[found[1].strip()], text)


def _extended(pipeline: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A GitLab job with what it extends: mappings are merged, all else is replaced."""
    job = pipeline[name]
    base = _extended(pipeline, job["extends"]) if "extends" in job else {}
    merged = {
        key: {**base[key], **value} if isinstance(value, dict) and key in base else value for key, value in job.items()
    }
    return {**base, **merged}


def _holds(rule: str, variables: Mapping[str, str]) -> bool:
    left, right = (
        variables.get(side.strip()[1:]) if side.strip().startswith("$") else side.strip().strip('"')
        for side in rule.split("==")
    )
    return left == right


def _files(folder: Path, paths: list[str]) -> Iterator[str]:
    """Every file under the paths; hidden ones are left out, as GitHub does."""
    for path in paths:
        found = [folder / path] if (folder / path).is_file() else sorted((folder / path).rglob("*"))
        visible = [one.relative_to(folder) for one in found if one.is_file()]
        yield from (str(one) for one in visible if not any(part.startswith(".") for part in one.parts))
