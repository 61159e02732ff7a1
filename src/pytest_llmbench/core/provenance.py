"""Where a run came from: code, libraries and machine; and what git has of a reference."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

from pytest_llmbench import __version__
from pytest_llmbench.core.errors import MissingRunError, UsageError
from pytest_llmbench.core.machine import usable_cores

ANSWERING = ("torch", "transformers", "peft", "bitsandbytes")
"""Libraries that decide what a local model answers; a server's are its own."""

LIBRARIES = (*ANSWERING, "numpy", "scipy", "pytest")
_GIT_TIMEOUT_S = 10

_TIMEOUT_S = 10


def provenance(folder: Path | None = None, *, answered_here: bool = True) -> dict[str, Any]:
    """What made the numbers, for the report's metadata.

    `git` is the state of `folder` (the current one when None), null outside a repository. Versions are read from the
    installed metadata, so no library is imported for it; GPUs are listed only where torch is already in use. Where
    nothing was `answered_here`, the libraries that answer are left out.
    """
    return {
        "git": _git(folder),
        "versions": _versions(() if answered_here else ANSWERING),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": cpu(),
        "memory_bytes": _memory_bytes(),
        "gpus": _gpus(),
    }


def _git(folder: Path | None) -> dict[str, Any] | None:
    """Commit and dirty flag in one call. Untracked files do not count, as with `git describe --dirty`."""
    command = ["git", "status", "--porcelain=v2", "--branch", "--untracked-files=no"]
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}  # reading must not rewrite the index
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="replace",
            timeout=_GIT_TIMEOUT_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    lines = done.stdout.splitlines()
    commit = next((line.split()[-1] for line in lines if line.startswith("# branch.oid")), "(initial)")
    return {
        "commit": None if commit == "(initial)" else commit,
        "dirty": any(not line.startswith("#") for line in lines),
    }


def _versions(left_out: Collection[str]) -> dict[str, str]:
    found = {"pytest-llmbench": __version__}
    for name in [name for name in LIBRARIES if name not in left_out]:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def cpu() -> dict[str, Any]:
    """The processor's name, its cores, and how many of them this process may use."""
    return {"model": _cpu_model(), "cores": os.cpu_count(), "usable_cores": usable_cores()}


def _cpu_model() -> str:
    listing = Path("/proc/cpuinfo")
    if listing.exists():
        for line in listing.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _memory_bytes() -> int:
    import psutil

    return int(psutil.virtual_memory().total)


def _gpus() -> list[dict[str, Any]]:
    torch: Any = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return []
    devices = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    return [{"name": device.name, "memory_bytes": int(device.total_memory)} for device in devices]


def is_repository() -> bool:
    """Whether the current folder is in a git repository, and git is installed."""
    return _printed("rev-parse", "--git-dir") is not None


def commit_of(reference: str) -> str | None:
    """The full hash of the commit that a branch, a tag or a shortened hash names, None where it names none."""
    found = _printed("rev-parse", "--verify", "--quiet", "--end-of-options", f"{reference}^{{commit}}")
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
    content = _printed("cat-file", "blob", place)
    if content is None:
        raise MissingRunError(
            f"{place}: no such file was committed there; write the path from the top of the repository, "
            "or with ./ from the current folder"
        )
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise UsageError(f"{place}: this is not a UTF-8 text file") from error


def _printed(*words: str) -> bytes | None:
    """What git prints, None where it fails or is not installed."""
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}  # reading must not rewrite the index
    try:
        done = subprocess.run(["git", *words], env=environment, capture_output=True, timeout=_TIMEOUT_S, check=False)
    except (OSError, ValueError, subprocess.TimeoutExpired):  # ValueError: words that no program can be given
        return None
    return done.stdout if done.returncode == 0 else None
