"""Headless Chromium, driven as a reader would; and what it logged, asked for, and what axe finds in its page."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from selenium.webdriver import Chrome
    from selenium.webdriver.remote.webelement import WebElement

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
needs_browser = pytest.mark.skipif(
    not BROWSER or not DRIVER or importlib.util.find_spec("selenium") is None,
    reason="needs selenium, Chromium and chromedriver: apt-get install chromium chromium-driver",
)
QUIET = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1300,900",
)
_AXE = Path(__file__).parent / "axe" / "axe.min.js"
_RUN_AXE = """
const done = arguments[arguments.length - 1];
axe.run(document, {iframes: false}).then(
  (found) => done(found.violations.map((one) => [one.impact, one.id, one.nodes.map((node) => node.html)])),
  (error) => done([["error", String(error), []]]));
"""


@contextlib.contextmanager
def chromium(*arguments: str) -> Iterator[Chrome]:
    """A browser that logs its console and its network."""
    from selenium.webdriver import Chrome, ChromeOptions
    from selenium.webdriver.chrome.service import Service

    options = ChromeOptions()
    options.binary_location = str(BROWSER)
    for argument in (*QUIET, *arguments):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = Chrome(options=options, service=Service(DRIVER))
    try:
        yield driver
    finally:
        driver.quit()


def logged(chrome: Any, kind: str) -> list[str]:
    """What the browser logged since the last call."""
    return [entry["message"] for entry in chrome.get_log(kind)]


def asked_urls(chrome: Chrome) -> set[str]:
    """What was asked of the network since the last call."""
    messages = [json.loads(message)["message"] for message in logged(chrome, "performance")]
    sent = [one for one in messages if one["method"] == "Network.requestWillBeSent"]
    return {url for one in sent if not (url := one["params"]["request"]["url"]).startswith("data:")}


def found(chrome: Chrome, selector: str) -> list[WebElement]:
    elements: list[WebElement] = chrome.find_elements("css selector", selector)
    return elements


def texts(chrome: Chrome, selector: str) -> list[str]:
    """The text of every match, in one call: a table of a hundred rows is read at once."""
    script = "return [...document.querySelectorAll(arguments[0])].map((one) => one.innerText.trim())"
    read: list[str] = chrome.execute_script(script, selector)
    return read


def focused(chrome: Chrome) -> WebElement:
    element: WebElement = chrome.switch_to.active_element
    return element


def hindrances(chrome: Chrome) -> list[str]:
    """What axe finds in the page that is moderate or worse, its rules on best practice included."""
    chrome.execute_script(_AXE.read_text(encoding="utf-8"))
    told = chrome.execute_async_script(_RUN_AXE)
    return [f"{impact} {rule}: {nodes}" for impact, rule, nodes in told if impact != "minor"]
