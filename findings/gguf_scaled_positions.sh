#!/usr/bin/env bash
# transformers reads a GGUF file without its scaling of positions and says nothing: YaRN, and Llama 3.1's own.
#
# Versions: transformers 5.23.0, torch 2.13.0, gguf 0.19.0 (which writes the files that are read here).
# Expected: a file with `rope.scaling.type = yarn`, or with the tensor `rope_freqs.weight`, in which llama.cpp's
#           converter puts the scales of Llama 3.1 and 3.2, gives a model that scales its positions, as in llama.cpp.
# Seen:     `rope_type` is "default" for each of them and their logits are, to the bit, those of the file that scales
#           nothing. transformers' own model with the same weights and YaRN in its config has other logits, so the
#           difference would be there to see.
# Exits 0 while that is so, 1 when it has changed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet torch==2.13.0 transformers==5.23.0 accelerate==1.15.0 gguf==0.19.0
HF_HUB_OFFLINE=1 "$work/venv/bin/python" - "$work" <<'PYTHON'
import sys

import gguf
import numpy as np
import torch
from transformers import AutoModelForCausalLM, LlamaForCausalLM

WORK = sys.argv[1]
HIDDEN, LAYERS, HEADS, INNER, WORDS, TRAINED = 32, 2, 2, 64, 64, 64


def written(name, freqs=None, **more):
    """A tiny Llama of the same random weights each time."""
    writer = gguf.GGUFWriter(f"{WORK}/{name}", "llama")
    writer.add_context_length(4 * TRAINED)
    writer.add_embedding_length(HIDDEN)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(HIDDEN // HEADS)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(WORDS)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list([f"t{number}" for number in range(WORDS)])
    writer.add_token_types([1] * WORDS)
    for key, value in more.items():
        getattr(writer, key)(value)
    random = np.random.default_rng(0)
    shapes = {"token_embd": (WORDS, HIDDEN), "output": (WORDS, HIDDEN), "output_norm": (HIDDEN,)}
    for layer in range(LAYERS):
        shapes |= {f"blk.{layer}.attn_{one}": (HIDDEN, HIDDEN) for one in ("q", "k", "v", "output")}
        shapes |= {f"blk.{layer}.ffn_{one}": (INNER, HIDDEN) for one in ("gate", "up")}
        shapes |= {f"blk.{layer}.ffn_down": (HIDDEN, INNER)}
        shapes |= {f"blk.{layer}.{one}_norm": (HIDDEN,) for one in ("attn", "ffn")}
    for tensor, shape in shapes.items():
        values = random.normal(0, 0.3, shape) if len(shape) > 1 else np.ones(shape)
        writer.add_tensor(f"{tensor}.weight", values.astype(np.float32))
    if freqs is not None:
        writer.add_tensor("rope_freqs.weight", np.asarray(freqs, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


yarn = {
    "add_rope_scaling_type": gguf.RopeScalingType.YARN,
    "add_rope_scaling_factor": 4.0,
    "add_rope_scaling_orig_ctx_len": TRAINED,
}
written("plain.gguf")
written("yarn.gguf", **yarn)
written("llama3.gguf", freqs=[1, 1, 1, 2, 4, 8, 8, 8])

asked = torch.arange(3 * TRAINED)[None] % WORDS
models = {
    name: AutoModelForCausalLM.from_pretrained(WORK, gguf_file=f"{name}.gguf", dtype=torch.float32).eval()
    for name in ("plain", "yarn", "llama3")
}
config = models["plain"].config.to_dict()
config["rope_parameters"] = {
    "rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": TRAINED
}  # fmt: skip
meant = LlamaForCausalLM(type(models["plain"].config).from_dict(config)).eval()
meant.load_state_dict(models["plain"].state_dict())
with torch.no_grad():
    logits = {name: model(asked).logits for name, model in (models | {"meant": meant}).items()}
kinds = {name: model.config.rope_parameters["rope_type"] for name, model in models.items()}
apart = {name: (logits[name] - logits["plain"]).abs().max().item() for name in ("yarn", "llama3", "meant")}
print("rope_type:", kinds)
print("logits differ from the file without scaling by at most", {name: round(far, 3) for name, far in apart.items()})
unscaled = set(kinds.values()) == {"default"} and apart["yarn"] == apart["llama3"] == 0
sys.exit(0 if unscaled and apart["meant"] > 0.1 else 1)
PYTHON
