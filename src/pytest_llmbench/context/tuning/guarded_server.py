"""A server's process under its guard: when it can be asked, why it ended, what it said, and that it ends with us."""

from __future__ import annotations

import contextlib
import datetime
import http.client
import json
import os
import re
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pytest_llmbench.context.tuning.guard import KILLED_S, STOP_S
from pytest_llmbench.context.tuning.launching import HOST
from pytest_llmbench.core.errors import NotReadyError

_LOOK_EVERY_S = 0.2
_LOOK_TIMEOUT_S = 2.0
_OK, _LOADING = 200, 503
_LOCKED = (401, 403)
_TOLD = 3  # last lines of a server's output that its failure is told with
_ERRORS = 2  # of a Python server, its last exceptions: vLLM's very last says "see root cause above"
_RECENT = 200  # lines in which they are looked for: an earlier one it survived; tracebacks of vLLM's processes fit in
_SIGNALLED = 128  # and the signal's number: how a shell and a container tell of one
_LONGEST = 400  # characters of each
_COLOURS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_ERROR = re.compile(r"(?:^|\] )((?:\w+\.)*\w*(?:Error|Exception): .+)$", re.MULTILINE)


class GuardedServer:
    """A command under its guard, which ends it with this block or with this process.

    Its output is kept in the folder `logs` where it failed; without one it goes with the block.

    Raises:
        NotReadyError: on entering, there is no such program, or the disk refuses its output.
    """

    def __init__(self, command: list[str], logs: Path | None = None) -> None:
        self._command, self._logs = command, logs
        self._said: dict[str, Any] = {}
        self._listener = threading.Thread(target=self._hear, daemon=True)
        self._failed = False
        self._said_when_ready = 0  # lines of its output
        self.pid = 0

    def __enter__(self) -> Self:
        self._log = _new_log(self._logs)
        with contextlib.ExitStack() as stack:
            stack.callback(self._forget_log)
            self._process = stack.enter_context(_guard())
            stack.callback(self._stop)
            assert self._process.stdin is not None  # noqa: S101  # for the type checker: it is a pipe
            self._process.stdin.write(json.dumps({"argv": self._command, "log": str(self._log)}) + "\n")
            self._process.stdin.flush()
            self._hear()
            if "pid" not in self._said:
                raise NotReadyError(f"the server did not start: {self._said.get('error', 'its guard is gone')}")
            self.pid = int(self._said["pid"])
            self._listener.start()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, _: object, __: TracebackType | None) -> None:
        self._failed = self.why_gone() is not None or (kind is not None and issubclass(kind, NotReadyError))
        self._stack.close()

    def wait_until_ready(self, port: int, longest_s: float, headers: Mapping[str, str]) -> None:
        """Return once the server lists its models, and does not say that it is still loading.

        Older builds of llama.cpp list them while they load, and SGLang while it warms up; `/health` says so of both.

        Raises:
            NotReadyError: it ended, refuses the key, or did not in the time.
        """
        ends = time.monotonic() + longest_s
        while (status := _status_of(port, "/v1/models", headers)) != _OK or _status_of(port, "/health") == _LOADING:
            if status in _LOCKED:
                raise NotReadyError(
                    f"the server refuses the key (HTTP {status}); set the one that it wants in LLMBENCH_API_KEY"
                )
            if why := self.why_gone():
                raise NotReadyError(f"the server did not start: {why}")
            if time.monotonic() > ends:
                raise NotReadyError(
                    f"the server was not ready after {longest_s:g} s; raise tune.start_timeout, or see what keeps it"
                    f"{self._last_words()}",
                    names=("tune.start_timeout",),
                )
            time.sleep(_LOOK_EVERY_S)
        self._said_when_ready = len(self._output().splitlines())

    def why_gone(self) -> str | None:
        """Why the process ended; None while it runs."""
        if "ended" not in self._said:
            return None
        code = int(self._said["ended"])
        errors = self._last_errors() if 0 < code < _SIGNALLED else ()  # what was killed did not end of an exception
        return f"it ended with code {code}{self._told(errors) if errors else self._last_words()}"

    def _last_errors(self) -> Sequence[str]:
        """Its last exceptions, but for those that did not keep it from being ready."""
        lines = self._output().splitlines()[self._said_when_ready :][-_RECENT:]
        return list(dict.fromkeys(_ERROR.findall("\n".join(lines))))[-_ERRORS:]

    def _hear(self) -> None:
        """Take in what the guard says next."""
        assert self._process.stdout is not None  # noqa: S101
        with contextlib.suppress(ValueError):  # closed meanwhile
            if line := self._process.stdout.readline():
                self._said |= json.loads(line)

    def _output(self) -> str:
        return _COLOURS.sub("", self._log.read_text("utf-8", errors="replace"))

    def _last_words(self) -> str:
        lines = [line.strip() for line in self._output().splitlines() if line.strip()]
        return self._told(lines[-_TOLD:]) if lines else ""

    def _told(self, lines: Sequence[str]) -> str:
        whole = f"; all that it said is in {self._log}" if self._logs else ""
        return f": {' / '.join(textwrap.shorten(line, _LONGEST, placeholder=' …') for line in lines)}{whole}"

    def _stop(self) -> None:
        assert self._process.stdin is not None  # noqa: S101
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(2 * (STOP_S + KILLED_S))
        except subprocess.TimeoutExpired:
            self._process.kill()
        if self._listener.is_alive():
            self._listener.join()

    def _forget_log(self) -> None:
        if not (self._failed and self._logs and self._log.stat().st_size):
            self._log.unlink(missing_ok=True)


def _new_log(folder: Path | None) -> Path:
    now = datetime.datetime.now().astimezone()
    try:
        if folder:
            folder.mkdir(parents=True, exist_ok=True)
        descriptor, path = tempfile.mkstemp(".log", f"{now:%Y-%m-%d-%H%M%S}-", folder)
    except OSError as error:
        told = f"cannot write a server's output into {folder}: {error.strerror}; choose another report folder"
        raise NotReadyError(told) from error
    os.close(descriptor)
    return Path(path)


def _guard() -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            sys.executable,
            "-P",
            "-m",
            "pytest_llmbench.context.tuning.guard",
        ],  # files of the working folder are no modules
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C is for us, who end it
    )


def _status_of(port: int, page: str, headers: Mapping[str, str] | None = None) -> int | None:
    """What a page of the server is answered with; None where nobody answers."""
    connection = http.client.HTTPConnection(HOST, port, timeout=_LOOK_TIMEOUT_S)
    try:
        connection.request("GET", page, headers=dict(headers or {}))
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
