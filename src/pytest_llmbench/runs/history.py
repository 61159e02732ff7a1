"""Saved runs, found by what a person calls them, and in short, one after the other."""

from __future__ import annotations

import dataclasses
import difflib
import logging
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_llmbench.core.errors import MissingRunError, UsageError
from pytest_llmbench.core.provenance import commit_of, committed_file, is_repository
from pytest_llmbench.generation.completion_store import journal_in
from pytest_llmbench.runs.averages import in_short
from pytest_llmbench.runs.baseline import Comparable, comparable
from pytest_llmbench.runs.folders import (
    CONTEXT_FILE,
    NUMBERED,
    RUN_FILE,
    RunFolder,
    at_work_beside,
    finish,
    new_folder,
    new_side_folder,
    refuse_output,
    safe_name,
    save,
    saved_runs,
    unfinished,
)
from pytest_llmbench.runs.storage import checked, is_baseline, read_head, read_saved
from pytest_llmbench.runs.typed import RunDocument, RunPoint, run_document

__all__ = [
    "LATEST",
    "RunFolder",
    "SavedRun",
    "at_work_beside",
    "find_run",
    "finish",
    "named_by_hash",
    "new_folder",
    "new_side_folder",
    "newest_of",
    "read_in_turn",
    "refuse_output",
    "save",
    "saved_runs",
    "saved_since",
    "trend",
    "unfinished",
]

LATEST = "latest"
"""What the newest saved run is called."""

_FILES = (RUN_FILE, "benchmark.json")
_HASH = re.compile(r"[0-9a-f]{7,40}")
_SHOWN = 10
_NEAR = 3
_log = logging.getLogger("pytest_llmbench")


@dataclasses.dataclass(frozen=True, slots=True)
class SavedRun:
    """A run or a baseline that was read and checked. `path` is its file, None where it came out of git."""

    name: str
    path: Path | None
    document: Mapping[str, Any]

    @property
    def typed(self) -> RunDocument:
        """A run with its values as attributes; a baseline has no such form."""
        return run_document(self.document)

    @property
    def is_baseline(self) -> bool:
        """Whether it is a baseline, which holds scores but no answers."""
        return is_baseline(self.document)

    @property
    def comparable(self) -> Comparable:
        """What comparisons read of it."""
        return comparable(self.document, self.name, self.path)


def find_run(reference: str, report_dir: Path) -> SavedRun:
    """The run that a person means. The first of these that fits is taken:

    1. `latest`, the saved run of the highest number that is not scored anew from another one
    2. a number, `7` or `0007`
    3. a folder's name, `0007_accepted`
    4. seven or more digits of the hash of the commit that a saved run was made from
    5. a name, `accepted`: the newest run that was saved under it
    6. a path: a run.json, a benchmark.json or a baseline file, or a folder that holds one
    7. what git calls a commit (branch, tag, `HEAD~1`): the newest run that was made from it
    8. `REF:PATH`: a run file or a baseline as committed at that git reference

    Of a commit's runs, those from a dirty working copy are taken only where there is no other, with a warning.

    Raises:
        MissingRunError: nothing fits.
        UsageError: two runs fit, or the file is not one that can be read.
    """
    runs = saved_runs(report_dir)
    if folder := _saved_as(reference, runs, report_dir):
        return SavedRun(folder.title, folder.path, read_saved(folder.path))
    if os.path.exists(reference):  # noqa: PTH110  # Path.exists raises where the text cannot be a path
        return _at(Path(reference))
    if commit := commit_of(reference):
        if folder := newest_of(commit, _made_from(runs)):
            return SavedRun(folder.title, folder.path, read_saved(folder.path))
        raise MissingRunError(
            f"{reference} is commit {commit[:12]}, and none of {_listing(report_dir, runs)} was made from it"
        )
    place, colon, file = reference.partition(":")
    if place and colon and file:
        document = checked(committed_file(place, file), reference)
        return SavedRun(document["metadata"]["name"] if is_baseline(document) else reference, None, document)
    raise MissingRunError(_unknown(reference, report_dir, runs))


def trend(report_dir: Path, limit: int, until: str | None = None) -> list[RunPoint]:
    """The newest runs in short, at most `limit`, oldest first; with `until`, of those made up to this timestamp.

    Each is `{"name", "timestamp", "variants": {variant: {metric: mean}}, "outcome"}`; the outcome is the gate's, None
    where there was none. A run that cannot be read is left out with a warning; answers of another run that were scored
    anew are left out too, being no run of their own.
    """
    points: list[RunPoint] = []
    for run in reversed(saved_runs(report_dir)):
        if len(points) == limit:
            break
        head = _readable_head(run)
        if head and not _is_rescored(head) and (until is None or head["metadata"]["timestamp"] <= until):
            points.append(in_short(run.title, run_document(head)))
    return points[::-1]


def read_in_turn(runs: Iterable[RunFolder]) -> Iterator[Comparable]:
    """Each run when it is its turn; one that cannot be read is left out with a warning."""
    for run in runs:
        yield from _readable(run)


def saved_since(baseline: Comparable, report_dir: Path) -> list[RunFolder]:
    """The saved runs that were made after the baseline, oldest first.

    One that cannot be read is left out with a warning; answers of another run that were scored anew are left out too.
    """
    found: list[tuple[str, RunFolder]] = []
    for run in saved_runs(report_dir):
        head = _readable_head(run)
        if not head or _is_rescored(head) or run.title == baseline.name:
            continue
        if head["metadata"]["timestamp"] >= baseline.metadata["timestamp"]:  # to the second: it may be the same one
            found.append((str(head["metadata"]["timestamp"]), run))
    return [run for _, run in sorted(found, key=lambda one: one[0])]


