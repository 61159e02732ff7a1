"""A training pipeline that is broken in a known way is found out, and the reason is named."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support.tiny_training import rows, save_tiny_model, write_rows

from pytest_llmbench.core.errors import MissingRunError, NotReadyError
from pytest_llmbench.core.settings import Settings
from pytest_llmbench.finetune.sft import Watch
from pytest_llmbench.finetune.training_checks import TrainingProof
from pytest_llmbench.finetune.training_log import DestroyedTraining

QUESTIONS = ("loss", "gradients", "answers_alone", "memory", "reload", "routing", "resume", "compared")

Make = Callable[..., TrainingProof]


@pytest.fixture(scope="module")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture
def proof_of(tiny_base: Path, tmp_path: Path) -> Make:
    """A short training of the tiny model, with something planted in its trainer."""
    torch.set_num_threads(1)
    settings = Settings.model_validate(
        {
            "model": {"base": str(tiny_base), "quantization": "none", "device": "cpu"},
            "metrics": {"call_form": "mention"},  # the tools of so few words are verbs
            "output": {"report_dir": tmp_path / "reports"},
            "finetune": {
                "dataset": write_rows(tmp_path / "train.jsonl", rows(80)),
                "heldout": write_rows(tmp_path / "heldout.jsonl", rows(20)),
                "tools": None,
                "steps": 48,
                "loss_fall": 0.8,
                "batch_size": 8,
                "max_length": 32,
                "learning_rate": 0.02,
                "memory_margin": 1000.0,  # what PyTorch itself takes is more than so small a model
            },
        }
    )

    def build(planted: Callable[[Any], None] = lambda _trainer: None, compare: str | None = None) -> TrainingProof:
        gate = settings.gate.model_copy(update={"baseline": compare})
        folder = tmp_path / f"training-{len(list(tmp_path.iterdir()))}"
        return TrainingProof(settings.model_copy(update={"gate": gate}), folder, Watch(prepare=planted))

    return build


def relabelling(change: Callable[[Any], Any]) -> Callable[[Any], None]:
    def plant(trainer: Any) -> None:
        collate = trainer.data_collator

        def changed(examples: Any) -> Any:
            batch = collate(examples)
            return {**batch, "labels": change(batch)}

        trainer.data_collator = changed

    return plant


def shift_in_the_loss(trainer: Any) -> None:
    compute = trainer.compute_loss

    def shifted(model: Any, inputs: Any, *rest: Any, **options: Any) -> Any:
        return compute(model, {**inputs, "labels": inputs["labels"].roll(1, dims=1)}, *rest, **options)

    trainer.compute_loss = shifted


def freeze_one(trainer: Any) -> None:
    for name, parameter in trainer.model.named_parameters():
        if "layers.1" in name and "q_proj.lora_A" in name:
            parameter.requires_grad = False


def hundredfold_rate(trainer: Any) -> None:
    trainer.args.learning_rate *= 100


def twentieth_of_the_rate(trainer: Any) -> None:
    trainer.args.learning_rate /= 20


def test_a_sound_training_answers_every_question(proof_of: Make) -> None:
    proof = proof_of()
    assert {question: getattr(proof, question)() for question in QUESTIONS} == {question: [] for question in QUESTIONS}


@pytest.mark.parametrize("shift", [1, -1])
def test_labels_shifted_by_one_are_found(proof_of: Make, shift: int) -> None:
    planted = relabelling(lambda batch: batch["labels"].roll(shift, dims=1))
    (fault,) = proof_of(planted).answers_alone()
    assert fault.startswith("the labels are shifted by one")


def test_prompts_that_are_not_masked_are_found(proof_of: Make) -> None:
    planted = relabelling(lambda batch: batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100))
    faults = proof_of(planted).answers_alone()
    assert all(fault.startswith("the prompt is not masked: ") for fault in faults)
    assert faults


def test_labels_shifted_inside_the_loss_are_found(proof_of: Make) -> None:
    (fault,) = proof_of(shift_in_the_loss).answers_alone()
    assert "the loss is not that of the answers' tokens" in fault


def test_a_frozen_matrix_is_named(proof_of: Make) -> None:
    (fault,) = proof_of(freeze_one).gradients()
    assert "1 of 28 LoRA matrices are frozen" in fault
    assert "layers.1.self_attn.q_proj.lora_A" in fault


def test_an_adapter_that_is_frozen_whole_is_told_before_training(proof_of: Make) -> None:
    with pytest.raises(NotReadyError, match="every LoRA matrix is frozen"):
        proof_of(lambda trainer: trainer.model.requires_grad_(requires_grad=False)).loss()


def test_a_training_without_a_loss_is_tried_once_for_all_questions(proof_of: Make) -> None:
    tried: list[Any] = []

    def plant(trainer: Any) -> None:
        tried.append(trainer)
        compute = trainer.compute_loss
        trainer.compute_loss = lambda *of, **options: compute(*of, **options) * math.nan

    proof = proof_of(plant)
    for question in QUESTIONS:
        with pytest.raises(DestroyedTraining, match="the loss is nan at step 1 of 48: the base itself gives no number"):
            getattr(proof, question)()
    assert len(tried) == 1


def test_a_hundredfold_learning_rate_is_told(proof_of: Make) -> None:
    (fault,) = proof_of(hundredfold_rate).loss()
    assert re.search(r"the learning rate of (2|1\.\d+) is too high", fault)


def test_a_training_that_learns_less_than_the_compared_one_is_told(proof_of: Make) -> None:
    assert proof_of().compared() == []
    faults = proof_of(twentieth_of_the_rate, compare="latest").compared()
    assert faults[0].startswith("train loss ")
    assert "worse by more than 10%" in faults[0]


def test_a_first_comparison_keeps_the_training_and_warns_where_the_settings_say_so(
    proof_of: Make, caplog: pytest.LogCaptureFixture
) -> None:
    proof = proof_of(compare="latest")
    with pytest.raises(MissingRunError, match=r"there are: none; this one is kept as 0001$"):
        proof.compared()
    allowed = proof._settings.gate.model_copy(update={"baseline": "v1", "missing_baseline": "warn"})
    proof._settings = proof._settings.model_copy(update={"gate": allowed})
    assert proof.compared() == []
    assert "no training 'v1'" in caplog.text
    assert "there are: 0001; gate.missing_baseline is warn" in caplog.text
