"""The same search five times in a row on the real llama.cpp server, on the embedded model with its demo fine-tune.

python benchmarks/embedded_server.py [--searches 5] [--budget 250] [--threads 1]
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path
from typing import Any

from measuring import machine, save

from pytest_llmbench.autotune.server import ServerUnderTest, Target
from pytest_llmbench.core.settings import Settings, load_settings
from pytest_llmbench.generation.embedded.llamacpp import EmbeddedServer, served_model

HOME = Path(__file__).parents[1]
SLOTS = 4


def main() -> None:
    """Search, again and again, and save what came out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--searches", type=int, default=5)
    parser.add_argument("--budget", type=int, default=250, help="requests of a search")
    parser.add_argument("--threads", type=int, default=1, help="of the server")
    chosen = parser.parse_args()
    model = served_model("smollm2-135m", "auto", HOME / "adapters")
    with EmbeddedServer(model, slots=SLOTS, context=1024, threads=chosen.threads) as server:
        found = [_search(_settings(chosen.budget, seed), server.url) for seed in range(chosen.searches)]
    users = [one["value"] for one in found]
    result = {
        "machine": machine(),
        "settings": _settings(chosen.budget, 0).load.model_dump(mode="json"),
        "searches": found,
        "spread": max(users) - min(users),
    }
    save("embedded_server", result, _table(found))


def _settings(budget: int, seed: int) -> Settings:
    given = {
        "load.latency": "1.0", "load.cooldown": "0.5", "load.max_users": "16", "load.budget": f"{budget}",
        "load.processes": "1", "generation.max_new_tokens": "8", "generation.seed": f"{seed}",
        "benchmark.prompts": str(HOME / "prompts"), "benchmark.vocabulary": str(HOME / "prompts/tools.yaml"),
    }  # fmt: skip
    return load_settings(None, {key: (value, "benchmark") for key, value in given.items()}, {})


def _search(settings: Settings, url: str) -> dict[str, Any]:
    async def search() -> dict[str, Any]:
        with tempfile.TemporaryDirectory() as folder:
            async with ServerUnderTest(settings, Target(url, None), folder=Path(folder)) as server:
                return dict(await server.max_users())

    found = asyncio.run(search())
    kept = {key: found[key] for key in ("value", "low", "high", "decided", "sent", "duration_s", "notes")}
    print(kept, file=sys.stderr, flush=True)
    trials = [{key: one[key] for key in ("level", "verdict", "good", "total")} for one in found["trials"]]
    return {**kept, "trials": trials}


def _table(found: list[dict[str, Any]]) -> str:
    load = _settings(250, 0).load
    about = (
        f"SmolLM2-135M with the demo LoRA on llama.cpp, {SLOTS} slots; 95 % of answers of at most 8 tokens within "
        f"{load.latency:g} s, {load.cooldown:g} s between messages. The load generator runs on the same machine."
    )
    lines = [
        about,
        "",
        "| search | users | 95 % interval | decided | requests | seconds |",
        "|---|---|---|---|---|---|",
    ]
    for number, one in enumerate(found, start=1):
        interval = f"{one['low']:g} to {one['high']:g}"
        decided = "yes" if one["decided"] else "no"
        lines.append(
            f"| {number} | {one['value']:g} | {interval} | {decided} | {one['sent']} | {one['duration_s']:.0f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
