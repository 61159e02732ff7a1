#!/usr/bin/env bash
# aiperf counts an answer that the server broke off with an error as a good one, and its few tokens in all figures.
#
# Version: aiperf 0.13.0, against a server on this machine that streams as vLLM does where generation fails midway:
# three tokens, then `data: {"error": {...}}` and `data: [DONE]`, all under the status 200 that was sent before.
# Expected: ten such answers are ten errors. Seen: ten good requests and no error; their length and latency, short since
#           they were broken off, stand in the averages, so that a server that fails under load looks quick.
# Exits 0 while that is so, 1 when it has changed.
set -euo pipefail
work=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server"; rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet torch==2.13.0 aiperf==0.13.0
cat >"$work/server.py" <<'PY'
import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Failing(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        listed = json.dumps({"object": "list", "data": [{"id": "failing", "object": "model"}]}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(listed)))
        self.end_headers()
        self.wfile.write(listed)

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        for delta in ({"role": "assistant", "content": ""}, *[{"content": " x"}] * 3):
            choice = {"index": 0, "delta": delta, "finish_reason": None}
            self.say({"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]})
            time.sleep(0.02)
        self.say({"error": {"message": "EngineCore failed", "type": "InternalServerError", "code": 500}})
        self.wfile.write(b"data: [DONE]\n\n")

    def say(self, told):
        self.wfile.write(f"data: {json.dumps(told)}\n\n".encode())


with ThreadingHTTPServer(("127.0.0.1", 0), Failing) as server:
    with open(sys.argv[1], "w") as port:
        port.write(str(server.server_port))
    server.serve_forever()
PY
cat >"$work/tokenizer.py" <<'PY'
import sys

from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

alphabet = ["<s>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
bytewise = Tokenizer(models.BPE(vocab={token: number for number, token in enumerate(alphabet)}, merges=[]))
bytewise.pre_tokenizer, bytewise.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
whole = PreTrainedTokenizerFast(tokenizer_object=bytewise, bos_token="<s>", eos_token="<s>")
whole.save_pretrained(sys.argv[1])
PY
"$work/venv/bin/python" "$work/tokenizer.py" "$work/bytes"
"$work/venv/bin/python" "$work/server.py" "$work/port" &
server=$!
until [ -s "$work/port" ]; do sleep 0.1; done
(cd "$work" && env -u HF_HUB_OFFLINE "$work/venv/bin/aiperf" profile -m failing \
  --url "http://127.0.0.1:$(cat "$work/port")" --endpoint-type chat --streaming --concurrency 1 --request-count 10 \
  --tokenizer "$work/bytes" \
  --prompt-input-tokens-mean 32 --prompt-output-tokens-mean 20 --no-server-metrics --no-gpu-telemetry \
  --output-artifact-dir "$work/found" >"$work/log" 2>&1) || { tail -20 "$work/log"; exit 1; }
"$work/venv/bin/python" - "$work/found/profile_export_aiperf.json" <<'PY'
import json
import sys

with open(sys.argv[1]) as file:
    found = json.load(file)
good, errors = found["request_count"]["avg"], (found.get("error_request_count") or {"avg": 0})["avg"]
print(f"of ten answers that broke off: {good:g} good, {errors:g} errors, error summary {found.get('error_summary')}")
print(f"their latency in the averages: {found['request_latency']['avg']:.0f} ms")
sys.exit(0 if good == 10 and errors == 0 else 1)
PY
