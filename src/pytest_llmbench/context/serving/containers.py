"""A server in a container: its image, its command, what it is given of this machine, and how its health is asked."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path, PurePath

from pytest_llmbench.context.serving.argv import argv
from pytest_llmbench.context.serving.launch_settings import LoraModule
from pytest_llmbench.context.serving.optimized_config import OptimizedConfig
from pytest_llmbench.core.setting_sections import Engine

KEY_VARIABLES: Mapping[Engine, str] = {"vllm": "VLLM_API_KEY", "llamacpp": "LLAMA_API_KEY"}
"""The variable from which a server takes its key: passed on where the caller has it, never written. SGLang has none."""
CACHE = "/root/.cache/huggingface"
"""Where the images keep what they download from the hub."""
START_S = 600
"""Seconds that downloading and loading may take before a server counts as ill."""

_ADAPTERS, _MODELS, _EVERYWHERE = PurePath("/adapters"), PurePath("/models"), "0.0.0.0"  # noqa: S104  # inside
_PROGRAM_WORDS: Mapping[Engine, int] = {"vllm": 2, "llamacpp": 1, "sglang": 0}
"""Words of the command line that are the image's entry point already."""


@dataclasses.dataclass(frozen=True, slots=True)
class Container:
    """What runs: `command` follows the image's entry point; `mounts` are folders and files of this machine by place.

    `keys` are variables of the environment that it is given, without their values.
    """

    image: str
    command: list[str]
    mounts: Mapping[str, str]
    keys: tuple[str, ...]
    health: list[str]
    port: int
    gpus: int


def container(config: OptimizedConfig) -> Container:
    """The container of a server with these settings, which answers on all of its addresses."""
    launch, mounts = config.launch, dict[str, str]()
    model, lora = launch.model, []
    if launch.model.endswith(".gguf"):
        model = str(_MODELS / PurePath(launch.model).name)
        mounts[model] = launch.model
    for module in launch.lora:
        if not Path(module.path).exists():  # an id of the hub, which the server fetches itself
            lora.append(module)
            continue
        place = str(_ADAPTERS / f"{module.name}{PurePath(module.path).suffix if launch.engine == 'llamacpp' else ''}")
        mounts[place] = module.path
        lora.append(LoraModule(name=module.name, path=place))
    inside = launch.model_copy(update={"model": model, "lora": tuple(lora), "host": _EVERYWHERE})
    return Container(
        image=config.image or _image(config),
        command=argv(inside)[_PROGRAM_WORDS[launch.engine] :],
        mounts=mounts,
        keys=(*filter(None, [KEY_VARIABLES.get(launch.engine)]), "HF_TOKEN"),
        health=_health(launch.engine, launch.port),
        port=launch.port,
        gpus=config.gpus,
    )


def _image(config: OptimizedConfig) -> str:
    """The engine's own image, for the GPU or the CPU."""
    on_gpu = config.launch.device == "cuda"
    match config.launch.engine:
        case "vllm":
            return f"vllm/vllm-openai{'' if on_gpu else '-cpu'}:v{config.vllm_version}"
        case "llamacpp":
            return f"ghcr.io/ggml-org/llama.cpp:server{'-cuda' if on_gpu else ''}"
        case "sglang":
            return "lmsysorg/sglang:latest"


def _health(engine: Engine, port: int) -> list[str]:
    """A look at /health, which all three answer without a key: by curl, or by Python where an image has no curl."""
    url = f"http://127.0.0.1:{port}/health"
    if engine == "llamacpp":
        return ["curl", "--fail", "--silent", url]
    return ["python3", "-c", f"import urllib.request; urllib.request.urlopen('{url}', timeout=5)"]
