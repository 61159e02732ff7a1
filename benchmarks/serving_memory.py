"""The memory that our arithmetic gives a llama.cpp server, beside what llama.cpp itself sets aside, buffer by buffer.

usage: python benchmarks/serving_memory.py

What is counted: the sizes that llama.cpp logs as it starts with the embedded model, on the CPU; beside them what
xllamacpp's own estimate (by Ollama's formulas) says of keys and values and of the graph.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from typing import Any, NamedTuple

from measuring import machine, save

from pytest_llmbench.context.serving.arithmetic import MemoryRoom, ServerMemory, memory_of
from pytest_llmbench.core.settings import ServingSettings
from pytest_llmbench.models.memory.hardware import Hardware
from pytest_llmbench.models.registry import load_registry
from pytest_llmbench.models.sources import locate

MODEL = "smollm2-135m"
MIB = 2**20
LOGGED = {
    "weights": "model buffer size",
    "keys and values": "KV buffer size",
    "logits": "output buffer size",
    "activations": "compute buffer size",
}
STARTED = """
import os, sys, xllamacpp
model, context, slots, micro, kind = sys.argv[1:]
params = xllamacpp.CommonParams()
params.model.path, params.n_parallel, params.n_ctx = model, int(slots), int(context) * int(slots)
params.n_ubatch, params.port, params.ui, params.verbosity = int(micro), 0, False, 4
params.cache_ram_mib, params.fit_params, params.warmup = 0, False, False
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
params.cache_type_k = params.cache_type_v = getattr(xllamacpp.ggml_type, f"GGML_TYPE_{kind.upper()}")
server = xllamacpp.Server(params)
os._exit(0)
"""
PEER = """
import sys
from gguf import GGUFReader
from xllamacpp.memory import dump_metadata_json, graph_size
model, context, slots, micro, kind = sys.argv[1:]
metadata = dump_metadata_json(GGUFReader(model), model)["metadata"]
kv, graph, _ = graph_size(metadata, int(context) * int(slots), int(micro), int(slots), kind)
print(sum(kv) / 2**20, graph / 2**20)
"""


class Setting(NamedTuple):
    """A server: tokens of a slot, slots, tokens that are computed together, and how keys and values are stored."""

    context: int
    slots: int
    micro: int
    kind: str


SETTINGS = (
    Setting(2048, 3, 512, "f16"),
    Setting(2048, 3, 128, "f16"),
    Setting(4096, 4, 512, "q8_0"),
    Setting(4096, 4, 512, "q4_0"),
    Setting(8192, 1, 512, "f16"),
    Setting(1024, 16, 512, "f16"),
)


def logged(setting: Setting, gguf: str) -> dict[str, float]:
    """MiB by part, as llama.cpp logs them while it starts."""
    command = [sys.executable, "-c", STARTED, gguf, *map(str, setting)]
    log = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stderr
    return {
        part: sum(float(size) for size in re.findall(rf"{words} = +([\d.]+) MiB", log))
        for part, words in LOGGED.items()
    }


def peer(setting: Setting, gguf: str) -> list[float]:
    """MiB of keys and values and of the graph, as xllamacpp estimates them (by Ollama's formulas)."""
    command = [sys.executable, "-c", PEER, gguf, *map(str, setting)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    return [float(word) for word in done.stdout.split()]


def computed(setting: Setting) -> ServerMemory:
    """What our arithmetic says."""
    serving = ServingSettings.model_validate({"engine": "llamacpp", "slots": setting.slots, "kv_type": setting.kind})
    room = MemoryRoom(Hardware("cpu", "CPU", 2**40), 1, 0.1)
    return memory_of(load_registry()[MODEL], serving, room, context=setting.context, step_tokens=setting.micro)


def row(setting: Setting, gguf: str) -> dict[str, Any]:
    """Both, in MiB, by part."""
    memory, seen = computed(setting), logged(setting, gguf)
    ours = {
        "weights": memory.fixed["weights"] / MIB,
        "keys and values": setting.slots * memory.slot_kv / MIB,
        "logits": setting.slots * memory.slot_logits / MIB,
        "activations": memory.fixed["activations"] / MIB,
    }
    found = {**setting._asdict(), "computed": ours, "logged": seen, "xllamacpp": peer(setting, gguf)}
    print(found, flush=True)
    return found


def table(rows: list[dict[str, Any]]) -> str:
    """Computed / logged, a line a server."""
    lines = [
        "Computed / as llama.cpp logs it, MiB.\n",
        f"| slots x context, together, stored as | {' | '.join(LOGGED)} | error of the sum | xllamacpp: KV, graph |",
        f"|---|{'---|' * (len(LOGGED) + 2)}",
    ]
    for one in rows:
        ours, seen = one["computed"], one["logged"]
        cells = [f"{ours[part]:,.2f} / {seen[part]:,.2f}" for part in LOGGED]
        error = sum(ours.values()) / sum(seen.values()) - 1
        name = f"{one['slots']} x {one['context']}, {one['micro']}, {one['kind']}"
        theirs = ", ".join(f"{size:,.2f}" for size in one["xllamacpp"])
        lines.append(f"| {name} | {' | '.join(cells)} | {error:+.1%} | {theirs} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, then write `results/serving_memory.json` and a table."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    gguf = str(locate(MODEL).place)
    rows = [row(setting, gguf) for setting in SETTINGS]
    worst = max(abs(sum(one["computed"].values()) / sum(one["logged"].values()) - 1) for one in rows)
    save("serving_memory", {"machine": machine(), "largest_error_of_the_sum": worst, "servers": rows}, table(rows))


if __name__ == "__main__":
    main()
