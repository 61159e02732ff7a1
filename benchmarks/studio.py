"""The studio as a server: how soon it answers while a job trains, its memory, a large upload; and LlamaBoard beside it.

- answers: 50 clients ask `GET /api/models/available` at once, again and again, in turns with an empty FastAPI route of
  a server of its own, while the studio trains the embedded model. Ratios are of stretches that follow each other.
- memory: resident memory of the server when it has started, and after models, a dataset, runs, a comparison, a report.
- upload: a dataset of a gigabyte, sent as a form; the most memory of the server and of the process that reads it.
- llamaboard: LLaMA-Factory's web interface in an environment of its own, where it can be installed: the time to its
  first page, its memory, and what a browser asks for to show that page; the same of the studio.

Run `python benchmarks/studio.py`; `--only NAME` measures one. Linux only.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import psutil
from measuring import measure_parts
from peers import NotInstalledError, environment

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from support.browser import BROWSER, DRIVER, chromium, logged
from support.saved_runs import EXAMPLE
from support.studio import served

from pytest_llmbench.runs.history import save as save_run
from pytest_llmbench.runs.storage import read_document

CLIENTS, STRETCH_S, STRETCHES = 50, 4.0, 8
UPLOAD_BYTES, ROW_BYTES = 2**30, 2048
LLAMABOARD = {"llamafactory": "0.9.5", "torch": "2.13.0"}  # an unpinned torch is several GB
START_S = 300
EMPTY = """
import sys, uvicorn
from fastapi import FastAPI
app = FastAPI()
@app.get("/")
async def empty():
    return {}
uvicorn.run(app, port=int(sys.argv[1]), log_level="error", access_log=False)
"""


def main() -> None:
    """Measure all, or one part anew, then write `results/studio.json` and a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("answers", "memory", "upload", "llamaboard"))
    parser.add_argument("--peers", type=Path, default=Path(tempfile.gettempdir()) / "llmbench-peers")
    chosen = parser.parse_args()
    measures: Mapping[str, Callable[[Path], Mapping[str, Any]]] = {
        "answers": answers,
        "memory": memory,
        "upload": upload,
        "llamaboard": lambda folder: first_pages(folder, chosen.peers),
    }
    measure_parts("studio", measures, chosen.only, lines)


# answers


def answers(folder: Path) -> dict[str, Any]:
    """Seconds from a request to its answer, of both routes, in turns."""
    port = free_port()
    with contextlib.ExitStack() as stack:
        studio, _ = stack.enter_context(served(folder))
        stack.enter_context(_running([sys.executable, "-c", EMPTY, str(port)], f"http://127.0.0.1:{port}/"))
        job = stack.enter_context(_training(studio))
        routes = {"empty": f"http://127.0.0.1:{port}/", "available": f"{studio}/api/models/available"}
        took: dict[str, list[list[float]]] = {name: [] for name in routes}
        for _ in range(STRETCHES):
            for name, url in routes.items():
                took[name].append(asyncio.run(_asked(url)))
        state = _json(f"{studio}/api/jobs/{job}")["state"]
    p99 = {name: [float(np.quantile(one, 0.99)) for one in stretches] for name, stretches in took.items()}
    ratios = np.array(p99["available"]) / np.array(p99["empty"])
    return {
        "clients": CLIENTS,
        "job": state,
        **{
            name: {
                "requests": sum(map(len, stretches)),
                "p50_ms": _ms(np.quantile(np.concatenate(stretches), 0.5)),
                "p99_ms": _ms(np.quantile(np.concatenate(stretches), 0.99)),
            }
            for name, stretches in took.items()
        },
        "p99_ratio": round(float(np.median(ratios)), 2),
        "p99_ratio_range": [round(float(ratios.min()), 2), round(float(ratios.max()), 2)],
    }


async def _asked(url: str) -> list[float]:
    took: list[float] = []
    end = time.perf_counter() + STRETCH_S

    async def client(session: aiohttp.ClientSession) -> None:
        while (started := time.perf_counter()) < end:
            async with session.get(url) as answer:
                await answer.read()
                assert answer.status == 200
            took.append(time.perf_counter() - started)

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=CLIENTS)) as session:
        await asyncio.gather(*(client(session) for _ in range(CLIENTS)))
    return took


@contextlib.contextmanager
def _training(studio: str) -> Iterator[int]:
    """A training of the embedded model that has begun and lasts until the block ends."""
    rows = "".join(
        json.dumps({"prompt": f"monte le son de la pièce {number}", "completion": "volume_up"}) + "\n"
        for number in range(400)
    )
    dataset = _send(f"{studio}/api/datasets", rows.encode(), "application/jsonl")["id"]
    wanted = {"dataset_id": dataset, "model_name": "smollm2-135m", "batch_size": 1, "num_epochs": 1}
    job: int = _send(f"{studio}/api/start-finetuning", json.dumps(wanted).encode())["id"]
    try:
        while (seen := _json(f"{studio}/api/jobs/{job}"))["progress"] is None:
            assert seen["state"] in {"queued", "running"}, seen["problem"]
            time.sleep(0.5)
        yield job
    finally:
        with contextlib.suppress(urllib.error.HTTPError):  # it is over already
            _send(f"{studio}/api/jobs/{job}/cancel", b"")
        while _json(f"{studio}/api/jobs/{job}")["state"] == "cancelling":
            time.sleep(0.2)


