"""Servers that a command starts: vLLM, SGLang, llama-server or a container, from a template with the settings in it."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pytest_llmbench.context.serving.argv import argv
from pytest_llmbench.context.tuning.guard import STOP_S
from pytest_llmbench.context.tuning.launching import HOST, Launched, free_port
from pytest_llmbench.core.errors import NotReadyError, UsageError

if TYPE_CHECKING:
    from pytest_llmbench.context.serving.launch_settings import LaunchSettings
    from pytest_llmbench.context.tuning.space import Candidate, SearchSpace, Value

_PLACE = re.compile(r"\{([a-z][a-z0-9_]*)\}")
_ALWAYS = ("port", "model", "context", "flags")
_LOOK_EVERY_S = 0.2
_LOOK_TIMEOUT_S = 2.0
_OK = 200
_LOCKED = (401, 403)
_TOLD = 3  # last lines of a server's output that its failure is told with
_NAMES = ("tune.command",)


class CommandLauncher:
    """Starts what a template says, and waits until `/v1/models` answers.

    The template is split as a POSIX shell would, and no shell runs it. `{port}` is where the server must listen on
    loopback, `{model}` and `{context}` what is served, `{flags}` all settings as the engine's own options, any other
    name in braces a setting or a name that is varied. `headers` are those of every question, the server's key too.

    Raises:
        UsageError: no such template can work.
    """

    def __init__(self, template: str, start_s: float, headers: Mapping[str, str] | None = None) -> None:
        self.name = template
        self._words = _split(template)
        self._start_s = start_s
        self._headers = headers or {}
        if "port" not in self.placeholders:
            raise UsageError("tune.command: has no {port}; write it where the server's port belongs", names=_NAMES)

    @classmethod
    def of_engine(
        cls, settings: LaunchSettings, start_s: float, headers: Mapping[str, str] | None = None
    ) -> CommandLauncher:
        """The engine's own command, as installed here."""
        words = argv(settings)
        start = words[: _place_of_flags(words) - 4]
        return cls(f"{shlex.join(start)} --host {HOST} --port {{port}} {{flags}}", start_s, headers)

    @property
    def placeholders(self) -> frozenset[str]:
        """The names in braces."""
        return frozenset(name for word in self._words for name in _PLACE.findall(word))

    @property
    def own_names(self) -> frozenset[str]:
        """Names in braces that stand for settings, of the engine or of the template alone."""
        return self.placeholders - set(_ALWAYS)

    def served(self, launch: LaunchSettings) -> LaunchSettings:
        """See `Launcher.served`."""
        return launch

    def check(self, space: SearchSpace) -> None:
        """See `Launcher.check`."""
        self._refuse_unset(space)
        program = self._words[0]
        if shutil.which(program) is None:
            raise NotReadyError(
                f"nothing here can start a server: there is no program {program!r}; install it, or give another "
                "command with tune.command",
                names=_NAMES,
            )
        if (module := _module_of(self._words)) and not _has_module(program, module):
            raise NotReadyError(
                f"nothing here can start a server: {program} has no package {module.partition('.')[0]!r}; install it "
                "there, or give another command with tune.command",
                names=_NAMES,
            )

    def _refuse_unset(self, space: SearchSpace) -> None:
        """What is varied and never reaches the command, and what a place in it cannot be filled with."""
        values = dict(space.baseline.values)
        for parameter in space.parameters:
            if "flags" not in self.placeholders and parameter.name not in self.placeholders:
                raise UsageError(
                    f"tune.command: {parameter.name} is varied and not in the command; write {{{parameter.name}}}, or "
                    "{flags} for all settings",
                    names=(*_NAMES, "tune.vary"),
                )
            for value in parameter.choices:
                self.filled(space.candidate({**values, parameter.name: value}), 1)

    def command(self, candidate: Candidate) -> list[str]:
        """See `Launcher.command`."""
        return self.filled(candidate, candidate.launch.port)

    def filled(self, candidate: Candidate, port: int) -> list[str]:
        """The command of a candidate.

        Raises:
            UsageError: a name in braces is no setting, or one that is left to the server.
        """
        return [part for word in self._words for part in _filled(word, candidate, port)]

    @contextlib.contextmanager
    def launch(self, candidate: Candidate) -> Iterator[Launched]:
        """See `Launcher.launch`."""
        port = free_port()
        with (
            tempfile.TemporaryDirectory() as folder,
            _Guarded(self.filled(candidate, port), Path(folder) / "log") as run,
        ):
            run.wait_until_ready(port, self._start_s, self._headers)
            yield Launched(f"http://{HOST}:{port}/v1", run.pid, run.why_gone)


