"""Training throughput and start-up beside a bare script that uses TRL's SFTTrainer with the same settings.

usage: python benchmarks/training.py [--rounds N] [--steps N] [--dataset FILE] [--threads N]

Every round runs both, one after the other, in processes of their own; which one is first alternates. The dataset is
the same file, the base the embedded model in NF4. Samples/s count from the end of the first step to the end of the
last; start-up is from the process's first line to the end of its first step. Each side sees the rows in a random order
of its own (ours the longest first), and neither finds them tokenized by an earlier run. The last loss tells that both
have trained.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from measuring import machine, save

HERE = Path(__file__).parent
LEAST_RATIO = 0.97
SIDES = ("bare", "ours")


def main() -> int:
    """Measure, write the result, and say whether ours keeps up."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--dataset", type=Path, default=HERE.parent / "data" / "train.jsonl")
    options = parser.parse_args()

    from pytest_llmbench.models.sources import resolve

    base = resolve("smollm2-135m").path
    measured: dict[str, list[dict[str, Any]]] = {side: [] for side in SIDES}
    for number in range(options.rounds):
        for side in SIDES if number % 2 == 0 else SIDES[::-1]:
            measured[side].append(_run(side, base, options))
            print(f"round {number + 1} {side}: {measured[side][-1]}", file=sys.stderr)
    result = _result(measured, options)
    save("training", result, _table(result))
    return 0 if result["kept_up"] else 1


def _run(side: str, base: str, options: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as work:
        command = [
            sys.executable,
            str(HERE / "contestants" / f"training_{side}.py"),
            base,
            str(options.dataset),
            str(options.steps),
            str(options.batch_size),
            str(options.threads),
        ]
        environment = {
            **os.environ,
            "WORK": work,
            "HF_HUB_OFFLINE": "1",
            "HF_DATASETS_CACHE": f"{work}/datasets",  # both begin with rows that nobody has tokenized yet
            "TOKENIZERS_PARALLELISM": "false",
        }
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise SystemExit(f"{side} failed:\n{done.stderr[-3000:]}")
    measured: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return measured


def _result(measured: dict[str, list[dict[str, Any]]], options: argparse.Namespace) -> dict[str, Any]:
    medians = {
        side: {key: statistics.median(one[key] for one in rounds) for key in ("samples_per_s", "first_step_s", "loss")}
        for side, rounds in measured.items()
    }
    ratios = [ours["samples_per_s"] / bare["samples_per_s"] for bare, ours in zip(*measured.values(), strict=True)]
    ratio = statistics.median(ratios)
    later = medians["ours"]["first_step_s"] - medians["bare"]["first_step_s"]
    return {
        "machine": machine(),
        "steps": options.steps,
        "batch_size": options.batch_size,
        "threads": options.threads,
        "rounds": measured,
        "medians": medians,
        "ratios": ratios,
        "ratio": ratio,
        "first_step_later_s": later,
        "kept_up": ratio >= LEAST_RATIO and later <= 0,
    }


def _table(result: dict[str, Any]) -> str:
    lines = ["| | samples/s | start-up to first step, s | last loss |", "| --- | --- | --- | --- |"]
    names = {"bare": "TRL SFTTrainer, bare script", "ours": "llmbench finetune"}
    for side, name in names.items():
        one = result["medians"][side]
        lines.append(f"| {name} | {one['samples_per_s']:.2f} | {one['first_step_s']:.1f} | {one['loss']:.3f} |")
    ratios = ", ".join(f"{ratio:.2f}" for ratio in result["ratios"])
    verdict = "kept up" if result["kept_up"] else "did not keep up"
    lines += [
        "",
        (
            f"Samples/s {result['ratio']:.2f} times the bare script's (by round: {ratios}; at least {LEAST_RATIO} is "
            f"asked for), first step {-result['first_step_later_s']:+.1f} s earlier: {verdict}. Medians of "
            f"{len(result['ratios'])} interleaved rounds of {result['steps']} steps of {result['batch_size']} rows."
        ),
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
