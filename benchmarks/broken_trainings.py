"""What `pytest -m finetune` says of trainings that are broken in a known way, on the embedded model.

usage: python benchmarks/broken_trainings.py [--only NAME ...] [--steps N]

Each fault is a conftest.py in a project of its own, planted through `pytest_llmbench_trainer`, and the command is the
one that a user types. Settings are the defaults; `--steps` is for trying this script. A fault is found when the exit
code is not 0 and the reason has the words that name it; the healthy control must end with 0. What `--only` leaves out
keeps its row of an earlier run with as many steps.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

from measuring import RESULTS, machine, save

SUITE = Path(__file__).parent.parent / "tests/suites/test_finetune.py"
HOOK = "import torch\n\n\ndef pytest_llmbench_trainer(trainer):\n"
BATCH = """\
    collate = trainer.data_collator

    def changed(examples):
        batch = collate(examples)
        {change}
        return batch

    trainer.data_collator = changed
"""


class Fault(NamedTuple):
    """What is planted, in the body of the hook, and the words of the reason that name it. `asked` is by the issue."""

    name: str
    planted: str
    named_by: str
    asked: bool = False


def _batch(change: str) -> str:
    return BATCH.format(change=change)


FAULTS = (
    Fault("healthy control", "    pass\n", ""),
    Fault(
        "labels shifted by one",
        _batch('batch["labels"] = batch["labels"].roll(-1, dims=1)'),
        "labels are shifted",
        asked=True,
    ),
    Fault(
        "prompt not masked",
        _batch('batch["labels"] = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)'),
        "prompt is not masked",
        asked=True,
    ),
    Fault("adapter frozen", "    trainer.model.requires_grad_(False)\n", "LoRA matrix is frozen", asked=True),
    Fault(
        "learning rate x100", "    trainer.args.learning_rate *= 100\n", "learning rate of .* is too high", asked=True
    ),
    Fault(
        "half of the matrices frozen",
        '    for name, parameter in trainer.model.named_parameters():\n        if "lora_A" in name:\n'
        "            parameter.requires_grad = False\n",
        "LoRA matrices are frozen",
    ),
    Fault("learning rate 0", "    trainer.args.learning_rate = 0.0\n", "learning rate is 0"),
    Fault(
        "end of the answer not learnt",
        _batch(
            'batch["labels"] = batch["labels"].masked_fill('
            'batch["input_ids"] == trainer.processing_class.eos_token_id, -100)'
        ),
        "answer's .* tokens are masked",
    ),
)


def main() -> int:
    """Run each project, write the result, and say whether every fault that is asked for was found and named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="faults by a part of their names")
    parser.add_argument("--steps", type=int, help="of the training, instead of the default")
    options = parser.parse_args()
    chosen = [fault for fault in FAULTS if not options.only or any(part in fault.name for part in options.only)]
    rows = [_run(fault, options.steps) for fault in chosen]
    told = {"machine": machine(), "steps": options.steps or "default"}
    shown = _with_earlier(rows, told)
    save("broken_trainings", {**told, "faults": shown}, _table(shown))
    must_hold = [row for row in rows if row["asked"] or not row["named_by"]]
    return 0 if all(row["as_expected"] for row in must_hold) else 1


def _run(fault: Fault, steps: int | None) -> dict[str, Any]:
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        project = Path(name)
        shutil.copy(SUITE, project)
        (project / "conftest.py").write_text(HOOK + fault.planted, encoding="utf-8")
        environment = {key: value for key, value in os.environ.items() if not key.startswith("LLMBENCH_")}
        environment["HF_HUB_OFFLINE"] = "1"
        if steps:
            environment["LLMBENCH_FINETUNE__STEPS"] = str(steps)
        command = [sys.executable, "-m", "pytest", "-m", "finetune", "--junitxml", "items.xml"]
        done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)
        failed = _failed(project / "items.xml")
    reason = "; ".join(failed.values()) or _ended(done.stdout + done.stderr)
    found = done.returncode != 0 and bool(re.search(fault.named_by, reason))
    row = {
        **fault._asdict(),
        "exit_code": done.returncode,
        "failed": list(failed),
        "reasons": list(failed.values()) or [reason],
        "as_expected": found if fault.named_by else done.returncode == 0,
        "seconds": round(time.monotonic() - started, 1),
    }
    print(f"{fault.name}: exit {done.returncode}, {row['seconds']} s, {reason or 'all held'}", file=sys.stderr)
    return row


def _with_earlier(rows: Sequence[dict[str, Any]], told: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Each row with the day of its run; those that were not run now are taken from the last result."""
    kept = RESULTS / "broken_trainings.json"
    last = json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() else {}
    earlier = last["faults"] if last.get("steps") == told["steps"] else []
    dated = [{"date": last["machine"]["date"], **row} for row in earlier]
    dated += [{"date": told["machine"]["date"], **row} for row in rows]
    by_name = {row["name"]: row for row in dated}
    return [by_name[fault.name] for fault in FAULTS if fault.name in by_name]


def _failed(report: Path) -> dict[str, str]:
    """The first line of each failed item's reason, by its name; the file is pytest's own, written by our command."""
    if not report.is_file():
        return {}
    found = {}
    for item in ElementTree.parse(report).iter("testcase"):  # noqa: S314  # written by our own command
        for kind in ("failure", "error"):
            if (told := item.find(kind)) is not None:
                found[str(item.get("name"))] = (told.text or "").strip().partition("\n")[0].removeprefix("Failed: ")
    return found


def _ended(output: str) -> str:
    """The message with which the session was ended before an item could fail."""
    told = re.search(r"_pytest\.outcomes\.Exit: (.+?) !*$", output, re.MULTILINE)
    return told[1] if told else ""


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    lines = ["| planted | exit code | failed items | reason | named | s | run on |", f"|{' --- |' * 7}"]
    for row in rows:
        items = ", ".join(item.removeprefix("test_").replace("_", " ") for item in row["failed"]) or "(ended at once)"
        named = "" if not row["named_by"] else "yes" if row["as_expected"] else "NO"
        if row["exit_code"] == 0:
            items = "none"
        naming = [reason for reason in row["reasons"] if row["named_by"] and re.search(row["named_by"], reason)]
        told = "; ".join(f"{reason:.200}" for reason in naming[:1] or row["reasons"])
        cells = (row["name"], row["exit_code"], items, told, named, round(row["seconds"]), row["date"])
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
