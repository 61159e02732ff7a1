#!/usr/bin/env bash
# transformers' Trainer, resumed from the checkpoint of its last step, trains one step more than `max_steps`.
#
# Versions: transformers 5.23.0, accelerate 1.15.0, torch 2.13.0; TRL's trainers, which build on it, do the same.
# Expected: a training of three steps that is resumed where its third is done has nothing left to do, and changes nothing.
# Seen:     where that step lies inside a pass over the data, a fourth is taken: whether the steps are over is asked behind
#           each step and not before the first. The weights change, `global_step` is 4 of `max_steps` 3, and nothing is
#           said. So a job that is restarted by a scheduler after its end gives other weights each time.
# Exits 0 while that is so, 1 when it has changed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet torch==2.13.0 transformers==5.23.0 accelerate==1.15.0
HF_HUB_OFFLINE=1 "$work/venv/bin/python" - "$work" <<'PYTHON'
import sys
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments

shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
torch.manual_seed(0)
rows = [{"input_ids": row, "labels": row} for row in torch.randint(0, 64, (8, 12))]


def trained(resume):
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(vocab_size=64, **shape))
    settings = TrainingArguments(
        output_dir=sys.argv[1], max_steps=3, per_device_train_batch_size=1, save_steps=3, save_strategy="steps",
        learning_rate=0.01, lr_scheduler_type="constant", use_cpu=True, report_to=[], disable_tqdm=True,
    )  # fmt: skip
    trainer = Trainer(model=model, args=settings, train_dataset=rows)
    trainer.train(resume_from_checkpoint=resume)
    return trainer.state.global_step, model.lm_head.weight.detach().clone()


steps, weights = trained(None)
again, after = trained(str(Path(sys.argv[1]) / "checkpoint-3"))
moved = float((after - weights).abs().max())
print(f"steps: {steps}, resumed at the end: {again}; the output's weights moved by up to {moved:.1e}")
sys.exit(0 if (steps, again) == (3, 4) and moved > 1e-3 else 1)
PYTHON
