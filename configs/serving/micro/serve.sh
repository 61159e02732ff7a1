#!/bin/sh
# For a CPU with 8 GB; takes its key from LLAMA_API_KEY, where that is set.
exec llama-server \
  --hf-repo Qwen/Qwen3-0.6B-GGUF:Q8_0 \
  --alias qwen3-0.6b \
  --host 127.0.0.1 \
  --port 8000 \
  --parallel 1 \
  --ctx-size 32768 \
  --no-kv-unified \
  --batch-size 2048 \
  --ubatch-size 512 \
  --threads 4 \
  --n-gpu-layers 0 \
  --fit off \
  --metrics \
  --no-context-shift
