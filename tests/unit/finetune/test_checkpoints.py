from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pytest_llmbench.core.errors import NotReadyError
from pytest_llmbench.finetune.checkpoints import (
    TrainingSession,
    newest_checkpoint,
    note_sessions,
    sessions_of,
    whole_checkpoint,
)


def write(folder: Path, error: BaseException | None = None) -> None:
    with whole_checkpoint(folder):
        folder.mkdir()
        (folder / "weights").write_bytes(b"1234")
        if error:
            raise error


@pytest.mark.parametrize("error", [RuntimeError("a bug"), KeyboardInterrupt()])
def test_what_is_no_fault_of_the_disk_is_passed_on_and_leaves_no_part(tmp_path: Path, error: BaseException) -> None:
    with pytest.raises(type(error)):
        write(tmp_path / "checkpoint-1", error)
    assert list(tmp_path.iterdir()) == []


def test_an_error_that_says_nothing_is_told_by_the_free_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 0))
    with pytest.raises(NotReadyError, match="checkpoint-1: the disk is full; free some space"):
        write(tmp_path / "checkpoint-1", RuntimeError("write failed"))


def test_a_checkpoint_tells_its_sessions_and_stays_whole(tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint-3"
    write(checkpoint)
    assert sessions_of(checkpoint) == ()
    sessions = (TrainingSession(0, 2, 1.5, 8, 100), TrainingSession(2, 3, 1.0, 4, 50))
    note_sessions(checkpoint, sessions)
    assert sessions_of(checkpoint) == sessions
    assert newest_checkpoint(tmp_path) == checkpoint
