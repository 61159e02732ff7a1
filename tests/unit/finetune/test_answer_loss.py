from __future__ import annotations

from typing import Any

import pytest
import torch
from support.tiny_models import tiny_llama
from transformers import AutoConfig, AutoModelForCausalLM

from pytest_llmbench.finetune.trainer import answer_loss

IGNORED = -100


@pytest.fixture(scope="module")
def model() -> Any:
    torch.manual_seed(0)
    return tiny_llama(50, hidden_size=16, intermediate_size=32, num_attention_heads=2, initializer_range=0.02)


@pytest.fixture
def batch() -> dict[str, torch.Tensor]:
    """Two rows, the second padded; their first tokens are prompts."""
    tokens = torch.randint(3, 50, (2, 9), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(tokens)
    mask[1, 7:] = 0
    labels = tokens.clone()
    labels[:, :4] = IGNORED
    labels[1, 7:] = IGNORED
    return {"input_ids": tokens, "attention_mask": mask, "labels": labels}


FAMILIES: dict[str, dict[str, Any]] = {  # by what each does with the logits that its head gives
    "llama": {},
    "granite": {"logits_scaling": 8.0},  # divides them
    "cohere": {"logit_scale": 0.0625, "pad_token_id": 0},  # multiplies them
    "gemma2": {"final_logit_softcapping": 0.5, "head_dim": 8},  # caps them
    "opt": {"ffn_dim": 32, "word_embed_proj_dim": 16},  # goes past the model that it is built over
}


@pytest.mark.parametrize("family", FAMILIES)
def test_the_loss_and_its_gradients_are_those_of_the_whole_projection(family: str, batch: dict[str, Any]) -> None:
    torch.manual_seed(0)
    size = {"vocab_size": 50, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "initializer_range": 0.2}
    config = AutoConfig.for_model(family, **size, **heads, **FAMILIES[family])
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    weights = list(model.parameters())
    loss, _ = answer_loss(model, batch, None)
    expected = model(**batch).loss
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(
        torch.autograd.grad(loss, weights, allow_unused=True),
        torch.autograd.grad(expected, weights, allow_unused=True),
    )


def test_over_several_batches_a_step_counts_all_their_tokens(model: Any, batch: dict[str, Any]) -> None:
    mean, scores = answer_loss(model, batch, None)
    shared, _ = answer_loss(model, batch, 40)
    assert scores["tokens"] == 8
    torch.testing.assert_close(shared * 40, mean * 8)


def test_accuracy_and_entropy_are_those_of_the_answers_tokens(model: Any, batch: dict[str, Any]) -> None:
    _, scores = answer_loss(model, batch, None)
    with torch.no_grad():
        logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits[:, :-1]
    scored = batch["labels"][:, 1:] != IGNORED
    probabilities = logits[scored].softmax(-1)
    entropy = float(-(probabilities * probabilities.log()).sum())
    assert scores["correct"] == int((logits[scored].argmax(-1) == batch["labels"][:, 1:][scored]).sum())
    assert scores["entropy"] == pytest.approx(entropy, rel=1e-4)
