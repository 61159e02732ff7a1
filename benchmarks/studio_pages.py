"""The studio's pages: how soon each can be used, and what they weigh.

Interactive is when the page's document is there and its scripts have run (the end of DOMContentLoaded, from the start
of the navigation, on loopback). Script and style are counted as they lie on the disk, each file once over all pages.

usage: python benchmarks/studio_pages.py [--rounds 15]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from measuring import machine, save

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from support.browser import chromium
from support.studio import ROWS, posted, served
from support.studio_project import make_studio_project

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

PAGES = ("upload", "training", "dashboard", "try", "compare", "models", "programs", "jobs/1")
WANTED_S, WANTED_BYTES = 1.0, 250_000
_MEASURE = """
const [page] = performance.getEntriesByType("navigation");
const files = performance.getEntriesByType("resource").filter((one) => /\\.(js|css)$/.test(one.name));
return [page.domContentLoadedEventEnd, page.decodedBodySize, files.map((one) => [one.name, one.decodedBodySize])];
"""


class Load(NamedTuple):
    """One time that a page was opened."""

    interactive_s: float
    document_bytes: int
    files: dict[str, int]


def main() -> None:
    """Measure, then write `results/studio_pages.json` and a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as name:
        project = make_studio_project(Path(name) / "project")
        with served(project, HF_HUB_OFFLINE="1") as (address, _), chromium() as chrome:
            _start_and_cancel(address)
            busy = os.getloadavg()[0]
            first = {page: _opened(chrome, address, page, forget=True) for page in PAGES}
            again = {
                page: [_opened(chrome, address, page, forget=turn % 2 == 0) for turn in range(rounds)] for page in PAGES
            }
    _report(first, again, busy)


def _start_and_cancel(address: str) -> None:
    """A job whose page can be opened."""
    dataset = posted(f"{address}/api/datasets?name=rows.jsonl", ROWS, "application/jsonl")["id"]
    asked = json.dumps({"dataset_id": dataset, "model_name": "smollm2-135m"}).encode()
    job = posted(f"{address}/api/start-finetuning", asked)["id"]
    posted(f"{address}/api/jobs/{job}/cancel")


def _in_turn(chrome: Chrome, address: str, rounds: int) -> dict[str, list[Load]]:
    """Every page, round by round; in every second round the browser keeps nothing."""
    turns = [[_opened(chrome, address, page, forget=turn % 2 == 0) for page in PAGES] for turn in range(rounds)]
    return {page: [turn[place] for turn in turns] for place, page in enumerate(PAGES)}


def _opened(chrome: Chrome, address: str, page: str, *, forget: bool) -> Load:
    """The page opened once, with or without what the browser keeps of it."""
    if forget:
        chrome.execute_cdp_cmd("Network.clearBrowserCache", {})
    chrome.get(f"{address}/{page}")
    ended_ms, size, files = chrome.execute_script(_MEASURE)
    return Load(ended_ms / 1000, size, dict(files))


def _report(first: dict[str, Load], again: dict[str, list[Load]], busy: float) -> None:
    files = {name: size for load in first.values() for name, size in load.files.items()}
    names = {name.rpartition("/static/")[2]: size for name, size in files.items()}
    pages: dict[str, Any] = {}
    for page, loads in again.items():
        taken = sorted(load.interactive_s for load in loads)
        pages[page] = {
            "median_s": statistics.median(taken),
            "slowest_s": taken[-1],
            "document_bytes": first[page].document_bytes,
            "script_and_style_bytes": sum(first[page].files.values()),
        }
    result = {
        "machine": machine(),
        "load_average_before": busy,
        "wanted_interactive_s": WANTED_S,
        "wanted_bytes": WANTED_BYTES,
        "pages": pages,
        "files": names,
        "all_pages_script_and_style_bytes": sum(names.values()),
    }
    rows = [
        f"| {page} | {one['median_s']:.3f} | {one['slowest_s']:.3f} | {one['document_bytes'] / 1000:.1f} "
        f"| {one['script_and_style_bytes'] / 1000:.1f} |"
        for page, one in pages.items()
    ]
    head = "| page | interactive, median s | slowest s | document kB | script and style kB |\n|---|---|---|---|---|"
    total = f"All pages together: {sum(names.values()) / 1000:.1f} kB of script and style (wanted: under 250)."
    note = f"Opened with and without the browser's cache in turn; load average of the machine before: {busy:.1f}."
    save("studio_pages", result, "\n".join([head, *rows, "", total, note]))


if __name__ == "__main__":
    main()
