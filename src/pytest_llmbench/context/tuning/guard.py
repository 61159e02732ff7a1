"""The process that starts a server and ends it: when it is told to, and when whoever told it dies in any way.

Run as `python -m pytest_llmbench.context.tuning.guard`. It reads one line of JSON, `{"argv": [...], "log": PATH}`, says
`{"pid": N}` or `{"error": TEXT}`, and `{"ended": CODE}` should the server end by itself. Standard input ends when the
parent ends, so no server is ever left behind, nor a process that the server started.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

STOP_S = 20.0
"""How long a server may take to end by itself, before it is killed: vLLM frees its GPUs meanwhile."""


def guard(orders: Mapping[str, Any]) -> None:
    """Start the server and wait for the end of standard input, or for its own."""
    with Path(orders["log"]).open("wb") as log:
        try:
            process = subprocess.Popen(
                orders["argv"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a group of its own, which is ended as a whole
            )
        except OSError as error:
            _say({"error": f"{orders['argv'][0]}: {error.strerror}"})
            return
    _say({"pid": process.pid})
    threading.Thread(target=_tell_end, args=(process,), daemon=True).start()
    sys.stdin.read()
    end_group(process)


def end_group(process: subprocess.Popen[bytes]) -> None:
    """Ask the server and its processes to end, and kill what is left of them in the end."""
    _signal_group(process.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(STOP_S)
    _signal_group(process.pid, signal.SIGKILL)


def _signal_group(group: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, number)


def _tell_end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(BrokenPipeError):
        _say({"ended": process.wait()})


def _say(message: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    guard(json.loads(sys.stdin.readline()))
