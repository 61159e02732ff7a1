"""Starting a server with given settings for the time of a trial: who can, and the embedded llama.cpp as one of them."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import re
import socket
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

from pytest_llmbench.context.serving.argv import argv
from pytest_llmbench.context.serving.launch_settings import LoraModule
from pytest_llmbench.core.errors import NotReadyError, UsageError
from pytest_llmbench.generation.embedded.llamacpp import EmbeddedServer, LlamaOptions

if TYPE_CHECKING:
    from pytest_llmbench.context.serving.launch_settings import LaunchSettings
    from pytest_llmbench.context.tuning.space import Candidate, SearchSpace
    from pytest_llmbench.generation.embedded.llamacpp import ServedModel

HOST = "127.0.0.1"
_EMBEDDED = (
    *("slots", "unified_kv", "kv_type", "kv_type_k", "kv_type_v"),
    *("batch_tokens", "micro_batch", "threads"),
)
"""The settings that an embedded server is started with."""

COMPUTES_ON = "device"
"""Set for every server: what it was started on is told with what was measured, whoever chose it."""


@dataclasses.dataclass(frozen=True, slots=True)
class Launched:
    """A server that answers. `why_gone` tells why its process ended, None while it runs."""

    url: str
    pid: int
    why_gone: Callable[[], str | None]


class Launcher(Protocol):
    """Starts servers, one at a time."""

    name: str
    """What it is, for the report: a command's template, or `embedded`."""

    @property
    def own_names(self) -> frozenset[str]:
        """Names that it has values for in a launch, be they settings of the engine or not."""

    def served(self, launch: LaunchSettings) -> LaunchSettings:
        """The launch, with what it says of the model and the machine."""

    def check(self, space: SearchSpace, given: Collection[str] = ()) -> None:
        """Refuse what can be known before anything is started. `given` are settings that are the same in each trial.

        Raises:
            NotReadyError: it cannot start servers here.
            UsageError: it cannot give what is wanted, or not set what is varied or given.
        """

    def command(self, candidate: Candidate) -> list[str]:
        """What starts such a server by hand."""

    def launch(self, candidate: Candidate) -> AbstractContextManager[Launched]:
        """The server, ready to answer; it is ended with the block, however that ends.

        Raises:
            NotReadyError: on entering, it did not start; the message has the reason.
        """


class EmbeddedLauncher:
    """llama.cpp's server in a process of its own, from the package xllamacpp."""

    name = "embedded"

    def __init__(self, model: ServedModel) -> None:
        self._model = model

    @property
    def own_names(self) -> frozenset[str]:
        """See `Launcher.own_names`."""
        return frozenset()

    def served(self, launch: LaunchSettings) -> LaunchSettings:
        """See `Launcher.served`."""
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", self._model.adapter_name or "").lstrip("._-") or "adapter"
        lora = tuple(LoraModule(name=name, path=str(path)) for path in self._model.loras)
        return launch.model_copy(update={"model": str(self._model.gguf), "served_name": self._model.name, "lora": lora})

    def check(self, space: SearchSpace, given: Collection[str] = ()) -> None:
        """See `Launcher.check`."""
        _refuse_unset(space, given)
        if importlib.util.find_spec("xllamacpp") is None:
            how = "pip install 'pytest-llmbench[serve]', or give a command with tune.command"
            raise NotReadyError(
                f"nothing here can start a server: xllamacpp is missing; {how}", names=("tune.command",)
            )

    def command(self, candidate: Candidate) -> list[str]:
        """See `Launcher.command`: llama.cpp's own server, which this one is too."""
        return argv(candidate.launch)

    @contextlib.contextmanager
    def launch(self, candidate: Candidate) -> Iterator[Launched]:
        """See `Launcher.launch`."""
        settings = candidate.launch
        options = LlamaOptions(
            batch=settings.batch_tokens,
            micro_batch=settings.micro_batch,
            kv_unified=settings.unified_kv,
            kv_unified_per_slot=settings.slot_tokens if settings.unified_kv else None,
            cache_type_k=settings.kv_type_k,
            cache_type_v=settings.kv_type_v,
            device=settings.device,
        )
        server = EmbeddedServer(
            self._model,
            slots=settings.slots or 1,
            context=settings.slot_tokens,
            threads=settings.threads,
            options=options,
        )
        with server:
            yield Launched(server.url, server.pid, server.why_gone)


def _refuse_unset(space: SearchSpace, given: Collection[str]) -> None:
    for parameter in space.parameters:
        if parameter.name not in _EMBEDDED:
            raise UsageError(
                f"tune.vary: the embedded server has no {parameter.name}; it has {', '.join(_EMBEDDED)}",
                names=("tune.vary",),
            )
    for name in given:
        if name not in (*_EMBEDDED, COMPUTES_ON):
            how = "; its fine-tune is model.adapter" if name == "lora" else f"; it has {', '.join(_EMBEDDED)}"
            raise UsageError(
                f"tune.fixed: the embedded server is not started with {name}{how}",
                names=("tune.fixed", "tune.baseline", *(["model.adapter"] if name == "lora" else [])),
            )


def free_port() -> int:
    """A port of loopback that nobody has now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
