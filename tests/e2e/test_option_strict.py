"""`--llmbench-strict`: an adapter that was trained on what the suites ask is refused before the base is loaded."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "adapters/smollm2-135m-jarvis-fr"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The demo adapter with a record that says it was trained on a prompt of the only suite."""
    shutil.copytree(DEMO, tmp_path / "adapters/demo")
    rows = tmp_path / "adapters/demo/rows.jsonl"
    asked = ("Monte le son !", "quelle heure est-il")
    rows.write_text(
        "".join(json.dumps({"prompt": text, "completion": "oui"}) + "\n" for text in asked), encoding="utf-8"
    )
    record_file = tmp_path / "adapters/demo/llmbench_training.json"
    record = json.loads(record_file.read_text(encoding="utf-8"))
    record["dataset"] = {"name": rows.name, "sha256": hashlib.sha256(rows.read_bytes()).hexdigest(), "rows": 1}
    record_file.write_text(json.dumps(record), encoding="utf-8")
    (tmp_path / "prompts").mkdir()
    shutil.copy(ROOT / "prompts/tools.yaml", tmp_path / "prompts")
    suite = "category: sound\ncases: [{id: up, prompt: monte le son, keywords: [son]}]\n"
    (tmp_path / "prompts/sound.yaml").write_text(suite, encoding="utf-8")
    shutil.copy(ROOT / "tests/suites/test_benchmark.py", tmp_path)
    return tmp_path


def run(project: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-m", "benchmark", "-q", "--llmbench-adapter=adapters/demo", *options]
    off = {f"LLMBENCH_OUTPUT__{kind}": "false" for kind in ("PNG", "HTML", "TEXT", "MARKDOWN")}
    quick = {
        "LLMBENCH_GENERATION__BATCH_SIZE": "16",
        "LLMBENCH_GENERATION__MAX_NEW_TOKENS": "8",
        "LLMBENCH_GENERATION__THREADS": "1",
        "LLMBENCH_METRICS__COSINE_SIMILARITY": "false",
    }
    return subprocess.run(
        command, cwd=project, env={**os.environ, **off, **quick}, capture_output=True, text=True, check=False
    )


def test_strict_refuses_what_is_announced_without_it(project: Path) -> None:
    refused = run(project, "--llmbench-strict")
    assert refused.returncode == 2, refused.stdout
    assert "1 rows of rows.jsonl ask what" in refused.stdout + refused.stderr
    assert not list(project.glob("reports/benchmark.*"))
    told = run(project)
    assert told.returncode == 0, told.stdout
    assert "1 rows of rows.jsonl ask what" in told.stdout
    document = json.loads((project / "reports/benchmark.json").read_text(encoding="utf-8"))
    assert document["metadata"]["backend"]["training_rows"]["finetuned"]["rows_near_cases"] == 1
