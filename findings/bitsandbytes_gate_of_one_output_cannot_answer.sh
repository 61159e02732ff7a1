#!/usr/bin/env bash
# bitsandbytes on a CPU with AVX512-BF16: a 4-bit mixture with a shared expert (Qwen2-MoE) trains, and cannot answer.
#
# Versions: bitsandbytes 0.50.2, transformers 5.23.0, torch 2.13.0, on CPUs with and without AVX512-BF16.
# Expected: a model that transformers has quantized answers on every CPU.
# Seen:     transformers quantizes the shared expert's gate too, a linear layer of one output. In training mode it works.
#           Where the CPU has the instructions, the first pass in evaluation mode ends in an AssertionError, "N must be
#           divisible by block_n": the kernel of that CPU takes outputs by 32 (and inputs by whole blocks of 64, else a
#           RuntimeError of shapes), and nobody asks before. Without the instructions the same model answers.
# What helps: `layer.support_avx512bf16_for_cpu = False` for layers of such shapes.
# Exits 0 while that is so, 1 when it has changed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet torch==2.13.0 transformers==5.23.0 bitsandbytes==0.50.2 accelerate==1.15.0
HF_HUB_OFFLINE=1 "$work/venv/bin/python" - "$work/tiny" <<'PYTHON'
import sys

import torch
from transformers import BitsAndBytesConfig, Qwen2MoeConfig, Qwen2MoeForCausalLM

torch.manual_seed(0)
config = Qwen2MoeConfig(
    vocab_size=64, hidden_size=128, intermediate_size=128, moe_intermediate_size=128, num_hidden_layers=1,
    shared_expert_intermediate_size=128, num_attention_heads=4, num_key_value_heads=4, num_experts=4,
)  # fmt: skip
Qwen2MoeForCausalLM(config).save_pretrained(sys.argv[1])
quantized = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.bfloat16)
model = Qwen2MoeForCausalLM.from_pretrained(
    sys.argv[1], quantization_config=quantized, dtype=torch.bfloat16, device_map="cpu"
)
gate = model.model.layers[0].mlp.shared_expert_gate
asked = torch.randint(0, 64, (1, 8))


def told(mode):
    try:
        with torch.no_grad():
            return str(mode()(input_ids=asked).logits.isfinite().all().item())
    except AssertionError as error:
        return f"AssertionError: {error}"


training, answering = told(model.train), told(model.eval)
packs = torch.cpu.get_capabilities().get("avx512_bf16", False)
print(f"AVX512-BF16: {packs}; gate: {type(gate).__name__}, {gate.out_features} output; train(): {training}; eval(): {answering}")
sys.exit(0 if training == "True" and (answering.startswith("AssertionError") if packs else answering == "True") else 1)
PYTHON
