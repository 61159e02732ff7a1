"""One variant's answers through lm-evaluation-harness's HF backend; the base and the fine-tune are two processes there.

usage: lm_eval_harness.py INPUTS BATCH_SIZE THREADS DTYPE base|adapter    (in an environment that has lm_eval)
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

inputs = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
torch.set_num_threads(int(sys.argv[3]))
dtype: torch.dtype = getattr(torch, sys.argv[4])
started = time.perf_counter()
# HFLM's own `load_in_4bit` and `quantization_config` both fail on transformers 5: it is handed the loaded model
nf4 = BitsAndBytesConfig(
    load_in_4bit=True,
    bnb_4bit_use_double_quant=True,
    bnb_4bit_quant_type="nf4",
    bnb_4bit_compute_dtype=dtype,
)
loaded = AutoModelForCausalLM.from_pretrained(inputs["base"], quantization_config=nf4, device_map="cpu", dtype=dtype)
if sys.argv[5] == "adapter":
    loaded = PeftModel.from_pretrained(loaded, inputs["adapter"])
tokenizer = AutoTokenizer.from_pretrained(inputs["base"])
model = HFLM(pretrained=loaded.eval(), tokenizer=tokenizer, batch_size=int(sys.argv[2]), device="cpu")
load_s = time.perf_counter() - started
asked = {"until": [], "max_gen_toks": 128, "do_sample": True, "temperature": 0.7, "top_p": 0.9}
requests = [
    Instance("generate_until", {}, (model.apply_chat_template(messages), asked), index)
    for index, messages in enumerate(inputs["messages"])
]
torch.manual_seed(0)
started = time.perf_counter()
answers = model.generate_until(requests, disable_tqdm=True)
generation_s = time.perf_counter() - started
lengths = [len(model.tok_encode(answer, add_special_tokens=False)) for answer in answers]
tokens = sum(lengths) + sum(length < asked["max_gen_toks"] for length in lengths)  # and those that end them
print(json.dumps({"load_s": load_s, "generation_s": generation_s, "answers": len(answers), "tokens": tokens}))
