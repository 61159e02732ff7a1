"""A small project for a studio: short rows, short answers, three cases."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
_ROWS = (
    ("monte le son", "volume_up"),
    ("baisse le son", "volume_down"),
    ("coupe le son", "mute"),
    ("lance la lecture", "play"),
)
_VALIDATION = (("arrête la musique", "stop"), ("chanson suivante", "next"))
_SUITE = """\
category: sound
language: fr
cases:
  - {id: up, prompt: mets le son plus fort, keywords: [volume]}
  - {id: down, prompt: mets le son moins fort, keywords: [volume]}
  - {id: quiet, prompt: je ne veux plus rien entendre, keywords: [mute]}
"""
_CONFIG = """\
generation: {max_new_tokens: 8, batch_size: 4}
model: {device: cpu, quantization: none}
"""


def make_studio_project(folder: Path, rows: Sequence[tuple[str, str]] = _ROWS) -> Path:
    """A project with a suite of three cases, short answers, and rows to upload (`rows.jsonl`, `validation.jsonl`)."""
    (folder / "prompts").mkdir(parents=True)
    (folder / "prompts" / "sound.yaml").write_text(_SUITE, encoding="utf-8")
    (folder / "configs").mkdir()
    (folder / "configs" / "llmbench.yaml").write_text(_CONFIG, encoding="utf-8")
    (folder / "tests" / "suites").mkdir(parents=True)
    shutil.copy(ROOT / "tests" / "suites" / "test_benchmark.py", folder / "tests" / "suites")
    _write_rows(folder / "rows.jsonl", rows)
    _write_rows(folder / "validation.jsonl", _VALIDATION)
    return folder


def _write_rows(path: Path, rows: Sequence[tuple[str, str]]) -> None:
    written = (json.dumps({"prompt": prompt, "completion": answer}) for prompt, answer in rows)
    path.write_text("\n".join(written) + "\n", encoding="utf-8")
