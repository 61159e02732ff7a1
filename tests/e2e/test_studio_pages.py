"""The studio in a real browser, as a person walks it: upload, train, watch, try, compare, delete; by keyboard too."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.browser import asked_urls, chromium, focused, found, hindrances, logged, needs_browser, texts
from support.studio import options, posted, served, serving
from support.studio_project import make_studio_project

from pytest_llmbench.studio.pages.language import COOKIE
from pytest_llmbench.studio.store import Job, open_store

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

pytestmark = needs_browser
PAGES = ("/upload", "/training", "/dashboard", "/try", "/compare", "/models", "/programs")
TAB, ENTER = "\ue004", "\ue007"
CONNECTED_AGAIN = """
const [url, done] = arguments;
const source = htmx.createEventSource(url);
let heard = 0;
for (const kind of ["state", "step", "evaluation", "log"])
  source.addEventListener(kind, () => {
    if (++heard < 4) return;
    source.close();
    const next = htmx.createEventSource(url);
    next.close();
    done(new URL(next.url).searchParams.get("after"));
  });
"""
"""Hears four events as htmx's extension does, connects anew as it does, and says behind which event that begins."""
ANSWERED_WITH = """
const body = arguments[0].map((event) => `data: ${JSON.stringify(event)}\\n\\n`).join("");
window.fetch = async () => new Response(body);
"""
"""Has the page's own requests answered with these events."""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_studio_project(tmp_path_factory.mktemp("studio") / "project")


@pytest.fixture(scope="module")
def address(project: Path) -> Iterator[str]:
    with served(project, HF_HUB_OFFLINE="1") as (url, _):
        yield url


@pytest.fixture(scope="module")
def chrome() -> Iterator[Chrome]:
    with chromium() as driver:
        yield driver


@pytest.fixture
def open_page(chrome: Chrome, address: str) -> Iterator[Callable[[str], None]]:
    """Opens pages; afterwards nothing may be on the console, and nothing may have been asked of another server."""
    logged(chrome, "browser")
    asked_urls(chrome)
    yield lambda path: chrome.get(address + path)
    assert logged(chrome, "browser") == []
    assert {url for url in asked_urls(chrome) if not url.startswith(f"{address}/")} == set()


def until(chrome: Chrome, selector: str, words: str = "", seconds: float = 240) -> str:
    """The text of the first match once it holds the words."""
    from selenium.common.exceptions import TimeoutException
    from selenium.webdriver.support.wait import WebDriverWait

    def told(_: object) -> str | None:
        return next((text for text in texts(chrome, selector) if words in text), None)

    try:
        return WebDriverWait(chrome, seconds, 0.1).until(told) or ""
    except TimeoutException:
        pytest.fail(f"no {selector} with {words!r} in {chrome.current_url}: {texts(chrome, 'main')}")


def click(chrome: Chrome, selector: str) -> None:
    """Once it is there: a part of the page that changes is gone for a moment."""
    from selenium.common.exceptions import StaleElementReferenceException
    from selenium.webdriver.support.wait import WebDriverWait

    def clicked(_: object) -> bool:
        for element in found(chrome, selector):
            chrome.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
            element.click()
            return True
        return False

    WebDriverWait(chrome, 30, 0.1, [StaleElementReferenceException]).until(clicked)


def choose(chrome: Chrome, selector: str, option: str) -> None:
    from selenium.webdriver.support.select import Select

    Select(found(chrome, selector)[0]).select_by_visible_text(option)


def upload(chrome: Chrome, file: Path) -> str:
    """The path of the page that the upload leads to."""
    found(chrome, "#file")[0].send_keys(str(file))
    click(chrome, "form.card .primary")
    until(chrome, ".meters")
    path: str = chrome.execute_script("return location.pathname")
    return path