def _saved_as(reference: str, runs: Sequence[RunFolder], report_dir: Path) -> RunFolder | None:
    if reference == LATEST:
        if not runs:
            raise MissingRunError(
                f"{LATEST}: {report_dir / 'runs'} holds no benchmark yet; `pytest -m benchmark` saves one"
            )
        return _newest_measured(runs)
    numbered = [run for run in runs if reference.isdecimal() and run.number == int(reference)]
    if len(numbered) > 1:
        titles = ", ".join(run.title for run in numbered)
        raise UsageError(f"{reference} is the number of {len(numbered)} runs: {titles}; give the whole name of one")
    titled = [run for run in runs if run.title == reference]
    if found := [*numbered, *titled]:
        return found[0]
    by_commit = newest_of(reference, _made_from(runs)) if named_by_hash(reference) else None
    name = "" if not reference or "/" in reference else safe_name(reference)  # ./accepted is a path
    return by_commit or next((run for run in reversed(runs) if run.name == name), None)


def _newest_measured(runs: Sequence[RunFolder]) -> RunFolder:
    """The newest run whose answers were asked for it; of scores anew over old answers, only where there is no other."""
    heads = ((run, _readable_head(run)) for run in reversed(runs))
    return next((run for run, head in heads if head is None or not _is_rescored(head)), runs[-1])


def _is_rescored(head: Mapping[str, Any]) -> bool:
    return "rescored" in head["metadata"]


def _made_from(runs: Sequence[RunFolder]) -> Iterator[tuple[RunFolder, Mapping[str, Any]]]:
    """The runs that can be read, the newest first, with what git said when they were made."""
    for run in reversed(runs):
        if head := _readable_head(run):
            yield run, head["metadata"].get("git") or {}


def named_by_hash(reference: str) -> bool:
    """Whether a reference may be a (shortened) hash of a commit."""
    return _HASH.fullmatch(reference) is not None


def newest_of(commit: str, made_from: Iterable[tuple[RunFolder, Mapping[str, Any]]]) -> RunFolder | None:
    """The newest run that was made from the commit of this (shortened) hash, from a clean working copy if there is one.

    `made_from` are runs, the newest first, with the state of git that each was made from.

    Raises:
        UsageError: the hash is short for several commits.
    """
    fitting = [(run, git) for run, git in made_from if (git.get("commit") or "").startswith(commit)]
    commits = {git["commit"] for _, git in fitting}
    if len(commits) > 1:
        raise UsageError(f"{commit} is short for {len(commits)} commits of saved runs: {', '.join(sorted(commits))}")
    clean = [run for run, git in fitting if not git["dirty"]]
    if fitting and not clean:
        _log.warning(
            "%s was made from commit %s with uncommitted changes; no run was made from the commit itself",
            fitting[0][0].title,
            commit[:12],
        )
    return next(iter([*clean, *(run for run, _ in fitting)]), None)


def _readable_head(run: RunFolder) -> Mapping[str, Any] | None:
    try:
        return read_head(run.path)
    except UsageError as error:
        _log.warning("left out: %s", error)
        return None


def _readable(run: RunFolder) -> Iterator[Comparable]:
    """The whole run, unless it cannot be read: a large one's results lie in files of their own, which may be gone."""
    try:
        yield comparable(read_saved(run.path), run.title, run.path)
    except UsageError as error:
        _log.warning("left out: %s", error)


def _at(path: Path) -> SavedRun:
    file = _file_in(path) if path.is_dir() else path
    document = read_saved(file)
    title = file.resolve().parent.name
    name = title if file.name == RUN_FILE and NUMBERED.fullmatch(title) else file.as_posix()
    return SavedRun(document["metadata"]["name"] if is_baseline(document) else name, file, document)


def _file_in(folder: Path) -> Path:
    """The run or baseline file that a folder stands for. Raises UsageError when it holds none, or cannot tell which."""
    if found := next((folder / name for name in _FILES if (folder / name).is_file()), None):
        return found
    if journal_in(folder):
        raise UsageError(
            f"{folder}: this run was cut short; `pytest -m benchmark` finishes it when told to resume",
            names=("resume",),
        )
    others = sorted(folder.glob("*.json"))
    if len(others) == 1:
        return others[0]
    if others:
        raise UsageError(
            f"{folder}: holds {len(others)} files ({_some(path.name for path in others)}); name one of them"
        )
    raise MissingRunError(
        f"{folder}: neither {' nor '.join(_FILES)} is in it; give a run's file, or the folder it is in"
    )


def _unknown(reference: str, report_dir: Path, runs: Sequence[RunFolder]) -> str:
    names = dict.fromkeys(name for run in reversed(runs) for name in (run.name, run.title))
    near = difflib.get_close_matches(reference, names, n=_NEAR)
    git = "git reference" if is_repository() else "git reference (this is not a git repository)"
    meant = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
    return f"no run {reference!r}: it is neither one of {_listing(report_dir, runs)}, nor a file, nor a {git}{meant}"


def _listing(report_dir: Path, runs: Sequence[RunFolder]) -> str:
    """The runs that there are to choose from, and those of another kind, which the reader may have meant."""
    contexts = _some(run.title for run in reversed(saved_runs(report_dir, CONTEXT_FILE)))
    listed = _some(run.title for run in reversed(runs)) or ("no benchmark yet" if contexts else "none yet")
    return f"the runs in {report_dir / 'runs'} ({listed}{f'; context runs: {contexts}' if contexts else ''})"


def _some(names: Iterable[str]) -> str:
    listed = list(names)
    rest = len(listed) - _SHOWN
    return ", ".join([*listed[:_SHOWN], *([f"and {rest} more"] if rest > 0 else [])])
