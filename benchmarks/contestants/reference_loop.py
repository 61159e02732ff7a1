"""What the replaced script did: two loaded models, one prompt at a time, an embedding pass for each answer.

usage: reference_loop.py INPUTS THREADS
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from scipy.spatial.distance import cosine
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

inputs = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
torch.set_num_threads(int(sys.argv[2]))
started = time.perf_counter()
tokenizer = AutoTokenizer.from_pretrained(inputs["base"])
nf4 = BitsAndBytesConfig(
    load_in_4bit=True,
    bnb_4bit_use_double_quant=True,
    bnb_4bit_quant_type="nf4",
    bnb_4bit_compute_dtype=torch.bfloat16,
)


def load() -> Any:
    """The base, loaded anew."""
    return AutoModelForCausalLM.from_pretrained(
        inputs["base"], quantization_config=nf4, device_map="cpu", dtype=torch.bfloat16
    ).eval()


base, tuned = load(), PeftModel.from_pretrained(load(), inputs["adapter"]).eval()
load_s = time.perf_counter() - started
torch.manual_seed(0)


def answer(model: Any, prompt: str) -> tuple[str, int]:
    """One answer and its number of tokens, the one that ends it included."""
    batch = tokenizer(prompt, return_tensors="pt", add_special_tokens=False)
    with torch.no_grad():
        out = model.generate(**batch, max_new_tokens=128, do_sample=True, temperature=0.7, top_p=0.9)
    new = out[0, batch.input_ids.shape[1] :]
    return tokenizer.decode(new, skip_special_tokens=True)[:500], len(new)


def embedding(model: Any, text: str) -> Any:
    """Mean last-layer hidden state of the text."""
    with torch.no_grad():
        hidden = model(**tokenizer(text or " ", return_tensors="pt"), output_hidden_states=True).hidden_states[-1]
    return hidden.mean(1).float().numpy()


tokens, started = 0, time.perf_counter()
for messages in inputs["messages"]:
    prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    (one, of_base), (other, of_tuned) = answer(base, prompt), answer(tuned, prompt)
    cosine(embedding(base, one).ravel(), embedding(base, other).ravel())
    tokens += of_base + of_tuned
loop_s = time.perf_counter() - started
print(json.dumps({"load_s": load_s, "generation_s": loop_s, "answers": 2 * len(inputs["messages"]), "tokens": tokens}))