def test_upload_train_watch_reload_try_compare_and_delete(
    chrome: Chrome, open_page: Callable[[str], None], project: Path
) -> None:
    open_page("/upload")
    upload(chrome, project / "validation.jsonl")
    open_page("/upload")
    dataset = upload(chrome, project / "rows.jsonl")
    assert "monte le son" in until(chrome, "table", "monte")
    until(chrome, "#check", "No row comes near")
    assert hindrances(chrome) == []
    click(chrome, "a.primary")
    job = started(chrome)
    watched_in_two_tabs(chrome, open_page, job)
    click(chrome, "#panel a.primary")
    tried(chrome)
    open_page(job)
    click(chrome, "#benchmark")
    until(chrome, "#panel", "finished")
    click(chrome, "#panel a.primary")
    assert until(chrome, ".verdict .stamp")
    assert found(chrome, "iframe")
    assert hindrances(chrome) == []
    open_page(dataset)
    click(chrome, "#delete")
    assert until(chrome, ".done", "rows.jsonl was deleted")
    assert focused(chrome).get_attribute("id") == "undo"
    focused(chrome).send_keys(ENTER)
    assert until(chrome, "h1", "rows.jsonl")


def started(chrome: Chrome) -> str:
    """The path of a short training's page."""
    assert "Memory" in until(chrome, "#estimate", "Steps: 3")  # four rows in a batch, three times
    click(chrome, "#advanced summary")
    for name, value in (("steps", "6"), ("batch_size", "2"), ("max_length", "64")):
        found(chrome, f"#field-{name}")[0].send_keys(value)
    choose(chrome, "#field-quantization", "none")
    choose(chrome, "#validation", "validation.jsonl")
    until(chrome, "#estimate", "Steps: 6")
    assert hindrances(chrome) == []
    click(chrome, "#start")
    until(chrome, "h1", "smollm2-135m")
    path: str = chrome.execute_script("return location.pathname")
    return path


def watched_in_two_tabs(chrome: Chrome, open_page: Callable[[str], None], job: str) -> None:
    """Events arrive; a reload and a second tab show the same."""
    until(chrome, ".meters", "/ 6")  # an event has come, and the panel with it
    chrome.refresh()
    until(chrome, ".latest", "training")  # what was before the reload is there again
    first = chrome.current_window_handle
    chrome.switch_to.new_window("tab")
    open_page(job)
    until(chrome, "#panel", "finished")
    until(chrome, '[data-curve="loss"] .latest', "validation")
    assert hindrances(chrome) == []
    second = texts(chrome, ".meters, .latest")
    chrome.close()
    chrome.switch_to.window(first)
    until(chrome, "#panel", "finished")
    until(chrome, '[data-curve="loss"] .latest', "validation")
    assert texts(chrome, ".meters, .latest") == second
    assert chrome.execute_async_script(CONNECTED_AGAIN, f"/api{job}/events") == "4"


def tried(chrome: Chrome) -> None:
    """Both answer, and where they differ is marked."""
    found(chrome, "#asked")[0].send_keys("monte le son")
    click(chrome, "#ask")
    until(chrome, "#difference", "iffer")
    assert all(texts(chrome, ".answer .text"))
    assert hindrances(chrome) == []


def heard(variant: str, text: str, **changed: object) -> dict[str, object]:
    """What the studio tells of an answer."""
    known = {"answered": True, "finish": "stop", "completion_tokens": 1234, "latency_s": 3.44}
    return {"kind": "answer", "variant": variant, "text": text, **known, **changed}


def test_what_is_no_answer_is_said_and_not_compared(chrome: Chrome, tmp_path: Path) -> None:
    chosen = options(tmp_path)
    store = open_store(chosen.folder)
    with store.writing() as session:
        session.add(trained())
    store.close()
    failed = heard("base", "", answered=False, finish="error", error="it broke", completion_tokens=1, latency_s=None)
    thought = heard("finetuned", "", answered=False, finish="length", reasoning="hmm")
    with serving(chosen) as url:
        chrome.get(f"{url}/try")
        chrome.add_cookie({"name": COOKIE, "value": "fr"})
        try:
            chrome.get(f"{url}/try")
            ask_and_hear(chrome, failed, thought)
            assert texts(chrome, "[id^=answer-]") == ["it broke", "pas de réponse"]
            click(chrome, "#thought-finetuned summary")
            assert texts(chrome, "[id^=thinking-]") == ["", "hmm"]
            assert [one.is_displayed() for one in found(chrome, ".answer details")] == [False, True]
            assert texts(chrome, "[id^=about-]") == [
                "1 jeton · en échec",
                "1\u202f234 jetons · 3,4 s · coupée à la limite de jetons",
            ]
            assert texts(chrome, "#difference") == [""]
            said = texts(chrome, "#progress")[0]
            assert said.count(".") == 2  # that of the base, that of the fine-tune
            ask_and_hear(chrome, heard("base", ""), heard("finetuned", "volume_up"))
            until(chrome, "#difference", "volume_up")
            assert texts(chrome, "#answer-base") == ["(réponse vide)"]
            assert found(chrome, ".answer .error") == []
        finally:
            chrome.delete_cookie(COOKIE)