# memory


def memory(folder: Path) -> dict[str, Any]:
    """MiB of the server when it has started, and after everything that it shows without a model."""
    save_run(read_document(EXAMPLE), folder / "reports", "accepted")
    with served(folder) as (studio, pid):
        _json(f"{studio}/api/health")
        idle = _resident(pid)
        rows = b'{"prompt": "monte le son", "completion": "volume_up"}\n' * 1000
        dataset = _send(f"{studio}/api/datasets", rows, "application/jsonl")["id"]
        while _json(f"{studio}/api/datasets/{dataset}")["checked"]["state"] == "running":
            time.sleep(0.2)
        for path in (
            "models/available",
            "estimate?model_name=smollm2-135m",
            "runs",
            "runs/0001_accepted",
            "openapi.json",
        ):
            _json(f"{studio}/api/{path}")
        _json(f"{studio}/api/comparisons?baseline=0001_accepted&run=0001_accepted")
        _read(f"{studio}/api/runs/0001_accepted/report")
        return {"started_mib": _mib(idle), "after_use_mib": _mib(_resident(pid))}


# upload


def upload(folder: Path) -> dict[str, Any]:
    """Seconds and the most MiB of both processes."""
    big = folder / "big.jsonl"
    answer = "mot " * (ROW_BYTES // 4 - 20)
    with big.open("w", encoding="utf-8") as file:
        for number in range(UPLOAD_BYTES // ROW_BYTES + 1):
            row = json.dumps({"prompt": f"question {number}", "completion": answer})
            file.write(f"{row:<{ROW_BYTES - 1}}\n")
    with served(folder) as (studio, pid), _watched(pid) as most:
        started = time.perf_counter()
        sent = asyncio.run(_form(f"{studio}/api/datasets", big))
        return {
            "bytes": sent["bytes"],
            "rows": sent["rows"],
            "seconds": round(time.perf_counter() - started, 1),
            "server_most_mib": _mib(most["server"]),
            "reader_most_mib": _mib(most["below"]),
        }


async def _form(url: str, path: Path) -> dict[str, Any]:
    form = aiohttp.FormData()
    with path.open("rb") as file:
        form.add_field("file", file, filename=path.name)
        limit = aiohttp.ClientTimeout(900)
        async with aiohttp.ClientSession(timeout=limit) as session, session.post(url, data=form) as answer:
            found: dict[str, Any] = await answer.json()
            assert answer.status == 201, found
            return found


@contextlib.contextmanager
def _watched(pid: int) -> Iterator[dict[str, int]]:
    """The most bytes of a process, and of any below it, looked at twenty times a second."""
    most, ended = {"server": 0, "below": 0}, threading.Event()

    def look() -> None:
        while not ended.wait(0.05):
            most["server"] = max(most["server"], _resident(pid))
            for child in psutil.Process(pid).children(recursive=True):
                most["below"] = max(most["below"], _resident(child.pid))

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield most
    finally:
        ended.set()
        watcher.join()


# llamaboard


def first_pages(folder: Path, peers: Path) -> dict[str, Any]:
    """Of both: seconds to the first page, MiB when idle, what a browser asked for and how many bytes came."""
    port = free_port()
    ours = [sys.executable, "-m", "pytest_llmbench.cli", "studio", "--port", str(port)]
    found = {"studio": _first_page(ours, f"http://127.0.0.1:{port}/", folder, {})}
    try:
        python = llamafactory(peers)
    except NotInstalledError as error:
        return {**found, "llamaboard": {"not_started": str(error)[:300]}}
    port = free_port()
    variables = {
        "GRADIO_SERVER_PORT": str(port),
        "GRADIO_SERVER_NAME": "127.0.0.1",
        "GRADIO_ANALYTICS_ENABLED": "False",
    }
    theirs = [str(python.with_name("llamafactory-cli")), "webui"]
    return {**found, "llamaboard": _first_page(theirs, f"http://127.0.0.1:{port}/", folder, variables)}


def llamafactory(peers: Path) -> Path:
    """Its environment. torchvision and torchaudio are wheels of CUDA, which do not load beside a torch for the CPU.

    The interface does without the first and only imports the second, for datasets of sound; an empty module is enough.
    """
    python = environment("llamafactory", LLAMABOARD, peers)
    subprocess.run([python, "-m", "pip", "uninstall", "--quiet", "--yes", "torchvision", "torchaudio"], check=False)
    folder = next(python.parents[1].glob("lib/python*/site-packages"))
    (folder / "torchaudio.py").write_text("", encoding="utf-8")
    return python


def _first_page(command: list[str], url: str, folder: Path, variables: Mapping[str, str]) -> dict[str, Any]:
    started = time.perf_counter()
    try:
        with _running(command, url, folder, variables) as pid:
            took = time.perf_counter() - started
            _read(url)
            time.sleep(2)
            resident = sum(
                _resident(one.pid) for one in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
            )
            return {"start_s": round(took, 1), "idle_mib": _mib(resident), **_seen(url)}
    except NotInstalledError as error:
        return {"not_started": str(error)[-300:]}


def _seen(url: str) -> dict[str, Any]:
    if not BROWSER or not DRIVER:
        return {"browser": "none"}
    with chromium() as chrome:
        chrome.get(url)
        time.sleep(5)  # what a page fetches by itself
        timing = "return performance.getEntriesByType('navigation')[0].domInteractive"
        interactive = float(chrome.execute_script(timing))
        messages = [json.loads(message)["message"] for message in logged(chrome, "performance")]
    asked = {
        one["params"]["requestId"]: one["params"]["request"]["url"] for one in messages if _is(one, "requestWillBeSent")
    }
    came = sum(int(one["params"]["encodedDataLength"]) for one in messages if _is(one, "loadingFinished"))
    real = [address for address in asked.values() if not address.startswith("data:")]
    elsewhere = [address for address in real if not address.startswith(url)]
    return {
        "interactive_ms": round(interactive),
        "requests": len(real),
        "bytes": came,
        "to_other_hosts": len(elsewhere),
    }


def _is(message: Mapping[str, Any], event: str) -> bool:
    return bool(message["method"] == f"Network.{event}")


# all


@contextlib.contextmanager
def _running(
    command: list[str], url: str, folder: Path | None = None, variables: Mapping[str, str] = {}
) -> Iterator[int]:
    """A server that answers, ended with the block."""
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(
            command, cwd=folder, env={**os.environ, **variables}, stdout=said, stderr=said, text=True
        )
        try:
            _wait(process, url, said)
            yield process.pid
        finally:
            for child in psutil.Process(process.pid).children(recursive=True) if process.poll() is None else ():
                child.terminate()
            process.terminate()
            process.wait(20)


def _wait(process: subprocess.Popen[str], url: str, said: Any) -> None:
    end = time.monotonic() + START_S
    while time.monotonic() < end:
        with contextlib.suppress(OSError):
            _read(url)
            return
        if process.poll() is not None:
            said.seek(0)
            raise NotInstalledError(f"{process.args} ended with {process.returncode}: {said.read()[-250:]}")
        time.sleep(0.1)
    raise NotInstalledError(f"{process.args} did not answer in {START_S} s")


def free_port() -> int:
    """One that nobody listens on."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _read(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=120) as answer:  # noqa: S310
        found: bytes = answer.read()
        return found


def _json(url: str) -> Any:
    return json.loads(_read(url))


def _send(url: str, body: bytes, kind: str = "application/json") -> Any:
    request = urllib.request.Request(url, body, {"content-type": kind})  # noqa: S310
    with urllib.request.urlopen(request, timeout=120) as answer:  # noqa: S310
        return json.loads(answer.read())


def _resident(pid: int) -> int:
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0


def _mib(size: int) -> int:
    return round(size / 2**20)


def _ms(seconds: Any) -> float:
    return round(float(seconds) * 1000, 1)


def lines(result: Mapping[str, Any]) -> Iterator[str]:
    """The figures as tables."""
    found = result["answers"]
    loads = ", ".join(
        f"{name} {max(result[name]['load']):.0f}" for name in ("answers", "memory", "upload", "llamaboard")
    )
    yield f"Load of the machine while each was measured: {loads}."
    yield ""
    yield f"{found['clients']} clients at once, again and again, while a job trains ({found['job']}):"
    yield ""
    yield "| route | requests | p50 ms | p99 ms |"
    yield "| --- | ---: | ---: | ---: |"
    for name in ("empty", "available"):
        one = found[name]
        yield f"| {name} | {one['requests']} | {one['p50_ms']} | {one['p99_ms']} |"
    low, high = found["p99_ratio_range"]
    yield ""
    yield f"p99 over that of the empty route, stretch by stretch: {found['p99_ratio']} ({low} to {high})."
    used, sent = result["memory"], result["upload"]
    yield ""
    yield f"Server: {used['started_mib']} MiB resident when started, {used['after_use_mib']} after use without a model."
    yield (
        f"Upload of {sent['bytes'] / 2**30:.2f} GiB, {sent['rows']} rows: {sent['seconds']} s with reading; at most "
        f"{sent['server_most_mib']} MiB of the server, {sent['reader_most_mib']} MiB of the process that reads."
    )
    yield ""
    yield "| | start s | idle MiB | interactive ms | requests | bytes | to other hosts |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: | ---: |"
    for name in ("studio", "llamaboard"):
        one = result["llamaboard"][name]
        keys = ("start_s", "idle_mib", "interactive_ms", "requests", "bytes", "to_other_hosts")
        told = " | ".join(str(one.get(key, "")) for key in keys)
        yield (
            f"| {name} | {told} |"
            if "not_started" not in one
            else f"| {name} | not started: {one['not_started'].splitlines()[-1]} |"
        )


if __name__ == "__main__":
    main()
