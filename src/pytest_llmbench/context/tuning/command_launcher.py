"""Servers that a command starts: vLLM, SGLang, llama-server or a container, from a template with the settings in it."""

from __future__ import annotations

import contextlib
import re
import shlex
import shutil
import subprocess
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llmbench.context.serving.argv import UNSAID, argv, kv_type_word
from pytest_llmbench.context.tuning.guarded_server import GuardedServer
from pytest_llmbench.context.tuning.launching import COMPUTES_ON, HOST, Launched, free_port
from pytest_llmbench.context.tuning.space import FIELDS
from pytest_llmbench.core.errors import NotReadyError, UsageError

if TYPE_CHECKING:
    from pytest_llmbench.context.serving.launch_settings import LaunchSettings
    from pytest_llmbench.context.tuning.space import Candidate, SearchSpace, Value

_PLACE = re.compile(r"\{([a-z][a-z0-9_]*)\}")
_ALWAYS = ("port", "model", "context", "flags")
_NAMES = ("tune.command",)


class CommandLauncher:
    """Starts what a template says, and waits until it can be asked.

    The template is split as a POSIX shell would, and no shell runs it. `{port}` is where the server must listen on
    loopback, `{model}` and `{context}` what is served, `{flags}` all settings as the engine's own options, any other
    name in braces a setting or a name that is varied. `headers` are those of every question, the server's key too. The
    output of servers that failed is kept in the folder `logs`, if there is one.

    Raises:
        UsageError: no such template can work.
    """

    def __init__(
        self, template: str, start_s: float, headers: Mapping[str, str] | None = None, logs: Path | None = None
    ) -> None:
        self.name = template
        self._words = _split(template)
        self._start_s, self._logs = start_s, logs
        self._headers = headers or {}
        if "port" not in self.placeholders:
            raise UsageError("tune.command: has no {port}; write it where the server's port belongs", names=_NAMES)

    @classmethod
    def of_engine(
        cls,
        settings: LaunchSettings,
        start_s: float,
        headers: Mapping[str, str] | None = None,
        logs: Path | None = None,
    ) -> CommandLauncher:
        """The engine's own command, as installed here."""
        words = argv(settings)
        start = words[: _place_of_flags(words) - 4]
        return cls(f"{shlex.join(start)} --host {HOST} --port {{port}} {{flags}}", start_s, headers, logs)

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

    def check(self, space: SearchSpace, given: Collection[str] = ()) -> None:
        """See `Launcher.check`."""
        self._refuse_unset(space, given)
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

    def _refuse_unset(self, space: SearchSpace, given: Collection[str]) -> None:
        """What is varied or given and never reaches the command, and what a place in it cannot be filled with."""
        values = dict(space.baseline.values)
        for parameter in space.parameters:
            self._refuse_unsaid(parameter.name, space.baseline.launch, "varied", "tune.vary")
            for value in parameter.choices:
                self.filled(space.candidate({**values, parameter.name: value}), 1)
        for name in given:
            self._refuse_unsaid(name, space.baseline.launch, "set", "tune.fixed", "tune.baseline")

    def _refuse_unsaid(self, name: str, launch: LaunchSettings, what: str, *names: str) -> None:
        lacks_lora = name == "max_lora_rank" and not launch.lora
        has_flag = name not in UNSAID[launch.engine]
        in_place = {name, *FIELDS.get(name, ())} & self.placeholders
        if in_place or name == COMPUTES_ON or (has_flag and not lacks_lora and "flags" in self.placeholders):
            return
        if not has_flag:
            how = f"write {{{name}}}; {launch.engine} has no option of that name"
        elif lacks_lora:
            how = "it has no effect without tune.fixed lora; give one"
        else:
            how = f"write {{{name}}}, or {{flags}} for all settings"
        raise UsageError(f"tune.command: {name} is {what} and not in the command; {how}", names=(*_NAMES, *names))

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
        with GuardedServer(self.filled(candidate, port), self._logs) as run:
            run.wait_until_ready(port, self._start_s, self._headers)
            yield Launched(f"http://{HOST}:{port}/v1", run.pid, run.why_gone)


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
        "kv_type": kv_type_word(candidate.launch),
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
            f"tune.command: {{{name}}} has no value in some trial; give it one in tune.baseline or tune.vary, or "
            "write {flags}, which leaves out what is left to the server",
            names=(*_NAMES, "tune.baseline", "tune.vary"),
        )
    return str(value).lower() if isinstance(value, bool) else str(value)


def flags(settings: LaunchSettings) -> list[str]:
    """All settings as the engine's own options, without its program, its model and where it listens."""
    words = argv(settings)
    return words[_place_of_flags(words) :]


def _place_of_flags(words: list[str]) -> int:
    return words.index("--port") + 2
