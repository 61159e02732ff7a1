"""A studio to ask: in this process, or the real command in one of its own."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import uvicorn
from fastapi.testclient import TestClient

from pytest_llmbench.core.setting_sections import OutputSettings, StudioSettings
from pytest_llmbench.core.settings import Settings
from pytest_llmbench.studio.app import create_app
from pytest_llmbench.studio.options import StudioOptions

ADDRESS = "http://127.0.0.1:8400"
ROWS = (
    b'{"prompt": "monte le son", "completion": "volume_up"}\n{"prompt": "il fait nuit", "completion": "set_lights"}\n'
)


def options(folder: Path, *, token: str | None = None, host: str = "127.0.0.1", **studio: float) -> StudioOptions:
    """Those of a studio in a folder of its own, with other limits where they are given."""
    settings = Settings(output=OutputSettings(report_dir=folder), studio=StudioSettings.model_validate(studio))
    return StudioOptions(settings, folder / "studio", host=host, token=token)


@contextlib.contextmanager
def asked(chosen: StudioOptions) -> Iterator[TestClient]:
    """Who asks a studio in this process."""
    with TestClient(create_app(chosen), base_url=ADDRESS, raise_server_exceptions=False) as client:
        yield client


@contextlib.contextmanager
def serving(chosen: StudioOptions) -> Iterator[str]:
    """The address of a studio that a thread of this process serves: it streams, and many can ask it at once."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(create_app(chosen), log_config=None, timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)
        listener.close()


@contextlib.contextmanager
def served(project: Path, *words: str, **variables: str) -> Iterator[tuple[str, int]]:
    """The address and the process of `llmbench studio` in a project, on a free port; it ends with the block."""
    command = [sys.executable, "-m", "pytest_llmbench.cli", "studio", "--port", "0", *words]
    process = subprocess.Popen(command, cwd=project, stdout=subprocess.PIPE, text=True, env={**os.environ, **variables})
    assert process.stdout is not None
    try:
        address = process.stdout.readline().partition(" ")[0]
        assert address.startswith("http"), "the studio did not start"
        yield address.rstrip("/"), process.pid
    finally:
        process.terminate()
        process.wait(timeout=20)
        process.stdout.close()


def posted(url: str, body: bytes = b"", kind: str = "application/json") -> dict[str, Any]:
    """What a POST to a studio on this machine is answered with."""
    return told(urllib.request.Request(url, body, {"Content-Type": kind}))  # noqa: S310


def told(request: urllib.request.Request | str) -> dict[str, Any]:
    """The JSON that a studio on this machine answers with."""
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
        read: dict[str, Any] = json.load(answer)
    return read
