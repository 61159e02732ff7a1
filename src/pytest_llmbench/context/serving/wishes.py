"""What is asked of a server, refused before anything is computed: memory, GPUs and adapters that are not there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from pytest_llmbench.context.serving.arithmetic import MemoryRoom, lora_rank
from pytest_llmbench.context.serving.family import architecture_of
from pytest_llmbench.context.serving.launch_settings import NAME
from pytest_llmbench.context.serving.vllm_flags import flag_choices
from pytest_llmbench.core.errors import UsageError
from pytest_llmbench.core.settings import ServingSettings, Settings
from pytest_llmbench.models.memory.hardware import Hardware, detect
from pytest_llmbench.models.memory.weights import GIB
from pytest_llmbench.models.registry import ModelEntry

_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w.-]+")


def hardware_of(settings: Settings) -> Hardware:
    """The memory that is told of, else this machine's."""
    device, told = settings.model.device, settings.serving.memory
    if told is None:
        return _detected(device)
    if device == "cpu":
        return Hardware("cpu", f"a CPU with {told:g} GB", int(told * GIB))
    return Hardware.with_vram(told)


def _detected(device: Literal["auto", "cpu", "cuda"]) -> Hardware:
    found = detect()
    if device in ("auto", found.device):
        return found
    if device == "cuda":
        raise UsageError(
            "this machine has no GPU to be seen; tell the memory of the one that will serve",
            names=("serving.memory", "model.device"),
        )
    return Hardware.of_cpu()


def check_split(entry: ModelEntry, serving: ServingSettings, room: MemoryRoom) -> None:
    """Raises UsageError where a model cannot be shared by so many GPUs."""
    if serving.gpus == 1:
        return
    if room.hardware.device == "cpu":
        raise UsageError("several GPUs were asked for, and it runs on the CPU", names=("serving.gpus", "model.device"))
    heads = architecture_of(entry).key_heads
    if heads % serving.gpus and serving.engine != "llamacpp":
        fitting = ", ".join(str(count) for count in range(1, heads + 1) if heads % count == 0)
        told = f"the keys and values of {heads} heads are not shared by {serving.gpus} GPUs; choose from {fitting}"
        raise UsageError(told, names=("serving.gpus",))


def check_adapters(entry: ModelEntry, serving: ServingSettings) -> None:
    """Raises UsageError for a name that requests cannot call, or an adapter that the engine cannot load.

    llama.cpp takes GGUF files, others folders.
    """
    for name, path in serving.lora.items():
        if not NAME.fullmatch(name):
            told = "requests call it by its name; begin it with a letter or digit, and go on with these and . _ : / -"
        elif name == entry.alias:
            told = "requests call the base by that name; give the adapter another"
        elif serving.engine == "llamacpp" and not (path.endswith(".gguf") and Path(path).is_file()):
            told = "llama.cpp serves GGUF files that are here; its convert_lora_to_gguf.py makes one"
        elif serving.engine != "llamacpp" and not Path(path).is_dir() and not _HUB_ID.fullmatch(path):
            told = "it is neither a folder nor an id of the hub"
        else:
            continue
        raise UsageError(f"the adapter {name!r}, {path}: {told}", names=("serving.lora",))


def rank_places(serving: ServingSettings) -> int:
    """The least rank for which the engine has places, from the largest of the adapters.

    Raises:
        UsageError: it has none so large.
    """
    rank = lora_rank(serving)
    places = flag_choices("--max-lora-rank", serving.vllm_version) if serving.engine == "vllm" else None
    known = sorted(map(int, places or ()))
    fitting = next((one for one in known if one >= rank), None)
    if known and fitting is None:
        told = f"vLLM {serving.vllm_version} serves ranks up to {known[-1]}, not {rank}"
        raise UsageError(told, names=("serving.max_lora_rank",))
    return fitting or rank
