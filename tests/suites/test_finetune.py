"""What a user runs, copies and extends: a short real LoRA training, and what must be true of it (`-m finetune`)."""

import pytest

from pytest_llmbench.api import ShortTraining

pytestmark = pytest.mark.finetune


def test_the_loss_falls(short_training: ShortTraining) -> None:
    """By the share of `finetune.loss_fall`, without ever rising far above its beginning."""
    short_training.check_loss()


def test_every_lora_matrix_has_a_gradient(short_training: ShortTraining) -> None:
    """A frozen matrix, or one whose gradient vanishes, is named."""
    short_training.check_gradients()


def test_the_answers_alone_are_learnt(short_training: ShortTraining) -> None:
    """Prompts are masked, labels are in their places, and the loss is that of the answers."""
    short_training.check_answers_alone()


def test_memory_is_within_the_estimate(short_training: ShortTraining) -> None:
    """By at most `finetune.memory_margin` above it."""
    short_training.check_memory()


def test_the_saved_adapter_gives_the_same_logits(short_training: ShortTraining) -> None:
    """Laid over a base that is loaded anew."""
    short_training.check_reload()


def test_heldout_commands_are_routed_better_than_by_the_base(short_training: ShortTraining) -> None:
    """Beyond chance, at `gate.alpha`; both answer the rows of `finetune.heldout`."""
    short_training.check_routing()


def test_a_resumed_training_equals_an_uninterrupted_one(short_training: ShortTraining) -> None:
    """From the checkpoint two steps before the end."""
    short_training.check_resume()


def test_it_is_no_worse_than_the_compared_training(short_training: ShortTraining) -> None:
    """With `--llmbench-compare [NAME]`: train loss, token accuracy and held-out routing."""
    short_training.check_compared()
