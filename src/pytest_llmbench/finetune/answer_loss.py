"""The loss of a fine-tuning step on a CPU, where the vocabulary's projection is most of the work.

TRL 1.16 projects every position to the vocabulary unless there is Triton, prompts and padding included, which are
then masked. Projecting the answers' positions alone gives the same loss and gradients in under half the time.
"""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from pytest_llmbench.finetune.tokenized import IGNORED


@functools.cache
def answer_trainer() -> Any:
    """The class: TRL's SFTTrainer that projects the answers' positions alone. Made late: importing TRL takes 8 s."""
    from trl import SFTTrainer

    class AnswerTrainer(SFTTrainer):  # type: ignore[misc]
        """Dense models on one process; everything else goes TRL's way."""

        def __init__(self, **options: Any) -> None:
            self._windows: defaultdict[bool, list[Mapping[str, float]]] = defaultdict(list)  # by whether it trains
            self._seen_tokens = 0
            super().__init__(**options)

        def compute_loss(
            self,
            model: Any,
            inputs: Any,
            return_outputs: bool = False,  # noqa: FBT001, FBT002  # the signature is transformers'
            num_items_in_batch: Any = None,
        ) -> Any:
            if self.aux_loss_enabled or self.accelerator.num_processes > 1:
                return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
            with self.accelerator.autocast():
                loss, scores = answer_loss(self.model.get_base_model(), inputs, num_items_in_batch)
            if self.model.training:
                self._seen_tokens += int(inputs["attention_mask"].sum())
            self._windows[self.model.training].append(scores)
            return (loss, {}) if return_outputs else loss

        def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
            training = self.model.training
            if tokens := sum(scores["tokens"] for scores in self._windows[training]):
                prefix = "" if training else "eval_"
                logs[f"{prefix}mean_token_accuracy"] = self._sum("correct") / tokens
                logs[f"{prefix}entropy"] = self._sum("entropy") / tokens
                logs[f"{prefix}num_tokens"] = self._seen_tokens
                if not training:
                    logs["eval_loss"] = self._sum("loss") / tokens  # the trainer's is the mean of batches
                self._windows[training].clear()
            super().log(logs, start_time)

        def _sum(self, key: str) -> float:
            return sum(scores[key] for scores in self._windows[self.model.training])

    return AnswerTrainer


def answer_loss(model: Any, inputs: Mapping[str, Any], items: Any) -> tuple[Any, Mapping[str, float]]:
    """The answers' negative log-likelihood over `items`, the number of their tokens in the whole step; or the mean."""
    import torch

    targets = inputs["labels"][:, 1:]
    scored = targets != IGNORED
    hidden = model.base_model(
        input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], use_cache=False
    ).last_hidden_state[:, :-1]
    logits = model.get_output_embeddings()(hidden[scored]).float()
    targets = targets[scored]
    summed = torch.nn.functional.cross_entropy(logits, targets, reduction="sum")
    with torch.no_grad():
        log_probabilities = logits.log_softmax(-1)
        scores = {
            "tokens": targets.numel(),
            "loss": float(summed),
            "correct": int((logits.argmax(-1) == targets).sum()),
            "entropy": float(-(log_probabilities.exp() * log_probabilities).sum()),
        }
    return summed / (targets.numel() if items is None else items), scores
