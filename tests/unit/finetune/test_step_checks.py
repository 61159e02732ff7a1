from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from pytest_llmbench.finetune.step_checks import gradient_faults, loss_faults
from pytest_llmbench.finetune.training_log import TrainingStep


def course(losses: Sequence[float]) -> list[TrainingStep]:
    return [TrainingStep(number, len(losses), loss, 0.5, 1.0, 100) for number, loss in enumerate(losses, 1)]


def faults(losses: Sequence[float]) -> list[str]:
    return loss_faults(course(losses), least_fall=0.5, learning_rate=0.002)


def test_a_loss_that_falls_enough_is_fine() -> None:
    assert faults([4, 4, 3, 2, 2, 1.5, 1.2, 1, 1, 1]) == []


def test_a_loss_that_falls_too_little_is_told_with_both_ends() -> None:
    assert faults([4.0] * 8 + [3.0] * 8) == [
        "the loss fell by 25%, from 4.00 to 3.00, less than 50%: it learns too little (learning rate 0.002, 16 steps)"
    ]


def test_a_loss_that_blew_up_and_came_back_is_told() -> None:
    assert faults([4, 3, 2, 9, 3, 2, 1, 0.5]) == [
        "the loss rose from 4.00 to 9.00 at step 4: the learning rate of 0.002 is too high"
    ]


def test_a_loss_that_is_no_number_is_told() -> None:
    assert faults([4, 3, math.nan, 2]) == ["the loss is nan at step 3: the learning rate of 0.002 is too high"]


def test_a_loss_that_is_zero_from_the_first_step_on_has_not_fallen() -> None:
    assert faults([0.0, 0.0])[0].startswith("the loss fell by 0%, from 0.00 to 0.00")


def test_a_learning_rate_of_zero_is_told_whatever_the_batches_differ_by() -> None:
    steps = [dataclasses.replace(step, learning_rate=0.0) for step in course([4.2, 5.4, 4.8, 4.7])]
    told = loss_faults(steps, least_fall=0.5, learning_rate=0.002)
    assert told == ["the learning rate is 0 at every step: nothing is learnt"]


def test_matrices_without_a_gradient_are_named() -> None:
    peaks = {"a.lora_A": 0.1, "b.lora_A": 0.0, "c.lora_B": 1e-12, "d.lora_B": math.nan}
    assert gradient_faults(peaks) == [
        "1 of 4 LoRA matrices are frozen: no gradient came: b.lora_A",
        "1 of 4 LoRA matrices have a vanishing gradient: c.lora_B",
        "1 of 4 LoRA matrices have a gradient that is not a number: d.lora_B",
    ]
