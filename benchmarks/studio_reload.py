"""Whether a running training is still told of when its page is reloaded, and when the server was killed and came back.

The studio and LlamaBoard, each driven by a browser: a training of the same small model is started, its page reloaded,
the server (not the training) ended by SIGKILL, started again on its port, and its page opened anew.

Run `python benchmarks/studio_reload.py`; LLaMA-Factory gets an environment of its own. Linux only.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import psutil
from measuring import machine, save
from studio import free_port, llamafactory

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from support.browser import chromium, texts
from support.tiny_training import save_tiny_model

if TYPE_CHECKING:
    from selenium.webdriver import Chrome
    from selenium.webdriver.remote.webelement import WebElement

ROWS = 20_000
WAIT_S, SETTLE_S = 240, 20


class Tool(NamedTuple):
    """A web interface: how its server starts, how a person starts a training, and what tells of one on its page."""

    command: list[str]
    variables: Mapping[str, str]
    start: Callable[[Chrome, str], str]
    told: Callable[[Chrome], bool]
    trainer: str


def main() -> None:
    """Walk both, then write `results/studio_reload.json` and a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=Path, default=Path(tempfile.gettempdir()) / "llmbench-peers")
    peers = parser.parse_args().peers
    port = free_port()
    board = str(llamafactory(peers).with_name("llamafactory-cli"))
    tools = {
        "studio": Tool(
            [sys.executable, "-m", "pytest_llmbench.cli", "studio", "--port", str(port), "--allow-any-model"],
            {},
            _started_in_studio,
            _told_by_studio,
            "finetune",
        ),
        "llamaboard": Tool(
            [board, "webui"],
            {
                "GRADIO_SERVER_PORT": str(port),
                "GRADIO_SERVER_NAME": "127.0.0.1",
                "GRADIO_ANALYTICS_ENABLED": "False",
                "PATH": f"{Path(board).parent}:{os.environ['PATH']}",
            },
            _started_in_llamaboard,
            _told_by_llamaboard,
            "train",
        ),
    }
    walked = {}
    for name, tool in tools.items():
        with tempfile.TemporaryDirectory() as folder:
            walked[name] = _walked(tool, Path(folder), f"http://127.0.0.1:{port}/")
        print(name, json.dumps(walked[name]), flush=True)
    save("studio_reload", {"machine": machine(), **walked}, "\n".join(_lines(walked)))


def _walked(tool: Tool, folder: Path, url: str) -> dict[str, bool]:
    save_tiny_model(folder / "tiny")
    (folder / "data").mkdir()
    rows = [{"instruction": f"monte le son {number}", "input": "", "output": "volume_up"} for number in range(ROWS)]
    (folder / "data/rows.json").write_text(json.dumps(rows), encoding="utf-8")
    (folder / "data/dataset_info.json").write_text('{"rows": {"file_name": "rows.json"}}', encoding="utf-8")
    trainers: list[psutil.Process] = []
    try:
        with chromium() as chrome:
            chrome.set_window_size(1400, 3000)
            with _served(tool, folder, url) as server:
                page = tool.start(chrome, url)
                _until(lambda: tool.told(chrome))
                trainers = [one for one in server.children(recursive=True) if tool.trainer in one.cmdline()]
                chrome.refresh()
                reloaded = _soon(lambda: tool.told(chrome))
                server.kill()
            goes_on = any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in trainers)
            with _served(tool, folder, url):
                chrome.get(page)
                back = _soon(lambda: tool.told(chrome))
    finally:
        for one in trainers:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
    return {
        "told of after a reload": reloaded,
        "trains on without its server": goes_on,
        "told of when it is back": back,
    }


