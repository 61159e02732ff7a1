"""A studio as people start it, `llmbench studio`, in a project of its own."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
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
model: {device: cpu}
"""


def make_studio_project(folder: Path, rows: Sequence[tuple[str, str]] = _ROWS) -> Path:
    """A project with a suite of three cases, short answers, and rows to upload (`rows.jsonl`, `validation.jsonl`)."""
    (folder / "prompts").mkdir(parents=True)
    (folder / "prompts" / "sound.yaml").write_text(_SUITE, encoding="utf-8")
    (folder / "configs").mkdir()
    (folder / "configs" / "llmbench.yaml").write_text(_CONFIG, encoding="utf-8")
    shutil.copytree(
        ROOT / "tests" / "suites", folder / "tests" / "suites", ignore=shutil.ignore_patterns("__pycache__")
    )
    _write_rows(folder / "rows.jsonl", rows)
    _write_rows(folder / "validation.jsonl", _VALIDATION)
    return folder


def _write_rows(path: Path, rows: Sequence[tuple[str, str]]) -> None:
    written = (json.dumps({"prompt": prompt, "completion": answer}) for prompt, answer in rows)
    path.write_text("\n".join(written) + "\n", encoding="utf-8")


@contextlib.contextmanager
def running_studio(project: Path, *arguments: str) -> Iterator[str]:
    """The address of a studio on a free port; it is ended as Ctrl-C ends it."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "pytest_llmbench.cli", "studio", "--port", "0"]
    with (project / "studio.log").open("w", encoding="utf-8") as log:
        process = subprocess.Popen(
            [*command, *arguments], cwd=project, env=environment, stdout=subprocess.PIPE, stderr=log, text=True
        )
        try:
            assert process.stdout is not None
            told = process.stdout.readline()
            assert told.startswith("http"), (project / "studio.log").read_text(encoding="utf-8")
            yield told.split()[0].rstrip("/")
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdout is not None:
                process.stdout.close()
