"""The process of a job: started so that none runs unknown, found again by another studio, and ended with all its own.

A job is a session and process group of its own. A shell leads it: it waits for the word to begin, which comes when the
store knows it, and leaves the command's exit code in a file, because a later studio is not its parent.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, Self

import psutil

from pytest_llmbench.core.errors import NotReadyError

OUTPUT = "output.log"
_EXIT = "exit"
_BEGAN = "output.began"

# The words are: folder to run in, file of the exit code, command. A trap, unlike a signal that is ignored, is not
# passed on to the command.
_SHELL = """
read go && cd "$1" || exit 125
code_file=$2
shift 2
trap : TERM INT HUP
"$@" </dev/null
echo $? >"$code_file.new" && mv "$code_file.new" "$code_file"
"""
_SAME_START_S = 1.0  # the start is counted from the boot, whose time is corrected by fractions of a second


@dataclasses.dataclass(frozen=True, slots=True)
class JobProcess:
    """The leader of a job's process group. `started` is in seconds since 1970; `folder` is the job's."""

    pid: int
    started: float
    folder: Path

    def is_over(self) -> bool:
        """Whether its command has ended, or is led by nobody any more."""
        return self._code_file.exists() or self._leader() != "alive"

    def exit_code(self) -> int | None:
        """The command's; None when it was killed together with its leader, or the machine was."""
        try:
            return int(self._code_file.read_text(encoding="ascii"))
        except (FileNotFoundError, ValueError):
            return None

    def output_began(self) -> int:
        """Where its output begins in the job's log, in bytes: what an earlier process said stands before it."""
        try:
            return int((self.folder / _BEGAN).read_text(encoding="ascii"))
        except (FileNotFoundError, ValueError):
            return 0

    def signal(self, number: int) -> None:
        """Send a signal to the whole group."""
        if self._leader() == "alive":
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, number)

    def end(self) -> None:
        """Kill what is left of the group."""
        self.signal(signal.SIGKILL)
        if self._leader() == "another":
            return
        for process in self._left():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        with contextlib.suppress(ChildProcessError):  # a former studio's child
            os.waitpid(self.pid, 0)

    @property
    def _code_file(self) -> Path:
        return self.folder / _EXIT

    def _leader(self) -> Literal["alive", "gone", "another"]:
        """How the leader is; its number may be another process's by now."""
        try:
            leader = psutil.Process(self.pid)
            if abs(leader.create_time() - self.started) >= _SAME_START_S:
                return "another"
            return "gone" if leader.status() == psutil.STATUS_ZOMBIE else "alive"
        except psutil.NoSuchProcess:
            return "gone"
        except psutil.AccessDenied:  # it is of another user
            return "another"

    def _left(self) -> Iterator[psutil.Process]:
        """Those of the group that outlive its leader. Its number is not given anew as long as there is one."""
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, ProcessLookupError):
                if os.getpgid(process.pid) == self.pid and process.create_time() > self.started - _SAME_START_S:
                    yield process


class WaitingProcess:
    """A process that begins when it is told to within its block, and else ends without a trace."""

    def __init__(self, process: JobProcess, word: int) -> None:
        self.process, self._word, self._begins = process, word, False

    def begin(self) -> None:
        """Let its command run."""
        self._begins = True
        with contextlib.suppress(BrokenPipeError):  # it has been killed; `is_over` will tell
            os.write(self._word, b"go\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._word)
        if not self._begins:
            os.waitpid(self.process.pid, 0)


def began_at(folder: Path) -> float:
    """When the newest process of a job was made, by the clock of the disk that its folder is on; 0 where none was."""
    try:
        return (folder / _BEGAN).stat().st_mtime
    except FileNotFoundError:
        return 0.0


def prepare(command: Sequence[str], project: Path, folder: Path, environment: Mapping[str, str]) -> WaitingProcess:
    """A process that will run `command` in `project`, its output added to the log in the job's `folder`.

    Raises:
        NotReadyError: it cannot be started.
    """
    (folder / _EXIT).unlink(missing_ok=True)
    log = folder / OUTPUT
    (folder / _BEGAN).write_text(str(log.stat().st_size if log.exists() else 0), encoding="ascii")
    words = ["sh", "-c", _SHELL, "sh", str(project), str((folder / _EXIT).absolute()), *command]
    hears, says = os.pipe()
    try:
        pid = os.posix_spawn(
            "/bin/sh",
            words,
            environment,
            file_actions=[
                (os.POSIX_SPAWN_DUP2, hears, 0),
                (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
        )
    except (OSError, NotImplementedError) as error:
        os.close(says)
        raise NotReadyError(f"cannot start the job's process: {error}; free memory or disk and resume it") from error
    finally:
        os.close(hears)
    return WaitingProcess(JobProcess(pid, psutil.Process(pid).create_time(), folder), says)
