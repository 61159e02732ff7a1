"""`pytest -m finetune` in a user's project: the copied suite, and a trainer changed in its conftest.py."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import pytest
from support.tiny_training import rows, save_tiny_model, write_rows

from pytest_llmbench.finetune.training_log import DestroyedTraining
from pytest_llmbench.plugin.finetune_session import ShortTraining

SUITE = Path(__file__).parents[1] / "suites" / "test_finetune.py"

SHIFTED = """
def pytest_llmbench_trainer(trainer):
    collate = trainer.data_collator
    def shifted(examples):
        batch = collate(examples)
        batch["labels"] = batch["labels"].roll(-1, dims=1)
        return batch
    trainer.data_collator = shifted
"""


def test_a_destroyed_training_fails_its_items_and_does_not_end_the_session(request: pytest.FixtureRequest) -> None:
    class Destroyed:
        def loss(self) -> list[str]:
            raise DestroyedTraining("the loss is nan at step 3 of 72")

    with pytest.raises(pytest.fail.Exception, match="the loss is nan at step 3 of 72"):
        ShortTraining(cast("Any", Destroyed()), request.session).check_loss()


def test_a_broken_trainer_fails_its_item_and_no_other(pytester: pytest.Pytester) -> None:
    base = save_tiny_model(pytester.path / "tiny")
    pytester.makeini("[pytest]\naddopts = -p no:randomly\n")
    pytester.makepyfile(test_finetune=SUITE.read_text(encoding="utf-8"))
    pytester.makeconftest(SHIFTED)
    write_rows(pytester.path / "train.jsonl", rows(80))
    write_rows(pytester.path / "heldout.jsonl", rows(20))
    settings = {
        "model": {"base": str(base), "quantization": "none", "device": "cpu"},
        "finetune": {
            "dataset": "train.jsonl",
            "heldout": "heldout.jsonl",
            "tools": None,
            "steps": 16,
            "batch_size": 8,
            "max_length": 32,
            "learning_rate": 0.02,
        },
    }
    (pytester.path / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
    result = pytester.runpytest_subprocess(
        "-m", "finetune", "-k", "answers_alone or gradient", "--llmbench-config", "settings.json"
    )
    result.assert_outcomes(passed=1, failed=1, deselected=6)
    result.stdout.fnmatch_lines(["*_ test_the_answers_alone_are_learnt _*", "*the labels are shifted by one*"])
