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
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

STOP_S = 20.0
"""How long a server may take to end by itself, before it is killed: vLLM frees its GPUs meanwhile."""
KILLED_S = 5.0
"""How long processes that were killed may take to be gone: until then the memory of a GPU is not free for others."""
_LOOK_EVERY_S = 0.05


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
    if _signal_group(process.pid, signal.SIGKILL):
        ends = time.monotonic() + KILLED_S
        while _holds_memory(process.pid) and time.monotonic() < ends:
            time.sleep(_LOOK_EVERY_S)


def _signal_group(group: int, number: int) -> bool:
    """Whether there is anybody in it."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):  # macOS has no permission where only zombies are left
        return False
    return True


def _holds_memory(group: int) -> bool:
    """Whether any process of the group is more than a zombie, which holds nothing and waits for init alone."""
    import psutil

    for one in psutil.process_iter():
        with contextlib.suppress(OSError, psutil.Error):
            if os.getpgid(one.pid) == group and one.status() != psutil.STATUS_ZOMBIE:
                return True
    return False


def _tell_end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(BrokenPipeError):
        _say({"ended": process.wait()})


def _say(message: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    guard(json.loads(sys.stdin.readline()))
