from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from support.calibrated_server import Serve, calibrated_servers
from support.nvml import nvml

from pytest_llmbench.generation.client.chat_client import ChatClient
from pytest_llmbench.load.client import ChatServer
from pytest_llmbench.load.prometheus import Reading
from pytest_llmbench.load.server_metrics import GpuReading, Gpus, ServerWatch, WatchSummary, gpu_summary, server_summary


@pytest.fixture
def serve() -> Iterator[Serve]:
    with calibrated_servers() as start:
        yield start


def test_a_summary_has_the_extremes_the_means_and_the_rates_of_the_working_time() -> None:
    readings = [
        (10.0, Reading(running=0, waiting=0, kv_cache=0.1, prompt_tokens=100, generated_tokens=50)),
        (12.0, Reading(running=4, waiting=2, kv_cache=0.6, prompt_tokens=300, generated_tokens=90)),
        (14.0, Reading(running=2, waiting=1, kv_cache=0.4, prompt_tokens=300, generated_tokens=130)),
        (19.0, Reading(running=0, waiting=0, kv_cache=0.1, prompt_tokens=300, generated_tokens=130)),
    ]
    assert server_summary(readings) == {
        "running_max": 4,
        "running_mean": 1.5,
        "waiting_max": 2,
        "waiting_mean": 0.75,
        "kv_cache_max": 0.6,
        "prompt_tokens_per_s": 100.0,
        "generated_tokens_per_s": 20.0,
        "preemptions": None,
        "samples": 4,
    }


def test_a_server_that_began_anew_does_not_count_backwards() -> None:
    counts = [(0.0, 500.0), (1.0, 520.0), (2.0, 5.0), (3.0, 45.0)]
    summary = server_summary([(at, Reading(generated_tokens=count)) for at, count in counts])
    assert summary is not None
    assert summary["generated_tokens_per_s"] == 30.0


def test_no_look_is_no_summary() -> None:
    assert server_summary([]) is None
    assert gpu_summary((), []) is None


def test_of_the_gpus_the_busiest_counts_and_all_their_memory() -> None:
    readings = [GpuReading((0.2, 0.9), (2**30, 2**30)), GpuReading((0.4, 0.7), (2**31, 2**31))]
    assert gpu_summary(("a", "b"), readings) == {
        "devices": ["a", "b"],
        "utilization": 0.8,
        "utilization_max": 0.9,
        "memory_gib": 4.0,
    }


def watched(url: str, every_s: float = 0.01, *, load: bool = True) -> WatchSummary:
    """What is seen of a server that has one question to answer."""

    async def run() -> WatchSummary:
        client = ChatClient(url, {}, 1, 30.0, 0)
        question = {"model": "calibrated", "messages": [{"role": "user", "content": "raconte"}], "max_tokens": 40}
        try:
            async with ServerWatch(ChatServer.at(url), every_s) as watch:
                if load:
                    await client.ask({**question, "stream": True})
        finally:
            await client.close()
        return watch.summary()

    return asyncio.run(run())


@pytest.mark.parametrize("metrics", ["llama.cpp", "vllm"])
def test_a_server_is_watched_while_it_works(serve: Serve, metrics: str) -> None:
    server = watched(serve(metrics=metrics, answer_tokens=40).url)["server"]
    assert server is not None
    assert server["running_max"] == 1
    assert server["samples"] > 2


def test_however_seldom_it_looks_the_first_and_the_last_look_are_there(serve: Serve) -> None:
    server = watched(serve(metrics="vllm", answer_tokens=4).url, every_s=1000.0)["server"]
    assert server is not None
    assert server["samples"] == 2


def test_a_server_without_the_page_or_gone_is_no_fault(serve: Serve) -> None:
    server = serve(metrics=None)
    assert watched(server.url) == {"server": None, "gpu": None}
    server.close()
    assert watched(server.url, load=False) == {"server": None, "gpu": None}


def test_the_gpus_of_this_machine_count_for_a_server_on_it_only(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", nvml(1))
    gpu = watched(serve(metrics=None).url)["gpu"]
    assert gpu is not None
    assert (gpu["devices"], gpu["utilization"], gpu["memory_gib"]) == (["GPU 1"], 0.1, 1.0)
    assert watched("http://server.invalid:8000/v1", load=False)["gpu"] is None


def test_every_device_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", nvml(2))
    gpus = Gpus.found()
    assert gpus is not None
    assert gpus.names == ("GPU 1", "GPU 2")
    assert gpus.read() == GpuReading((0.1, 0.2), (2**30, 2**31))


@pytest.mark.parametrize(
    "module", [None, nvml(0), nvml(1, initialised=False)], ids=["no package", "no device", "no driver"]
)
def test_without_package_driver_or_device_there_are_none(module: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", module)
    assert Gpus.found() is None


def test_a_driver_that_does_not_tell_gives_no_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", nvml(1, silent=True))
    gpus = Gpus.found()
    assert gpus is not None
    assert gpus.read() is None
