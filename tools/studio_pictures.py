"""Makes the pictures of docs/studio.md: a real training of the embedded model, each page in headless Chromium.

    python tools/studio_pictures.py

It takes some minutes, selenium, Chromium and chromedriver, and writes docs/images/studio-*.png.
"""

from __future__ import annotations

import io
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from support.browser import chromium, found, texts
from support.studio import posted, served, told
from support.studio_project import make_studio_project

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs" / "images"
_TRAINING, _VALIDATION, _STEPS = 16, 8, 16
_WIDTH, _HEIGHT = 1100, 780
_PATIENCE_S = 900
_COLOURS = 96  # of a picture that is flat anyway: a third of the size
_QUESTION = "Jarvis, monte un peu le son"


def main() -> None:
    """Walk the studio, and take a picture of each page."""
    with tempfile.TemporaryDirectory() as name:
        project = make_studio_project(Path(name) / "project")
        with served(project, HF_HUB_OFFLINE="1") as (address, _), chromium() as chrome:
            screen = {"width": _WIDTH, "height": _HEIGHT, "deviceScaleFactor": 1, "mobile": False}
            chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
            _walk(chrome, address)


def _walk(chrome: Chrome, address: str) -> None:
    lines = (ROOT / "data" / "train.jsonl").read_bytes().splitlines(keepends=True)
    rows = _upload(address, "commands.jsonl", lines[:_TRAINING])
    _take(chrome, address, "upload")
    _take(chrome, address, "models")
    chrome.get(f"{address}/training?dataset_id={rows}")
    _wait(chrome, "#estimate", "GB")
    _keep(chrome, "training")
    _wait_for_check(chrome, address, rows)
    validation = _upload(address, "validation.jsonl", lines[-_VALIDATION:])
    asked = {"dataset_id": rows, "model_name": "smollm2-135m", "quantization": "none", "steps": _STEPS}
    asked |= {"validation_dataset_id": validation, "batch_size": 2}
    job = posted(f"{address}/api/start-finetuning", json.dumps(asked).encode())["id"]
    chrome.get(f"{address}/jobs/{job}")
    _wait(chrome, "#panel", f"{_STEPS // 2} / {_STEPS}")
    _keep(chrome, "job")
    _wait_for_job(address, job)
    _try(chrome, address, job)
    benchmark = posted(f"{address}/api/jobs/{job}/benchmark", b"{}")["id"]
    _take(chrome, address, "dashboard")
    _wait_for_job(address, benchmark)
    _take(chrome, address, f"compare/jobs/{benchmark}", name="compare")
    _take(chrome, address, "programs")


def _try(chrome: Chrome, address: str, job: int) -> None:
    chrome.get(f"{address}/try?job={job}")
    found(chrome, "#asked")[0].send_keys(_QUESTION)
    found(chrome, "#ask")[0].click()
    _wait(chrome, "#progress", "Both")
    time.sleep(1)  # the difference follows
    _keep(chrome, "try")


def _wait_for_check(chrome: Chrome, address: str, dataset: str) -> None:
    chrome.get(f"{address}/datasets/{dataset}")
    _wait(chrome, "#check", "benchmark's")
    _keep(chrome, "dataset")


def _take(chrome: Chrome, address: str, path: str, name: str | None = None) -> None:
    chrome.get(f"{address}/{path}")
    time.sleep(1)
    _keep(chrome, name or path)


def _keep(chrome: Chrome, name: str) -> None:
    picture = Image.open(io.BytesIO(chrome.get_screenshot_as_png())).convert("RGB").quantize(_COLOURS)
    picture.save(IMAGES / f"studio-{name}.png", optimize=True)


def _wait(chrome: Chrome, selector: str, words: str) -> None:
    until = time.monotonic() + _PATIENCE_S
    while not any(words in text for text in texts(chrome, selector)):
        if time.monotonic() > until:
            raise TimeoutError(f"{selector} never said {words!r}: {texts(chrome, 'main')}")
        time.sleep(0.2)


def _wait_for_job(address: str, job: int) -> None:
    until = time.monotonic() + _PATIENCE_S
    while (now := told(f"{address}/api/jobs/{job}"))["state"] != "finished":
        if now["state"] == "failed" or time.monotonic() > until:
            raise RuntimeError(f"job {job}: {now['state']}, {now['problem']}")
        time.sleep(1)


def _upload(address: str, name: str, lines: list[bytes]) -> str:
    key: str = posted(f"{address}/api/datasets?name={name}", b"".join(lines), "application/jsonl")["id"]
    return key


if __name__ == "__main__":
    main()