class _Guarded:
    """A command under its guard, which ends it with this block or with this process."""

    def __init__(self, command: list[str], log: Path) -> None:
        self._orders = {"argv": command, "log": str(log)}
        self._log = log
        self._said: dict[str, Any] = {}
        self._listener = threading.Thread(target=self._hear, daemon=True)
        self.pid = 0

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self._process = stack.enter_context(_guard())
            stack.callback(self._stop)
            assert self._process.stdin is not None  # noqa: S101  # for the type checker: it is a pipe
            self._process.stdin.write(json.dumps(self._orders) + "\n")
            self._process.stdin.flush()
            self._hear()
            if "pid" not in self._said:
                raise NotReadyError(f"the server did not start: {self._said.get('error', 'its guard is gone')}")
            self.pid = int(self._said["pid"])
            self._listener.start()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def wait_until_ready(self, port: int, longest_s: float, headers: Mapping[str, str]) -> None:
        """Return once the server lists its models.

        Raises:
            NotReadyError: it ended, refuses the key, or did not in the time.
        """
        ends = time.monotonic() + longest_s
        while (status := _status_of_models(port, headers)) != _OK:
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

    def why_gone(self) -> str | None:
        """Why the process ended; None while it runs."""
        if "ended" not in self._said:
            return None
        return f"it ended with code {self._said['ended']}{self._last_words()}"

    def _hear(self) -> None:
        """Take in what the guard says next."""
        assert self._process.stdout is not None  # noqa: S101
        with contextlib.suppress(ValueError):  # closed meanwhile
            if line := self._process.stdout.readline():
                self._said |= json.loads(line)

    def _last_words(self) -> str:
        lines = [line.strip() for line in self._log.read_text(errors="replace").splitlines() if line.strip()]
        return f": {' / '.join(lines[-_TOLD:])}" if lines else ""

    def _stop(self) -> None:
        assert self._process.stdin is not None  # noqa: S101
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(2 * STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
        if self._listener.is_alive():
            self._listener.join()


def _guard() -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "pytest_llmbench.context.tuning.guard"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C is for us, who end it
    )


def _status_of_models(port: int, headers: Mapping[str, str]) -> int | None:
    """What the server's list of models is answered with; None where nobody answers."""
    connection = http.client.HTTPConnection(HOST, port, timeout=_LOOK_TIMEOUT_S)
    try:
        connection.request("GET", "/v1/models", headers=dict(headers))
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def _split(template: str) -> list[str]:
    try:
        words = shlex.split(template)
    except ValueError as error:
        raise UsageError(f"tune.command: {error}; quote it as for a shell", names=_NAMES) from error
    if not words:
        raise UsageError("tune.command: is empty; give the command that starts the server", names=_NAMES)
    return words


def _module_of(words: list[str]) -> str | None:
    """The module that a command has Python run, as in `python -m sglang.launch_server`."""
    python = Path(words[0]).stem.startswith("python")
    return words[2] if python and words[1:2] == ["-m"] and len(words) > 2 else None  # noqa: PLR2004


def _has_module(program: str, module: str) -> bool:
    """Whether that Python could import the package of a module; it is looked for, and not imported."""
    look = "import importlib.util, sys; sys.exit(importlib.util.find_spec(sys.argv[1]) is None)"
    found = subprocess.run([program, "-c", look, module.partition(".")[0]], capture_output=True, check=False)
    return found.returncode == 0


def _filled(word: str, candidate: Candidate, port: int) -> list[str]:
    if word == "{flags}":
        return flags(candidate.launch)
    known: dict[str, Any] = {
        **candidate.launch.model_dump(),
        "kv_type": candidate.launch.kv_type_k,
        "context": candidate.launch.max_context,
        **candidate.own,
        "port": port,
        "flags": shlex.join(flags(candidate.launch)),
    }
    return [_PLACE.sub(lambda found: _text(found[1], known), word)]


def _text(name: str, known: Mapping[str, Value]) -> str:
    if name not in known:
        raise UsageError(
            f"tune.command: {{{name}}} is no setting, nor varied or fixed; give its values with tune.vary",
            names=(*_NAMES, "tune.vary"),
        )
    value = known[name]
    if value is None:
        raise UsageError(
            f"tune.command: {{{name}}} has no value in some trial; give it one, or write {{flags}}, which leaves "
            "out what is left to the server",
            names=_NAMES,
        )
    return str(value).lower() if isinstance(value, bool) else str(value)


def flags(settings: LaunchSettings) -> list[str]:
    """All settings as the engine's own options, without its program, its model and where it listens."""
    words = argv(settings)
    return words[_place_of_flags(words) :]


def _place_of_flags(words: list[str]) -> int:
    return words.index("--port") + 2
