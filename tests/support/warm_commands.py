"""`llmbench` and `pytest` as a reader types them, each forked from a process that has imported what most commands need.

Of a command on a tiny model, importing PyTorch, transformers and PEFT takes most of the time, and a page of the
documentation has a dozen commands. What is shared are other people's modules, as their import leaves them; arguments,
folder, environment, streams and our own modules are the command's own. Tests of what is imported start no such command.

usage: warm_commands.py DESCRIPTOR    (serves at that listening socket)
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from pytest_llmbench.models.quiet import import_bitsandbytes

_PROGRAMS = ("llmbench", "pytest")
_SCRIPTS = Path(sys.executable).parent
_IMPORTED = (
    *("transformers.models.llama.modeling_llama", "transformers.models.auto.modeling_auto"),
    *("transformers.trainer", "peft", "trl", "matplotlib.backends.backend_agg", "matplotlib.backends.backend_svg"),
    *("matplotlib.figure", "scipy.special", "aiohttp.web", "typer", "rich.table", "jinja2", "jsonschema"),
)
_LOOK_S = 5.0
_CLIENT = """\
#!{python} -IS
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as served:
    served.connect({address!r})
    asked = json.dumps([{program!r}, sys.argv[1:], os.getcwd(), dict(os.environ)])
    socket.send_fds(served, [b"!"], [0, 1, 2])
    served.sendall(asked.encode() + b"\\n")
    code = served.recv(1)
os._exit(code[0] if code else 1)
"""


@contextlib.contextmanager
def warm_commands(folder: Path) -> Iterator[Path]:
    """Inside the block the commands in `folder`, which is to come first on `PATH`, start at once."""
    address = str(folder / "served")
    for program in _PROGRAMS:
        client = folder / program
        client.write_text(_CLIENT.format(python=sys.executable, address=address, program=program))
        client.chmod(0o755)
    with (
        socket.create_server(address, family=socket.AF_UNIX, backlog=16) as listening,
        subprocess.Popen([sys.executable, __file__, str(listening.fileno())], pass_fds=[listening.fileno()]) as server,
    ):
        try:
            yield folder
        finally:
            server.terminate()


def _serve(listening: socket.socket) -> None:
    """Fork for each command that is asked for; only forks return. It ends with the process that started it."""
    started_by = os.getppid()
    listening.settimeout(_LOOK_S)
    while True:
        while _reaped():
            pass
        try:
            asking, _ = listening.accept()
        except TimeoutError:
            if os.getppid() != started_by:
                sys.exit()
            continue
        if os.fork() == 0:
            listening.close()
            break
        asking.close()
    _, given, _, _ = socket.recv_fds(asking, 1, 3)
    program, words, folder, environment = json.loads(asking.makefile().readline())
    command = os.fork()
    if command:
        _await(command, asking)
        os._exit(0)
    asking.close()
    for own, stream in enumerate(given):
        os.dup2(stream, own)
        os.close(stream)
    sys.stdin, sys.stdout = open(0, closefd=False), open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = [str(_SCRIPTS / program), *words]


def _reaped() -> bool:
    with contextlib.suppress(ChildProcessError):
        return os.waitpid(-1, os.WNOHANG)[0] != 0
    return False


def _await(command: int, asking: socket.socket) -> None:
    """Tell how the command ended; it ends with who asked for it."""
    ended = os.pidfd_open(command)
    ready, _, _ = select.select([ended, asking.fileno()], [], [])
    if ended not in ready:
        os.kill(command, signal.SIGTERM)
    code = os.waitstatus_to_exitcode(os.waitpid(command, 0)[1])
    with contextlib.suppress(BrokenPipeError):
        asking.sendall(bytes([code if code >= 0 else 128 - code]))


def _main() -> None:
    import_bitsandbytes()
    for name in _IMPORTED:
        importlib.import_module(name)
    for name in [name for name in sys.modules if name.partition(".")[0] == "pytest_llmbench"]:
        del sys.modules[name]
    sys.path[0] = str(_SCRIPTS)
    gc.freeze()  # forks share what they do not look at
    _serve(socket.socket(fileno=int(sys.argv[1])))
    _run()


def _run() -> NoReturn:
    """The command, to its end but for what an interpreter does last: taking every module apart takes two seconds."""
    code = 0
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        if isinstance(ended.code, str):
            sys.stderr.write(f"{ended.code}\n")
    except BaseException:  # noqa: BLE001  # as the interpreter would
        traceback.print_exc()
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]  # waits for threads
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    _main()
