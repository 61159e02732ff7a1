"""What each training setting means, in one sentence that all faces share. Light to import."""

from __future__ import annotations

from collections.abc import Mapping

from pytest_llmbench.core.locale import N_

MEANINGS: Mapping[str, str] = {
    "epochs": N_("How often every row is seen."),
    "learning_rate": N_("Highest learning rate."),
    "batch_size": N_("Rows at once."),
    "gradient_accumulation": N_("Batches that make up a step."),
    "max_length": N_("Most tokens of a row."),
    "rank": N_("The LoRA matrices' rank."),
    "alpha": N_("The adapter is scaled by alpha / rank."),
    "dropout": N_("Of the adapter's inputs."),
    "targets": N_("Layers that get a LoRA, or all-linear."),
    "warmup_share": N_("Of the steps, while the learning rate rises."),
    "quantization": N_("How the base is stored while it is trained: nf4 (4 bits) or none."),
    "gradient_checkpointing": N_("Less memory; a step takes 1.4 times as long."),
    "steps": N_("End after so many steps."),
    "save_steps": N_("Steps between checkpoints; one every five minutes when not given."),
    "seed": N_("Of the adapter's first weights and the rows' order."),
}
"""In the order in which a person meets them."""
