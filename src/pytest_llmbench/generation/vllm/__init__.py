"""vLLM in this process: the library, not a server of it."""
