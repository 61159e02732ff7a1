"""The API keeps what its OpenAPI document says, whatever it is sent: schemathesis asks the real server."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.saved_runs import EXAMPLE
from support.studio import served

from pytest_llmbench.runs.history import save
from pytest_llmbench.runs.storage import read_document

SCHEMATHESIS = Path(sys.prefix) / "schemathesis"
"""Apart from the environment: as a plugin of pytest it would cost each session a second."""
HOOKS = Path(__file__).parents[1] / "support/schemathesis_hooks.py"
NOWHERE = """\
models:
  smollm2-135m:
    hub: nobody/nowhere
    parameters: 134515008
    architecture: {model_type: llama, vocab_size: 64, hidden_size: 64, intermediate_size: 64, num_hidden_layers: 1,
      num_attention_heads: 1, max_position_embeddings: 64}
"""

pytestmark = pytest.mark.skipif(not SCHEMATHESIS.is_dir(), reason="schemathesis is installed by make")


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of a studio whose trainings end at once: the weights of its model are nowhere."""
    project = tmp_path_factory.mktemp("fuzzed")
    (project / "configs").mkdir()
    (project / "configs/models.yaml").write_text(NOWHERE, encoding="utf-8")
    save(read_document(EXAMPLE), project / "reports", "accepted")
    with served(project, HF_HUB_OFFLINE="1") as (url, _):
        yield url


_CHAINED = ["--include-tag", "datasets", "--include-tag", "jobs", "--exclude-operation-id", "job_events"]  # a stream
_HOW = {
    "single": ["--phases", "examples,coverage,fuzzing", "--max-time", "8", "--max-examples", "3"],
    "linked": ["--phases", "stateful", "--max-examples", "3", *_CHAINED],
}


@pytest.mark.parametrize("how", _HOW)
def test_no_request_is_answered_otherwise_than_documented(address: str, tmp_path: Path, how: str) -> None:
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{address}/api/openapi.json", *_HOW[how]]
    checks = ["--exclude-checks", "positive_data_acceptance"]  # what rows may say is not all in a schema
    told = ["--no-color", "--output-sanitize=false", "--warnings", "off", "--request-timeout", "20", "--seed", "1"]
    paths = f"{SCHEMATHESIS}{os.pathsep}{HOOKS.parent}"
    done = subprocess.run(
        [*command, *checks, *told],
        env={**os.environ, "PYTHONPATH": paths, "SCHEMATHESIS_HOOKS": HOOKS.stem},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    generated = re.search(r"(\d+) generated, (\d+) passed", done.stdout)
    assert generated, done.stdout
    assert int(generated[1]) == int(generated[2]) > len(_HOW)