@contextlib.contextmanager
def _served(tool: Tool, folder: Path, url: str) -> Iterator[psutil.Process]:
    """The server once it answers; it is ended with the block where it was not before."""
    with (folder / "server.txt").open("w") as said:
        process = psutil.Popen(
            tool.command, cwd=folder, env={**os.environ, **tool.variables}, stdout=said, stderr=subprocess.STDOUT
        )
        try:
            _until(lambda: _answers(url))
            yield process
        finally:
            process.terminate()
            process.wait(30)


def _answers(url: str) -> bool:
    with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=30):  # noqa: S310
        return True
    return False


def _until(true: Callable[[], bool]) -> None:
    if not _within(true, WAIT_S):
        raise TimeoutError(f"not within {WAIT_S} s")


def _soon(true: Callable[[], bool]) -> bool:
    return _within(true, SETTLE_S)


def _within(true: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if true():
            return True
        time.sleep(0.5)
    return False


# the studio


def _started_in_studio(chrome: Chrome, url: str) -> str:
    """Its dataset and its training by the API, which the forms post to as well; the job's page is opened."""
    rows = [{"prompt": f"monte le son {number}", "completion": "volume_up"} for number in range(ROWS)]
    lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
    dataset = _posted(f"{url}api/datasets?name=rows.jsonl", lines, "application/jsonl")["id"]
    wanted = {"dataset_id": dataset, "model_name": "tiny", "quantization": "none", "steps": 3000, "max_length": 64}
    job = _posted(f"{url}api/start-finetuning", json.dumps(wanted).encode(), "application/json")["id"]
    page = f"{url}jobs/{job}"
    chrome.get(page)
    return page


def _told_by_studio(chrome: Chrome) -> bool:
    return any(re.search(r"\d+ / 3,?000", text) for text in texts(chrome, ".meters"))


def _posted(url: str, body: bytes, kind: str) -> dict[str, Any]:
    request = urllib.request.Request(url, body, {"content-type": kind}, method="POST")  # noqa: S310
    with urllib.request.urlopen(request, timeout=120) as answer:  # noqa: S310
        found: dict[str, Any] = json.load(answer)
        return found


# LlamaBoard


def _started_in_llamaboard(chrome: Chrome, url: str) -> str:
    """By its form, as a person fills it in; a small model of one's own is "Custom" with a path."""
    from selenium.webdriver.common.keys import Keys

    chrome.get(url)
    _until(lambda: bool(texts(chrome, "button.primary")))
    time.sleep(5)  # it fills its own fields meanwhile
    for label, value in (("Model name", "Custom"), ("Compute type", "fp32"), ("Dataset", "rows")):
        field = _field(chrome, label)
        field.click()
        field.send_keys(Keys.CONTROL, "a")
        field.send_keys(value)
        time.sleep(2)
        field.send_keys(Keys.ENTER)
        time.sleep(2)
        if label == "Model name":
            path = _field(chrome, "Model path")
            path.send_keys(Keys.CONTROL, "a")
            path.send_keys("tiny", Keys.TAB)
            time.sleep(2)
    start = next(one for one in chrome.find_elements("css selector", "button.primary") if one.text.strip() == "Start")
    chrome.execute_script("arguments[0].click()", start)
    return url


def _field(chrome: Chrome, label: str) -> WebElement:
    if named := chrome.find_elements("css selector", f"input[aria-label='{label}']"):
        return named[0]
    labels = chrome.find_elements("css selector", "label")
    found = next(one for one in labels if one.text.strip().split("\n")[0] == label)
    return found.find_element("css selector", "input, textarea")


def _told_by_llamaboard(chrome: Chrome) -> bool:
    return any("***** Running training *****" in text for text in texts(chrome, "body"))


def _lines(walked: Mapping[str, Mapping[str, bool]]) -> Iterator[str]:
    yield f"| a running training is | {' | '.join(walked)} |"
    yield f"| --- |{' --- |' * len(walked)}"
    for step in next(iter(walked.values())):
        yield f"| {step} | {' | '.join('yes' if found[step] else 'no' for found in walked.values())} |"


if __name__ == "__main__":
    main()
