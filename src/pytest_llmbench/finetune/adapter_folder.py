"""The folders of a training: its adapter, which appears whole; its checkpoints; and the lock that keeps others out."""

from __future__ import annotations

import contextlib
import json
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pytest_llmbench.core.errors import NotReadyError, UsageError
from pytest_llmbench.core.files import cannot_write, locked, write_text
from pytest_llmbench.finetune.checkpoints import newest_checkpoint, why_not_written

_CONFIG = "adapter_config.json"
_IDENTITY = "training.json"


def checkpoints_of(output: Path) -> Path:
    """Where the checkpoints of a training lie until its adapter is whole."""
    return output.with_name(f"{output.name}.checkpoints")


def check_output(output: Path, *, overwrite: bool) -> None:
    """See that an adapter may be written there.

    Raises:
        UsageError: something else is there, or an adapter that must not be replaced.
    """
    if not output.exists():
        return
    if not output.is_dir() or (any(output.iterdir()) and not (output / _CONFIG).is_file()):
        raise UsageError(f"{output} exists and is no adapter; choose another folder", names=("output",))
    if any(output.iterdir()) and not overwrite:
        raise UsageError(
            f"{output} holds an adapter already; choose another folder, or overwrite it", names=("output", "overwrite")
        )


@contextlib.contextmanager
def training_folder(output: Path) -> Iterator[Path]:
    """The folder of the checkpoints, kept from other trainings while the block runs; it goes when nothing is in it.

    Raises:
        UsageError: another training is writing this adapter.
        NotReadyError: the folder cannot be written.
    """
    folder = checkpoints_of(output)
    in_use = f"{output} is in use: another training is writing it; wait for it, or choose another folder"
    with locked(folder / ".lock", in_use=in_use, names=("output",)):
        try:
            yield folder
        finally:
            if newest_checkpoint(folder) is None:
                shutil.rmtree(folder, ignore_errors=True)


def checkpoint_to_resume(folder: Path, *, resume: bool, overwrite: bool) -> Path | None:
    """The newest whole checkpoint to go on from; None for a new training.

    Raises:
        UsageError: there is nothing to resume, or checkpoints are there and not wanted.
    """
    newest = newest_checkpoint(folder)
    if resume and newest is None:
        raise UsageError(
            f"nothing to resume: {folder} holds no whole checkpoint; start without resuming", names=("resume",)
        )
    if newest is not None and not resume and not overwrite:
        told = f"{folder} holds {newest.name} of a stopped training; resume it, or overwrite it"
        raise UsageError(told, names=("resume", "overwrite"))
    return newest if resume else None


def refuse_another_training(checkpoint: Path, identity: Mapping[str, Any]) -> None:
    """See that a checkpoint is of the same training: the same data, base and settings.

    Raises:
        UsageError: it is of another one, or nothing says of which.
    """
    path = checkpoint.with_name(_IDENTITY)
    try:
        recorded = dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise UsageError(f"{path} is missing or damaged; overwrite it, to start anew", names=("overwrite",)) from error
    asked = json.loads(json.dumps(identity))
    if changed := [key for key in asked | recorded if recorded.get(key) != asked.get(key)]:
        raise UsageError(
            f"{checkpoint} is of a training with another {', '.join(changed)}; ask for the same as before, or "
            "overwrite it, to start anew",
            names=("overwrite",),
        )


def begin_anew(folder: Path, identity: Mapping[str, Any]) -> None:
    """Remove the checkpoints of earlier trainings and write down whose the next ones are.

    Raises:
        NotReadyError: the disk is full.
    """
    for path in folder.glob("checkpoint-*"):
        shutil.rmtree(path, ignore_errors=True)
    write_text(folder / _IDENTITY, json.dumps(identity, indent=2))


@contextlib.contextmanager
def new_adapter_folder(output: Path) -> Iterator[Path]:
    """A temporary folder that becomes `output` when the block ends well, and vanishes when it does not."""
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{output.name}.", dir=output.parent))
    except OSError as error:
        raise cannot_write(output, error) from error
    try:
        yield temporary
        _open_as_usual(temporary)
        _take_place(temporary, output)
    except Exception as error:  # the libraries that write raise nothing narrower on a full disk
        reason = why_not_written(error, output.parent)
        if reason is None:
            raise
        raise NotReadyError(f"cannot write {output}: {reason}; free some space or choose another folder") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _open_as_usual(folder: Path) -> None:
    """Give a folder and its files the mode of new ones; safetensors and `tempfile` let their owner alone read them."""
    probe = folder / ".mode"
    probe.touch()
    mode = stat.S_IMODE(probe.stat().st_mode)
    probe.unlink()
    for path in folder.iterdir():
        path.chmod(mode)
    folder.chmod(mode | (mode & 0o444) >> 2)  # who may read it may enter it


def _take_place(new: Path, output: Path) -> None:
    if not output.exists():
        new.rename(output)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{output.name}.", dir=output.parent))
    output.rename(old)  # onto an empty folder
    try:
        new.rename(output)
    except OSError:
        old.rename(output)
        raise
    shutil.rmtree(old, ignore_errors=True)
