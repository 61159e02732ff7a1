"""What a fine-tune has learnt by heart is scored as right, whatever the family's template puts round its answers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from support.model_families import make_gemma, make_qwen2_base, make_qwen3

from pytest_llmbench.benchmark.evaluation.evaluate import EvaluationRequest, evaluate
from pytest_llmbench.core.settings import Settings
from pytest_llmbench.finetune.finetune import finetune
from pytest_llmbench.finetune.request import FinetuneRequest

pytestmark = pytest.mark.usefixtures("brief_looks")

LEARNT = {
    "monte le son": "Je monte le volume.",
    "baisse le son": "Je baisse le volume.",
    "ouvre chrome": "J'ouvre le navigateur.",
    "quelle heure est-il": "Il est midi.",
}
INDENTED = {"résume la réunion": "\n\nElle est reportée à lundi.", "donne la liste": "Voici la liste : pain, lait."}
TOOLS = {
    "monte le son <tool_open>": "<tool_open>volume_up<tool_close>",
    "ferme la fenêtre <tool_open>": "<tool_open>window_close<tool_close>",
}
THOUGHT = {question: f"<think>\n{question} ?\n</think>\n\n{answer}" for question, answer in list(LEARNT.items())[:2]}


class Unwatched:
    """A planner's progress that nobody looks at."""

    def planned(self, _answers: int) -> None: ...

    def answered(self, _completion: object) -> None: ...


@pytest.fixture(autouse=True)
def _threads_come_back() -> Iterator[None]:
    usual = torch.get_num_threads()
    yield
    torch.set_num_threads(usual)


@pytest.fixture(scope="module")
def corpus() -> Path:
    return Path(__file__).parents[2] / "data" / "train.jsonl"


def learnt_by_heart(
    base: Path, rows: Mapping[str, str], folder: Path, *, asked_of: Path | None = None, **form: Any
) -> dict[str, Any]:
    """An evaluation of a fine-tune on the very rows that it was trained on."""
    dataset = folder / "rows.jsonl"
    lines = ({"prompt": prompt, "completion": answer} for prompt, answer in rows.items())
    dataset.write_text("\n".join(json.dumps(line) for line in lines), encoding="utf-8")
    changes = {"quantization": "none", "steps": 250, "learning_rate": 5e-3, "seed": 1}
    finetune(FinetuneRequest(dataset, folder / "adapter", str(base), device="cpu", changes=changes, **form))
    if asked_of:
        for path in base.glob("tokenizer*"):
            (folder / "adapter" / path.name).write_bytes(path.read_bytes())
    model = {"base": str(asked_of or base), "adapter": str(folder / "adapter"), "quantization": "none", "device": "cpu"}
    settings = Settings.model_validate(
        {
            "model": {**model, **form},
            "generation": {"do_sample": False, "max_new_tokens": 32},
            "output": {"report_dir": folder / "reports"},
        }
    )
    return evaluate(settings, EvaluationRequest(dataset, general=None), Unwatched())


def exact(document: Mapping[str, Any], variant: str = "finetuned") -> float:
    return float(document["scores"][variant]["exact_match"]["mean"])


@pytest.mark.parametrize("form", [{}, {"template_arguments": {"enable_thinking": False}}])
def test_a_template_that_writes_a_block_of_thinking(corpus: Path, tmp_path: Path, form: Mapping[str, Any]) -> None:
    document = learnt_by_heart(make_qwen3(tmp_path / "qwen3", corpus), LEARNT, tmp_path, **form)
    assert exact(document) == 1.0
    assert document["finishes"]["finetuned"] == {"stop": 4}


def test_rows_that_think_before_they_answer(corpus: Path, tmp_path: Path) -> None:
    document = learnt_by_heart(make_qwen2_base(tmp_path / "qwen2", corpus), THOUGHT, tmp_path)
    assert exact(document) == 1.0
    assert [result["answers"]["finetuned"]["reasoning"] for result in document["results"]] == [
        "monte le son ?",
        "baisse le son ?",
    ]


def test_a_template_that_closes_turns_with_a_token_of_its_own(corpus: Path, tmp_path: Path) -> None:
    document = learnt_by_heart(make_qwen2_base(tmp_path / "qwen2", corpus), {**LEARNT, **INDENTED}, tmp_path)
    assert exact(document) == 1.0
    assert document["finishes"]["finetuned"] == {"stop": 6}


def test_an_adapters_tokenizer_with_more_tokens_than_the_bases(corpus: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    base = make_qwen2_base(tmp_path / "plain" / "qwen2", corpus)
    enlarged = make_qwen2_base(tmp_path / "enlarged" / "qwen2", corpus)
    words = AutoTokenizer.from_pretrained(enlarged)
    words.add_tokens(["<tool_open>", "<tool_close>"])
    words.save_pretrained(enlarged)
    assert exact(learnt_by_heart(enlarged, TOOLS, tmp_path, asked_of=base)) == 1.0


def test_a_template_without_a_system_role_answers_what_it_can(corpus: Path, tmp_path: Path) -> None:
    base = make_gemma(tmp_path / "gemma", corpus)
    document = learnt_by_heart(base, LEARNT, tmp_path, system_role="user")
    assert exact(document) == 1.0
