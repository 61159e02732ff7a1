#!/bin/sh
# For a GPU with 48 GB; takes its key from VLLM_API_KEY, where that is set.
exec vllm serve Qwen/Qwen3-4B \
  --served-model-name qwen3-4b \
  --host 127.0.0.1 \
  --port 8000 \
  --max-model-len 98304 \
  --max-num-seqs 2 \
  --max-num-batched-tokens 8192 \
  --gpu-memory-utilization 0.9 \
  --hf-overrides '{"rope_parameters": {"rope_type": "yarn", "rope_theta": 1000000.0, "factor": 3.0, "original_max_position_embeddings": 32768}, "max_position_embeddings": 98304}'
