#!/usr/bin/env bash
# TRL's SFTTrainer: loss and token accuracy of the same model on the same rows depend on the evaluation's batch size.
#
# Versions: trl 1.16.0, transformers 5.23.0, torch 2.13.0, on a CPU in float32.
# Expected: `evaluate()` gives one mean over the answers' tokens, whatever `per_device_eval_batch_size` is.
# Seen:     every batch's mean counts as much as its rows, however many tokens they have, so that a row with a long
#           answer counts by whom it shares a batch with. Of eight rows, seven of which answer with one word and one
#           with forty, the loss with batches of 1, 2, 4 and 8 differs by some 5 %, and mean_token_accuracy is 7 % with
#           batches of 1 and 1 % with batches of 2. So early stopping and the choice of the best checkpoint depend on a
#           setting that is about memory, and losses of two trainings cannot be compared.
# Exits 0 while that is so, 1 when it has changed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet torch==2.13.0 transformers==5.23.0 trl==1.16.0
HF_HUB_OFFLINE=1 "$work/venv/bin/python" - "$work" <<'PYTHON'
import random
import sys

import torch
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from trl import SFTConfig, SFTTrainer

words = ["<pad>", "<s>", "</s>", *(f"w{number}" for number in range(60))]
plain = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<pad>"))
plain.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
tokenizer = PreTrainedTokenizerFast(tokenizer_object=plain, pad_token="<pad>", bos_token="<s>", eos_token="</s>")
torch.manual_seed(0)
tiny = LlamaForCausalLM(
    LlamaConfig(
        vocab_size=len(words), hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2,
        pad_token_id=0, bos_token_id=1, eos_token_id=2, initializer_range=0.5,
    )
)  # fmt: skip
dice = random.Random(0)
lengths = [1, 1, 1, 1, 1, 1, 40, 1]
rows = [
    {"prompt": "w1 w2 ", "completion": " ".join(f"w{dice.randrange(60)}" for _ in range(length))} for length in lengths
]
held_out = Dataset.from_list(rows)
losses, accuracies = {}, {}
for size in (1, 2, 4, 8):
    chosen = SFTConfig(
        output_dir=sys.argv[1], per_device_eval_batch_size=size, report_to=[], use_cpu=True, bf16=False, max_length=128
    )
    trainer = SFTTrainer(
        model=tiny, args=chosen, train_dataset=held_out, eval_dataset=held_out, processing_class=tokenizer
    )
    found = trainer.evaluate()
    losses[size], accuracies[size] = found["eval_loss"], found["eval_mean_token_accuracy"]
print("eval_loss by batch size:", {size: round(loss, 3) for size, loss in losses.items()})
print("eval_mean_token_accuracy:", {size: round(share, 3) for size, share in accuracies.items()})
apart = max(losses.values()) / min(losses.values()) - 1
sys.exit(0 if apart > 0.02 and accuracies[1] > 1.5 * accuracies[8] else 1)
PYTHON