def ask_and_hear(chrome: Chrome, *events: dict[str, object]) -> None:
    """Ask, and have it answered with these events."""
    chrome.execute_script(ANSWERED_WITH, [*events, {"kind": "done"}])
    found(chrome, "#asked")[0].send_keys("monte")
    click(chrome, "#ask")
    until(chrome, "#ask:not(:disabled)")


def trained() -> Job:
    """A training that has finished."""
    now = datetime.now(UTC)
    return Job(
        id=1,
        kind="finetune",
        model="smollm2-135m",
        settings={},
        state="finished",
        position=0,
        folder="jobs/0001",
        output="adapters/mine",
        created=now,
        started=now,
        ended=now,
    )


@pytest.mark.parametrize(("width", "scheme", "language"), [(360, "dark", "fr"), (1300, "light", "en")])
def test_nothing_hinders_a_reader_on_any_page(
    chrome: Chrome, open_page: Callable[[str], None], width: int, scheme: str, language: str
) -> None:
    screen = {"width": width, "height": 740, "deviceScaleFactor": 1, "mobile": False}
    media = {"media": "", "features": [{"name": "prefers-color-scheme", "value": scheme}]}
    chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    open_page("/dashboard")
    chrome.add_cookie({"name": COOKIE, "value": language})
    try:
        for path in PAGES:
            open_page(path)
            assert chrome.execute_script("return document.documentElement.lang") == language
            assert (path, hindrances(chrome)) == (path, [])
            assert chrome.execute_script("return document.documentElement.scrollWidth - innerWidth") <= 0, path
    finally:
        chrome.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})
        chrome.delete_cookie(COOKIE)


def ordered(address: str, project: Path) -> list[int]:
    """The numbers of three trainings, the last two of which wait."""
    dataset = posted(
        f"{address}/api/datasets?name=rows.jsonl", (project / "rows.jsonl").read_bytes(), "application/jsonl"
    )
    asked = json.dumps({"dataset_id": dataset["id"], "model_name": "smollm2-135m"}).encode()
    return [posted(f"{address}/api/start-finetuning", asked)["id"] for _ in range(3)]


def test_the_queue_is_reordered_by_keyboard_and_keeps_the_focus(
    chrome: Chrome, open_page: Callable[[str], None], address: str, project: Path
) -> None:
    jobs = ordered(address, project)
    try:
        _, second, third = jobs
        open_page("/dashboard")
        assert until(chrome, "ol li", f"Training {second}")
        assert texts(chrome, "ol li > .actions > a")[-2:] == [
            f"Training {job}: smollm2-135m" for job in (second, third)
        ]
        chrome.execute_script("document.getElementById(arguments[0]).focus()", f"up-{third}")
        focused(chrome).send_keys(ENTER)
        until(chrome, f"ol li:has(#up-{third}) + li", f"Training {second}")
        assert focused(chrome).get_attribute("id") == f"up-{third}"
    finally:
        for job in reversed(jobs):
            posted(f"{address}/api/jobs/{job}/cancel")


def test_the_first_tab_offers_to_skip_to_the_content(chrome: Chrome, open_page: Callable[[str], None]) -> None:
    open_page("/models")
    found(chrome, "body")[0].send_keys(TAB)
    assert focused(chrome).get_attribute("class") == "skip"
    focused(chrome).send_keys(ENTER)
    assert focused(chrome).get_attribute("id") == "main"
