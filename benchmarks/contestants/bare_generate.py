"""Bare `model.generate` over sorted batches on one loaded pair: the limit that a batching tool can hope for.

usage: bare_generate.py INPUTS BATCH_SIZE THREADS DTYPE [base]    (with `base`: no adapter; the base answers twice)
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

inputs = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
batch_size, base_only = int(sys.argv[2]), "base" in sys.argv
torch.set_num_threads(int(sys.argv[3]))
dtype: torch.dtype = getattr(torch, sys.argv[4])
started = time.perf_counter()
tokenizer = AutoTokenizer.from_pretrained(inputs["base"], padding_side="left")
nf4 = BitsAndBytesConfig(
    load_in_4bit=True,
    bnb_4bit_use_double_quant=True,
    bnb_4bit_quant_type="nf4",
    bnb_4bit_compute_dtype=dtype,
)
model = AutoModelForCausalLM.from_pretrained(
    inputs["base"], quantization_config=nf4, device_map="cpu", dtype=dtype
).eval()
if not base_only:
    from peft import PeftModel

    model = PeftModel.from_pretrained(model, inputs["adapter"]).eval()
load_s = time.perf_counter() - started

prompts = sorted(
    (tokenizer.apply_chat_template(m, add_generation_prompt=True, tokenize=False) for m in inputs["messages"]), key=len
)
torch.manual_seed(0)


def answer_all() -> int:
    """Answer every prompt; returns how many tokens the answers have, the one that ends each included."""
    tokens = 0
    for at in range(0, len(prompts), batch_size):
        batch = tokenizer(prompts[at : at + batch_size], return_tensors="pt", padding=True, add_special_tokens=False)
        with torch.inference_mode():
            out = model.generate(**batch, max_new_tokens=128, do_sample=True, temperature=0.7, top_p=0.9)
        answers = out[:, batch.input_ids.shape[1] :]
        ends = answers == tokenizer.eos_token_id  # after the first of them it is padding
        tokens += int((~ends).sum() + ends.any(dim=1).sum())
    return tokens


started = time.perf_counter()
if base_only:
    tokens = answer_all() + answer_all()
else:
    with model.disable_adapter():
        tokens = answer_all()
    tokens += answer_all()
generation_s = time.perf_counter() - started
print(json.dumps({"load_s": load_s, "generation_s": generation_s, "answers": 2 * len(prompts), "tokens": tokens}))
