"""How likely a model finds given texts: the loss that training lowers, and that forgetting raises."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any


@dataclasses.dataclass(frozen=True, slots=True)
class TextLoss:
    """The negative log-likelihood of a text, in nats, summed over its `tokens` that have one before them.

    A text of a single token has none.
    """

    nats: float
    tokens: int

    @property
    def mean(self) -> float:
        """Nats a token; perplexity is its exponential."""
        return self.nats / self.tokens


def text_losses(model: Any, tokenizer: Any, texts: Sequence[str], most: int) -> list[TextLoss]:
    """The loss of each text, read alone, its first `most` tokens. No chat template: the texts are plain prose."""
    import torch

    losses = []
    device = model.get_input_embeddings().weight.device
    for text in texts:
        tokens = tokenizer(text, return_tensors="pt")["input_ids"][:, :most].to(device)
        if tokens.shape[1] < 2:  # noqa: PLR2004  # the first token has nothing before it
            losses.append(TextLoss(0.0, 0))
            continue
        with torch.inference_mode():
            logits = model(input_ids=tokens, use_cache=False).logits[0, :-1].float()
            nats = torch.nn.functional.cross_entropy(logits, tokens[0, 1:], reduction="sum")
        losses.append(TextLoss(float(nats), tokens.shape[1] - 1))
    return losses
