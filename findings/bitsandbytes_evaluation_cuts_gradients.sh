#!/usr/bin/env bash
# bitsandbytes on a CPU with AVX512-BF16: one validation, and a QLoRA training no longer learns below its last layers.
#
# Versions: bitsandbytes 0.50.2, peft 0.21.2, transformers 5.23.0, torch 2.13.0, on CPUs with and without AVX512-BF16.
# Expected: gradients of an adapter over a 4-bit base are the same before and after a pass in evaluation mode.
# Seen:     where the CPU has the instructions, that pass packs each 4-bit weight anew for a kernel without gradients, and
#           the weight stays so in training mode. No error is raised and the loss goes on; PyTorch warns once of a kernel
#           that is not registered for gradients. Nothing passes back through a 4-bit weight any more, only what goes
#           round it: of the four layers here the adapters of the last keep 60 % of their gradient, those of the first
#           11 %. So a training that validates now and then is another from its first validation on than one that never
#           does, and than the same training on a CPU without the instructions, where nothing changes.
# What helps: `layer.support_avx512bf16_for_cpu = False` for each `Linear4bit` before the first pass.
# Exits 0 while that is so, 1 when it has changed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet torch==2.13.0 transformers==5.23.0 peft==0.21.2 bitsandbytes==0.50.2 accelerate==1.15.0
HF_HUB_OFFLINE=1 "$work/venv/bin/python" - "$work/tiny" <<'PYTHON'
import sys

import torch
from peft import LoraConfig, get_peft_model
from transformers import BitsAndBytesConfig, LlamaConfig, LlamaForCausalLM

torch.manual_seed(0)
shape = {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4}
LlamaForCausalLM(LlamaConfig(vocab_size=64, initializer_range=0.1, **shape)).save_pretrained(sys.argv[1])
quantized = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.bfloat16)
base = LlamaForCausalLM.from_pretrained(sys.argv[1], quantization_config=quantized, dtype=torch.bfloat16, device_map="cpu")
lora = LoraConfig(r=8, target_modules="all-linear", init_lora_weights=False)
model = get_peft_model(base, lora)
row = torch.randint(0, 64, (2, 24))


def gradients():
    """The norm of the adapter's gradient in each layer, from the first to the last."""
    model.train()
    model.zero_grad()
    model(input_ids=row, labels=row).loss.backward()
    norms = [0.0] * shape["num_hidden_layers"]
    for name, weight in model.named_parameters():
        if weight.requires_grad and weight.grad is not None:
            norms[int(name.split(".layers.")[1].split(".")[0])] += float(weight.grad.float().square().sum())
    return [square**0.5 for square in norms]


before = gradients()
with torch.no_grad():
    model.eval()(input_ids=row)
after = gradients()
kept = [late / early for early, late in zip(before, after)]
packs = torch.cpu.get_capabilities().get("avx512_bf16", False)
print(f"AVX512-BF16: {packs}; of the gradient's norm after one validation, by layer: {[round(share, 3) for share in kept]}")
sys.exit(0 if (kept[0] < 0.5 if packs else all(abs(share - 1) < 1e-3 for share in kept)) else 1)
PYTHON
