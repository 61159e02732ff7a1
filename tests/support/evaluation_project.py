"""A tiny model with an adapter, a test set and passages, in a folder of their own."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from pytest_llmbench.core.records import Completion
from pytest_llmbench.core.settings import Settings
from support.tiny_models import save, save_adapter, tiny_llama

ROWS = [
    ("ouvre chrome", "bonjour , ouvre chrome ."),
    ("monte le son", "monte le son ."),
    ("baisse le son", "baisse le son !"),
    ("ferme chrome", "ferme chrome ."),
]


@dataclasses.dataclass
class Count:
    """A planner's progress."""

    wanted: int = 0
    done: int = 0

    def planned(self, answers: int) -> None:
        self.wanted = answers

    def answered(self, _completion: Completion) -> None:
        self.done += 1


def make_project(folder: Path) -> Path:
    """Write `base`, `adapter`, `test.jsonl`, `chunks.jsonl` and `general.jsonl` into the folder."""
    import torch

    torch.manual_seed(0)
    save(tiny_llama(), folder / "base")
    save_adapter(folder / "base", folder / "adapter", init_lora_weights=False)
    write(folder / "test.jsonl", *({"prompt": prompt, "completion": answer, "tool": "x"} for prompt, answer in ROWS))
    write(folder / "chunks.jsonl", {"text": "ouvre chrome puis ferme chrome"}, {"text": "monte le son"})
    write(
        folder / "general.jsonl",
        {"text": "bonjour , monte le son ."},
        {"text": "ferme , ouvre ."},
        {"question": "bonjour"},
    )
    return folder


def write(path: Path, *records: object) -> Path:
    path.write_text("\n".join(json.dumps(record, ensure_ascii=False) for record in records), encoding="utf-8")
    return path


def settings_for(project: Path, reports: Path) -> Settings:
    return Settings.model_validate(
        {
            "model": {
                "base": str(project / "base"),
                "adapter": str(project / "adapter"),
                "quantization": "none",
                "device": "cpu",
            },
            "generation": {"max_new_tokens": 8, "do_sample": False, "batch_size": 4, "threads": 1},
            "output": {"report_dir": str(reports)},
        }
    )
