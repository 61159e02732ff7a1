"""The HTML report in a real browser, driven as a reader would: keyboard, filters, themes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.browser import asked_urls, chromium, focused, found, logged, needs_browser, texts
from support.report_pages import HOSTILE, failing_gate, large_document, saved_runs
from support.report_runs import result, run

from pytest_llmbench.core.locale import words
from pytest_llmbench.reports.html import write_html
from pytest_llmbench.runs.base_comparison import with_comparison
from pytest_llmbench.runs.document import build_document
from pytest_llmbench.runs.storage import read_document
from pytest_llmbench.runs.typed import run_document

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

pytestmark = needs_browser

EXAMPLE = Path(__file__).parents[2] / "reports" / "example" / "benchmark.json"
ENTER, ARROW_DOWN = "\ue007", "\ue015"
Open = Callable[..., None]


@pytest.fixture(scope="module")
def chrome() -> Iterator[Chrome]:
    with chromium() as driver:
        yield driver


@pytest.fixture
def opened(chrome: Chrome, tmp_path: Path) -> Iterator[Open]:
    """Opens a page; afterwards nothing may be on the console, and only the file itself may have been asked for."""
    path = tmp_path / "benchmark.html"

    def open_page(document: dict[str, Any], language: str = "en", history: int = 0) -> None:
        write_html(run_document(document), saved_runs(history), path, language)
        chrome.get(path.as_uri())

    logged(chrome, "performance")
    yield open_page
    assert logged(chrome, "browser") == []
    assert asked_urls(chrome) == {path.as_uri()}


def choose(chrome: Chrome, name: str, option: str) -> None:
    from selenium.webdriver.support.select import Select

    Select(found(chrome, f"#filter-{name}")[0]).select_by_visible_text(option)


def search(chrome: Chrome, words: str) -> str:
    box = found(chrome, "#search")[0]
    box.send_keys("\ue009a\ue000", words or "\ue003")
    return texts(chrome, ".count")[0]


def background(chrome: Chrome) -> str:
    colour: str = chrome.execute_script("return getComputedStyle(document.body).backgroundColor")
    return colour


def test_search_ignores_case_and_accents_and_filters_add_up(chrome: Chrome, opened: Open) -> None:
    document = large_document(60)
    opened(document)
    assert texts(chrome, ".count") == ["60 of 60 results"]
    lights = [row for row in document["results"] if row["prompt"].startswith("éteins")]
    assert search(chrome, "ETEINS  lumiere salon") == f"{len(lights)} of 60 results"
    choose(chrome, "category", "tool_routing")
    inside = [row["prompt_id"] for row in lights if row["category"] == "tool_routing"]
    assert texts(chrome, ".opener") == inside
    choose(chrome, "outcome", "failed")
    failed = [row["prompt_id"] for row in lights if row["category"] == "tool_routing" and row["outcome"] == "failed"]
    assert texts(chrome, ".opener") == failed
    next(button for button in found(chrome, ".commands button") if button.text == "Clear filters").click()
    assert texts(chrome, ".count") == ["60 of 60 results"]
    assert search(chrome, "closed the connection") == "8 of 60 results"
    assert search(chrome, "no such words") == "0 of 60 results"


@pytest.mark.parametrize("change", ["improved", "unchanged", "worse", "not comparable"])
def test_changes_can_be_told_apart(chrome: Chrome, opened: Open, change: str) -> None:
    document = large_document(60)
    opened(document)
    choose(chrome, "change", change)

    def kind(row: dict[str, Any]) -> str:
        scores = row["scores"]["relevance"]
        if scores["base"] is None or scores["finetuned"] is None:
            return "not comparable"
        difference = scores["finetuned"] - scores["base"]
        return "unchanged" if difference == 0 else "improved" if difference > 0 else "worse"

    expected = [row["prompt_id"] for row in document["results"] if kind(row) == change]
    assert expected
    assert texts(chrome, ".opener") == expected


def test_every_column_sorts_both_ways_with_unscored_last(chrome: Chrome, opened: Open) -> None:
    opened(large_document(60))
    for key in ("case", "category", "score-0", "difference", "latency", "outcome"):
        button = f'[data-sort="{key}"]'
        found(chrome, button)[0].send_keys(ENTER)
        header = f"th:has({button})"
        assert found(chrome, header)[0].get_attribute("aria-sort") == "ascending"
        place = 1 + [one.get_attribute("data-sort") for one in found(chrome, "[data-sort]")].index(key)
        cells = f".result > :nth-child({place})"
        up = texts(chrome, cells)
        found(chrome, button)[0].send_keys(ENTER)
        assert focused(chrome).get_attribute("data-sort") == key
        assert found(chrome, header)[0].get_attribute("aria-sort") == "descending"
        down = texts(chrome, cells)
        scored = [cell for cell in up if cell != "-"]
        assert up == scored + ["-"] * (len(up) - len(scored))
        assert [cell for cell in down if cell != "-"] != scored
        assert down[len(scored) :] == up[len(scored) :]
        if key in {"score-0", "difference", "latency"}:
            values = [float(cell.split()[0]) for cell in scored]
            assert values == sorted(values)


def test_a_row_opens_with_the_keyboard_and_marks_the_words_that_differ(chrome: Chrome, opened: Open) -> None:
    opened(dict(read_document(EXAMPLE)))
    chrome.find_element("tag name", "body").send_keys("/")
    assert focused(chrome).get_attribute("id") == "search"
    first, second, *_ = found(chrome, ".opener")
    assert first.get_attribute("aria-expanded") == "false"
    chrome.execute_script("arguments[0].focus()", first)
    focused(chrome).send_keys(ENTER)
    assert first.get_attribute("aria-expanded") == "true"
    assert texts(chrome, ".answer-text") == [
        "Monte le son, a singular musical expression.",
        "J'augmente le volume du son. [volume_up]",
    ]
    assert texts(chrome, "del") == ["Monte", ", a singular musical expression"]
    assert texts(chrome, "ins") == ["J'augmente", "volume du", "[volume_up]"]
    focused(chrome).send_keys(ARROW_DOWN)
    assert focused(chrome) == second
    focused(chrome).send_keys(ENTER)
    assert len(found(chrome, ".detail")) == 2
    first.send_keys(ENTER)
    assert len(found(chrome, ".detail")) == 1


def test_answers_are_the_same_only_where_they_are_whole(chrome: Chrome, opened: Open) -> None:
    for kept, said in ((500, "Both answers begin alike"), (600, "Both answers are the same, word for word.")):
        texts_of = dict.fromkeys(("base", "finetuned"), "encore " * 80)
        row = result("a/1", {"relevance": dict.fromkeys(texts_of, 0.5)}, texts=texts_of)
        opened(build_document(run(row), answer_chars=kept))
        found(chrome, ".opener")[0].send_keys(ENTER)
        assert texts(chrome, ".answers + .remark")[0].startswith(said)


def test_answers_that_were_lost_are_neither_empty_nor_alike(chrome: Chrome, opened: Open) -> None:
    document = large_document(2)
    for row, finish in zip(document["results"], ("timeout", "stop"), strict=True):
        for answer in row["completions"].values():
            answer.update(text="", error=None, finish=finish)
    opened(document)
    for opener in found(chrome, ".opener"):
        opener.send_keys(ENTER)
    assert texts(chrome, ".answer-text") == ["no answer", "no answer", "(empty answer)", "(empty answer)"]
    assert texts(chrome, ".answers + .remark") == ["Both answers are the same, word for word."]


def test_hostile_content_is_shown_as_text(chrome: Chrome, opened: Open) -> None:
    document = large_document(3)
    document["results"][1]["completions"]["base"]["text"] = "é" * 100_000
    opened(document)
    for opener in found(chrome, ".opener")[:2]:
        opener.send_keys(ENTER)
    shown = chrome.execute_script("return document.querySelector('.answer-text').textContent")
    assert shown == HOSTILE
    assert found(chrome, "main img") == []
    width = chrome.execute_script("return document.documentElement.scrollWidth - innerWidth")
    assert width <= 0


def test_ten_thousand_cases_are_paged_and_found(chrome: Chrome, opened: Open) -> None:
    from selenium.webdriver.support.wait import WebDriverWait

    opened(large_document(10_000), history=9)
    WebDriverWait(chrome, 30).until(lambda page: found(page, ".count"))  # rows are drawn after the page is loaded
    assert texts(chrome, ".count") == ["10,000 of 10,000 results"]
    assert len(found(chrome, ".result")) == 100
    found(chrome, '[data-page="last"]')[0].send_keys(ENTER)
    assert texts(chrome, ".pager [aria-current]") == ["Page 100 of 100"]
    assert texts(chrome, ".opener")[-1] == "cas-09999"
    assert focused(chrome).tag_name == "button"
    assert search(chrome, "CAS-04321") == "1 of 10,000 results"
    assert texts(chrome, ".opener") == ["cas-04321"]
    assert not found(chrome, ".pager")[0].is_displayed()


def test_epochs_and_several_adapters_are_compared_one_at_a_time(chrome: Chrome, opened: Open) -> None:
    document = large_document(8, variants=("base", "small", "large"), epochs=2)
    opened(document)
    choose(chrome, "adapter", "large")
    choose(chrome, "metric", "Tool accuracy")
    shown = texts(chrome, ".result > .difference")
    scores = [row["scores"]["tool_accuracy"] for row in document["results"]]
    expected = [score["large"] - score["base"] for score in scores if score["large"] is not None]
    assert [float(text.split()[0]) for text in shown] == expected
    assert texts(chrome, ".opener")[:3] == ["cas-00000", "cas-00000 #1", "cas-00001"]
    found(chrome, ".opener")[2].send_keys(ENTER)
    assert len(found(chrome, ".answer")) == 3


def test_a_run_without_a_base_compares_nothing(chrome: Chrome, opened: Open) -> None:
    opened(large_document(8, variants=("finetuned",)), "fr")
    assert "Différence ↕" not in texts(chrome, "[data-sort]")
    found(chrome, ".opener")[-1].send_keys(ENTER)
    assert len(found(chrome, ".answer")) == 1


def test_a_moved_case_of_a_failed_gate_leads_to_its_row(chrome: Chrome, opened: Open) -> None:
    opened({**read_document(EXAMPLE), "gate": failing_gate()}, history=9)
    assert "Regression gate: Fail" in texts(chrome, ".stamp")[0]
    search(chrome, "chrome")
    found(chrome, "a[data-case]")[0].send_keys(ENTER)
    assert focused(chrome).text == "volume-up"
    assert focused(chrome).get_attribute("aria-expanded") == "true"


def test_marked_text_keeps_only_its_own_row_from_opening(chrome: Chrome, opened: Open) -> None:
    opened(large_document(3))
    first, second, _ = found(chrome, ".opener")
    mark = "getSelection().selectAllChildren(document.querySelectorAll('.result .excerpt')[arguments[0]])"
    chrome.execute_script(mark, 1)
    chrome.execute_script("arguments[0].focus()", first)
    focused(chrome).send_keys(ENTER)
    assert first.get_attribute("aria-expanded") == "true"
    second.send_keys(ENTER)
    assert second.get_attribute("aria-expanded") == "true"
    cell = found(chrome, ".result td")[0]
    chrome.execute_script(mark, 0)
    chrome.execute_script("arguments[0].click()", cell)
    assert first.get_attribute("aria-expanded") == "true"


@pytest.mark.parametrize("language", ["en", "fr"])
def test_numbers_of_the_table_are_written_as_in_the_rest_of_the_page(
    chrome: Chrome, opened: Open, language: str
) -> None:
    values = [0.0625, 0.1875, 1234.5, 100.25, 100.75, 0.1235, -0.0625, -1234567.0, 2.0, 0.0]
    rows = [result(f"a/{place}", {"relevance": {"base": value}}) for place, value in enumerate(values)]
    document = build_document(run(*rows, variants=("base",)), answer_chars=500)
    for row, tokens in zip(document["results"], range(len(values)), strict=True):
        row["completions"]["base"]["completion_tokens"] = tokens
    opened(document, language)
    say = words(language)
    assert texts(chrome, ".result td:nth-child(3)") == [say.number(value) for value in values]
    for opener in found(chrome, ".opener")[:3]:
        opener.send_keys(ENTER)
    told = [said.split(" · ")[1] for said in texts(chrome, ".answer .remark")]
    assert told == [say.plural("{count} token", "{count} tokens", count) for count in range(3)]


def test_the_theme_follows_the_system_until_the_reader_chooses(chrome: Chrome, opened: Open) -> None:
    def system(scheme: str) -> str:
        feature = {"name": "prefers-color-scheme", "value": scheme}
        chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
        return background(chrome)

    document = dict(read_document(EXAMPLE))
    opened(document)
    light, dark = system("light"), system("dark")
    assert light != dark
    button = found(chrome, "#theme")[0]
    button.send_keys(ENTER)
    assert (button.text, background(chrome)) == ("Theme: light", light)
    chrome.refresh()
    assert background(chrome) == light
    found(chrome, "#theme")[0].send_keys(ENTER)
    assert (system("light"), texts(chrome, "#theme")) == (dark, ["Theme: dark"])
    found(chrome, "#theme")[0].send_keys(ENTER)
    assert background(chrome) == light


def test_paper_has_every_row_and_no_controls(chrome: Chrome, opened: Open) -> None:
    opened(large_document(150))
    script = "dispatchEvent(new Event('beforeprint')); return document.querySelectorAll('.result').length"
    assert chrome.execute_script(script) == 150
    assert found(chrome, "details:not([open])") == []
    chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert not any(control.is_displayed() for control in found(chrome, ".controls, .pager, .top"))
    chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    chrome.execute_script("dispatchEvent(new Event('afterprint'))")
    assert len(found(chrome, ".result")) == 100


def test_the_top_of_the_page_needs_no_script(chrome: Chrome, opened: Open) -> None:
    chrome.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        opened({**read_document(EXAMPLE), "gate": failing_gate()})
        shown = chrome.find_element("tag name", "main").text
    finally:
        chrome.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    for part in ("Regression gate: Fail", "-0.200 to -0.050", "voice_commands", "needs JavaScript", "Provenance"):
        assert part in shown


OUTSIDE = """
const clipped = (one) => {
  for (; one && one !== document.body; one = one.parentElement)
    if (getComputedStyle(one).overflowX !== "visible") return true;
  return false;
};
document.querySelectorAll("details").forEach((one) => { one.open = true; });
document.querySelectorAll(".opener").forEach((one, place) => { if (place < 3) one.click(); });
return [...document.querySelectorAll("main *")].filter((one) => {
  if (one.ownerSVGElement || clipped(one.parentElement)) return false;
  const card = one.parentElement.closest(".card, .verdict, .notes, .labelled, .answer");
  const inner = one.getBoundingClientRect();
  const outer = card ? card.getBoundingClientRect() : { left: 0, right: innerWidth };
  return inner.width && (inner.right > outer.right + 1 || inner.left < outer.left - 1);
}).map((one) => one.outerHTML.slice(0, 120));
"""


CHARTS = """
const painted = (one, what) => getComputedStyle(one)[what];
return [...document.querySelectorAll(".chart")].map((chart) => {
  const frame = chart.getBoundingClientRect(), words = [...chart.querySelectorAll("text")];
  const boxes = words.map((one) => one.getBoundingClientRect());
  return {
    width: frame.width,
    cut: words.filter((_, place) => boxes[place].left < frame.left - 1 || boxes[place].right > frame.right + 1
      || boxes[place].top < frame.top - 1 || boxes[place].bottom > frame.bottom + 1).map((one) => one.textContent),
    ink: [...new Set(words.map((one) => painted(one, "fill")))],
    ground: painted(chart.closest(".card, body"), "backgroundColor"),
  };
});
"""


def luminance(colour: str) -> float:
    """Of a colour as browsers tell it, after WCAG."""
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    red, green, blue = (part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("medium", ["light", "dark", "print"])
@pytest.mark.parametrize("width", [360, 1300])
def test_text_of_charts_is_whole_and_has_contrast(chrome: Chrome, opened: Open, width: int, medium: str) -> None:
    features = [{"name": "prefers-color-scheme", "value": "dark" if medium == "dark" else "light"}]
    screen = {"width": width, "height": 740, "deviceScaleFactor": 1, "mobile": False}
    opened(dict(with_comparison({**large_document(40), "gate": None})), language="fr", history=4)
    chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    media = {"media": "print" if medium == "print" else "", "features": features}
    chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    try:
        charts = chrome.execute_script(CHARTS)
    finally:
        chrome.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})
    assert len(charts) >= 5
    for chart in charts:
        assert chart["width"] <= width
        assert chart["cut"] == []
        for ink in chart["ink"]:
            dark, light = sorted([luminance(ink), luminance(chart["ground"])])
            assert (light + 0.05) / (dark + 0.05) >= 4.5


@pytest.mark.parametrize("language", ["en", "fr"])
def test_on_a_phone_nothing_is_out_of_its_card(chrome: Chrome, opened: Open, language: str) -> None:
    document = {**large_document(40), "gate": failing_gate()}
    phone = {"width": 360, "height": 740, "deviceScaleFactor": 1, "mobile": False}
    chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
    try:
        opened(dict(with_comparison(document)), language=language, history=4)
        assert chrome.execute_script(OUTSIDE) == []
        assert chrome.execute_script("return document.documentElement.scrollWidth - innerWidth") <= 0
    finally:
        chrome.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
