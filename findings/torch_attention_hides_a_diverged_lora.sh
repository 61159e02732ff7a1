#!/usr/bin/env bash
# PyTorch's attention on a CPU: a LoRA that diverged to NaN answers short prompts with sound logits.
#
# Versions: torch 2.13.0, transformers 5.23.0, peft 0.21.2, on CPUs with AVX2 or AVX512.
# Expected: a query of NaN gives a result of NaN, so that an adapter whose `lora_B` of q_proj is NaN gives logits of NaN
#           whatever the prompt's length.
# Seen:     without a mask, causal or not, `scaled_dot_product_attention` makes zeros of such a query where there are
#           fewer keys than numbers in a vector register: 16 with AVX512, 8 with AVX2. So a check of the logits after
#           a short prompt calls the adapter sound, short questions are answered as if attention saw nothing, and a
#           longer prompt of the same model is NaN. NaN in keys or values is not lost.
# Exits 0 while that is so, 1 when it has changed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet torch==2.13.0 transformers==5.23.0 peft==0.21.2
HF_HUB_OFFLINE=1 "$work/venv/bin/python" - <<'PYTHON'
import sys

import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

torch.manual_seed(0)
shape = LlamaConfig(
    vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, max_position_embeddings=64
)  # fmt: skip
found = {}
for name in ("q_proj", "v_proj"):
    model = get_peft_model(LlamaForCausalLM(shape).eval(), LoraConfig(target_modules=[name], r=4)).eval()
    for weight in (weight for told, weight in model.named_parameters() if "lora_B" in told):
        weight.data.fill_(float("nan"))
    with torch.no_grad():
        logits = {length: model(torch.arange(length)[None], use_cache=False).logits for length in (6, 12, 20)}
    found[name] = [length for length, made in logits.items() if not made.isnan().any()]
print(torch.backends.cpu.get_cpu_capability(), "prompts whose logits are sound though the adapter is NaN:", found)
wide = torch.backends.cpu.get_cpu_capability() == "AVX512"
sys.exit(0 if found == {"q_proj": [6, 12] if wide else [6], "v_proj": []} else 1)
PYTHON
