#!/usr/bin/env bash
# transformers' Trainer: a training of one step with a share of warm-up learns nothing, and nothing is said.
#
# Versions: transformers 5.23.0, accelerate 1.15.0, torch 2.13.0; TRL's trainers, which build on it, do the same.
# Expected: `warmup_steps=0.05`, a twentieth of the steps, is no step of a training that has one.
# Seen:     the share is rounded up to a whole step, whose learning rate is 0 with the linear schedule. So the one step
#           of a trial run changes no weight, and of two steps the first is spent: a quick check of a recipe shows a
#           loss that does not move, whatever the recipe.
# Exits 0 while that is so, 1 when it has changed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet torch==2.13.0 transformers==5.23.0 accelerate==1.15.0
HF_HUB_OFFLINE=1 "$work/venv/bin/python" - "$work" <<'PYTHON'
import sys

import torch
from transformers import Trainer, TrainingArguments


class Line(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.slope = torch.nn.Parameter(torch.ones(1))

    def forward(self, x=None, labels=None):
        return {"loss": ((self.slope * x - labels) ** 2).mean()}


rows = [{"x": torch.tensor([1.0]), "labels": torch.tensor([3.0])}] * 8


def learnt(steps, warmup):
    model = Line()
    chosen = TrainingArguments(
        sys.argv[1], max_steps=steps, warmup_steps=warmup, learning_rate=0.1, lr_scheduler_type="linear",
        per_device_train_batch_size=4, report_to=[], use_cpu=True, disable_tqdm=True, save_strategy="no",
    )  # fmt: skip
    Trainer(model, chosen, train_dataset=rows).train()
    return model.slope.item() != 1.0


found = {"1 step": learnt(1, 0.0), "1 step, warm-up 0.05": learnt(1, 0.05), "2 steps, warm-up 0.05": learnt(2, 0.05)}
print("whether anything was learnt:", found)
sys.exit(0 if list(found.values()) == [True, False, True] else 1)
PYTHON
