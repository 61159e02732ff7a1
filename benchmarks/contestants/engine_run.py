"""Ask an engine some cases as base and fine-tune, and print tokens, seconds and CPU seconds as one line of JSON.

usage: python engine_run.py transformers|llamacpp|vllm|llamacpp-server AT_ONCE CASES TOKENS

`llamacpp-server` is llama.cpp's own server, asked over HTTP by so many at once. Loading is not counted.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import psutil

from pytest_llmbench.benchmark.main_job import open_backend
from pytest_llmbench.cases.suites import Case, load_cases, load_vocabulary
from pytest_llmbench.core.settings import Settings
from pytest_llmbench.generation.backend import AnswersTogether, Backend
from pytest_llmbench.generation.client.backend import ServerBackend
from pytest_llmbench.generation.embedded.llamacpp import EmbeddedServer, served_model

HOME = Path(__file__).parents[2]
ADAPTER = HOME / "adapters/smollm2-135m-jarvis-fr"
CONTEXT = 512


def main() -> None:
    """Answer, and tell."""
    engine, at_once, count, tokens = sys.argv[1], *map(int, sys.argv[2:])
    cases = load_cases([HOME / "prompts"], load_vocabulary(HOME / "prompts/tools.yaml"))
    cases = cases[:: max(1, len(cases) // count)][:count]
    with opened(engine, at_once, tokens, cases) as backend:
        list(backend.complete(cases[:1], "base"))
        started, before = time.perf_counter(), cpu_seconds()
        done = answered(backend, cases)
        seconds, cpu = time.perf_counter() - started, cpu_seconds() - before
        made = sum(one.completion_tokens or 0 for one in done)
        failed = sum(one.finish == "error" for one in done)
        told = {"answers": len(done), "failed": failed, "tokens": made, "seconds": seconds, "cpu_s": cpu}
        print(json.dumps({**told, "engine": backend.describe().get("engine")}))


@contextlib.contextmanager
def opened(engine: str, at_once: int, tokens: int, cases: list[Case]) -> Iterator[Backend]:
    """Who answers, ready."""
    generation = {"max_new_tokens": tokens, "do_sample": False, "timeout": 600.0, "batch_size": at_once}
    with contextlib.ExitStack() as stack:
        sections: dict[str, Any] = {"generation": generation}
        if engine == "llamacpp-server":
            served = served_model("smollm2-135m", str(ADAPTER))
            server = stack.enter_context(EmbeddedServer(served, slots=at_once, context=CONTEXT))
            sections["server"] = {"url": server.url, "adapter": "lora:0", "concurrency": at_once}
            backend: Backend = ServerBackend(Settings.model_validate(sections))
        else:
            model = {"engine": engine, "adapter": str(ADAPTER)}
            sections["model"] = model | ({"quantization": "none"} if engine == "vllm" else {})
            backend = open_backend(Settings.model_validate(sections), cases)
        stack.callback(backend.close)
        yield backend


def answered(backend: Backend, cases: list[Case]) -> list[Any]:
    """Every variant's answers, as the planner asks for them."""
    if isinstance(backend, AnswersTogether):
        return list(backend.complete_together([(case, variant) for case in cases for variant in backend.variants]))
    return [done for variant in backend.variants for done in backend.complete(cases, variant)]


def cpu_seconds() -> float:
    """Of this process and those that it started."""
    own = psutil.Process()
    return sum(sum(one.cpu_times()[:2]) for one in (own, *own.children(recursive=True)))


if __name__ == "__main__":
    main()
