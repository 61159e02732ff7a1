"""The process that is the server: reads its orders as one line of JSON, says its address, serves until stdin ends.

Run as `python -m pytest_llmbench.generation.embedded.llamacpp_process`. Standard input ends when the parent ends,
however it does, so no server is ever left behind.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

_ERRORS_ONLY = 1
_HTTP_THREADS = 256
"""A waiting question holds a thread of the server, and so does a look at /metrics: fewer would queue unseen."""


def serve(orders: dict[str, Any]) -> None:
    """Load the model, print `{"url": ..., "device": "cpu" or "cuda"}`, and serve.

    Raises:
        RuntimeError: llama.cpp could not start, and has said why on standard error; or the model is too large.
    """
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = orders["model"]
    params.model_alias = {orders["name"]}
    params.port = orders["port"]
    params.n_parallel = orders["slots"]
    params.n_ctx = orders["slots"] * orders["context"]
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = orders["threads"]
    params.n_threads_http = _HTTP_THREADS
    params.endpoint_metrics = True
    params.cache_ram_mib = 0  # it gives one adapter's prompts to another (llama.cpp issue 26207)
    params.ui = False
    params.verbosity = _ERRORS_ONLY
    _apply(params, orders["options"])
    if (too_large := orders["too_large_without_gpu"]) and not _sees_gpu():
        raise RuntimeError(f"error: this build of xllamacpp sees no GPU, and {too_large}")
    params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(lora, 1.0) for lora in orders["loras"]]
    server = xllamacpp.Server(params)
    device = "cuda" if orders["options"]["device"] != "cpu" and _sees_gpu() else "cpu"
    sys.stdout.write(json.dumps({"url": server.listening_address, "device": device}) + "\n")
    sys.stdout.flush()
    sys.stdin.read()
    os._exit(0)  # its own end waits for ever for a question that is being answered, and there is nothing to save


def _apply(params: Any, options: dict[str, Any]) -> None:
    """Set what the options say, and leave the rest as it is.

    Raises:
        RuntimeError: llama.cpp knows no such type of cache, or has no GPU where one was asked for.
    """
    import xllamacpp

    same = ("kv_unified", "kv_unified_per_slot")
    for option, name in (("batch", "n_batch"), ("micro_batch", "n_ubatch"), *zip(same, same, strict=True)):
        if options[option] is not None:
            setattr(params, name, options[option])
    for name in ("cache_type_k", "cache_type_v"):
        if (wanted := options[name]) is not None:
            kind = getattr(xllamacpp.ggml_type, f"GGML_TYPE_{wanted.upper()}", None)
            if kind is None:
                raise RuntimeError(f"error: llama.cpp has no type {wanted} for {name}")
            setattr(params, name, kind)
    if options["device"] == "cpu":
        params.n_gpu_layers = 0
    elif options["device"] == "cuda" and not _sees_gpu():
        raise RuntimeError("error: model.device is cuda, and this build of xllamacpp sees no GPU")
    if options["context_shift"] is not None:
        params.ctx_shift = options["context_shift"]


def _sees_gpu() -> bool:
    import xllamacpp

    kind = xllamacpp.ggml_backend_dev_type.GGML_BACKEND_DEVICE_TYPE_GPU
    return any(device["type"] == kind for device in xllamacpp.get_device_info())


if __name__ == "__main__":
    try:
        serve(json.loads(sys.stdin.readline()))
    except RuntimeError as error:
        sys.exit(str(error))
