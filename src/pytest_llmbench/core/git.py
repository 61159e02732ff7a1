"""What a git repository knows of a reference: the commit that it names, and a file as it was committed."""

from __future__ import annotations

import os
import subprocess

from pytest_llmbench.core.errors import MissingRunError, UsageError

_TIMEOUT_S = 10


def is_repository() -> bool:
    """Whether the current folder is in a git repository, and git is installed."""
    return _git("rev-parse", "--git-dir") is not None


def commit_of(reference: str) -> str | None:
    """The full hash of the commit that a branch, a tag or a shortened hash names, None where it names none."""
    found = _git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{reference}^{{commit}}")
    return found.decode().strip() if found else None


def committed_file(reference: str, path: str) -> str:
    """The text of a file as committed at `reference`. `path` starts at the top of the repository, or with `./` here.

    Raises:
        MissingRunError: no repository is here, or there is no such commit or file in it.
        UsageError: the file is not UTF-8.
    """
    place = f"{reference}:{path}"
    if not is_repository():
        raise MissingRunError(f"{place}: the current folder is not in a git repository; give a file's path")
    if commit_of(reference) is None:
        raise MissingRunError(
            f"{place}: git knows no branch, tag or commit {reference!r} here; fetch it, or name another"
        )
    content = _git("cat-file", "blob", place)
    if content is None:
        raise MissingRunError(
            f"{place}: no such file was committed there; write the path from the top of the repository, "
            "or with ./ from the current folder"
        )
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise UsageError(f"{place}: this is not a UTF-8 text file") from error


def _git(*words: str) -> bytes | None:
    """What git prints, None where it fails or is not installed."""
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}  # reading must not rewrite the index
    try:
        done = subprocess.run(["git", *words], env=environment, capture_output=True, timeout=_TIMEOUT_S, check=False)
    except (OSError, ValueError, subprocess.TimeoutExpired):  # ValueError: words that no program can be given
        return None
    return done.stdout if done.returncode == 0 else None
