#!/usr/bin/env bash
# bitsandbytes on a CPU with AVX512-BF16: a 4-bit layer told to compute in float32 does so in training mode alone.
#
# Versions: bitsandbytes 0.50.2, torch 2.13.0, on CPUs with and without AVX512-BF16.
# Expected: `bnb_4bit_compute_dtype=torch.float32` gives products in float32 on every CPU, and a layer without dropout
#           has one result for one input, whether it is in training mode or in evaluation mode.
# Seen:     where the CPU has the instructions, a layer in evaluation mode whose input needs no gradient is packed anew
#           for a kernel that rounds inputs and scales to bfloat16 whatever the compute dtype is, and nothing is said. Its
#           result is a float32 tensor some 0.3 % away from that of training mode, so validation losses are not those
#           of the model that is trained, and answers depend on the kind of CPU. Once packed, it stays away in
#           training mode too. Without the instructions both modes agree to float32's last digits.
# Exits 0 while that is so, 1 when it has changed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet torch==2.13.0 bitsandbytes==0.50.2
"$work/venv/bin/python" - <<'PYTHON'
import sys

import torch
from bitsandbytes.nn import Linear4bit

torch.manual_seed(0)
layer = Linear4bit(256, 64, bias=False, compute_dtype=torch.float32, quant_type="nf4")
layer.weight.data = torch.randn(64, 256) / 16
layer = layer.to("cpu")
told = torch.randn(8, 256)
with torch.no_grad():
    training, answering = layer.train()(told), layer.eval()(told)
    again = layer.train()(told)
apart = float((training - answering).norm() / training.norm())
stays = float((training - again).norm() / training.norm())
packs = torch.cpu.get_capabilities().get("avx512_bf16", False)
print(f"AVX512-BF16: {packs}; {answering.dtype}; evaluation mode is {apart:.1e} away, training after it {stays:.1e}")
sys.exit(0 if (apart > 1e-3 and stays > 1e-3 if packs else max(apart, stays) < 1e-5) else 1)
PYTHON
