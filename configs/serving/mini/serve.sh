#!/bin/sh
# For a GPU with 16 GB; takes its key from VLLM_API_KEY, where that is set.
exec vllm serve Qwen/Qwen3-1.7B \
  --served-model-name qwen3-1.7b \
  --host 127.0.0.1 \
  --port 8000 \
  --max-model-len 32768 \
  --max-num-seqs 2 \
  --max-num-batched-tokens 8192 \
  --gpu-memory-utilization 0.9
