from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from support.rendered import limits_lines as summary_lines
from support.rendered import limits_text as analysis
from support.schemas import schema
from support.serving_documents import (
    COMMAND,
    HOSTILE,
    full_document,
    full_target,
    several_document,
    target,
    users_document,
)
from support.serving_findings import HABITS, users_finding

from pytest_llmbench.autotune.document import Finding, typed_limits
from pytest_llmbench.core.errors import NotReadyError
from pytest_llmbench.core.settings import OutputSettings, Settings
from pytest_llmbench.load.records import SLO
from pytest_llmbench.reports.html.autotune import render_limits_page
from pytest_llmbench.reports.serving.answers import remarks, setting
from pytest_llmbench.reports.serving.document import limits_document
from pytest_llmbench.reports.serving.words import serving_words
from pytest_llmbench.reports.writing.autotune import write_document


def hostile_document() -> dict[str, Any]:
    """Names, errors and reasons as a server that wants to harm would send them."""
    found = users_finding(notes=[HOSTILE])
    for trial in found["trials"]:
        trial["reason"] = HOSTILE
        trial["errors"] = {HOSTILE: 3} if trial["level"] == 18 else {}
    return limits_document(
        [target(HOSTILE, findings={"users": found}, engine=HOSTILE)], Settings(), HOSTILE
    ).json_ready()


def changed_document(changed: dict[str, Any]) -> dict[str, Any]:
    return limits_document([target(findings={"users": users_finding() | changed})], Settings(), COMMAND).json_ready()


class Page(HTMLParser):
    """The tags of a page, the addresses it names, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.text: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "action")]

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def says(self, words: str) -> bool:
        return words in " ".join(" ".join(self.text).split())


def test_all_reports_are_written_together_and_the_json_is_valid_when_read_back(tmp_path: Path) -> None:
    paths = write_document(
        limits_document([full_target()], Settings(), COMMAND),
        Settings(output=OutputSettings(report_dir=tmp_path)),
        tmp_path,
    )
    assert {kind: path.name for kind, path in paths.items()} == {
        "json": "autotune.json",
        "png": "autotune.png",
        "html": "autotune.html",
        "markdown": "autotune.md",
        "text": "autotune.txt",
    }
    document = typed_limits(json.loads(paths["json"].read_text()))
    assert document["metadata"]["command"] == COMMAND
    assert document["targets"][0]["why"]["users"]["cause"] == "slots"


def test_when_one_report_cannot_be_written_the_others_stay_as_they_were(tmp_path: Path) -> None:
    (tmp_path / "autotune.json").write_text("old")
    (tmp_path / "autotune.txt").mkdir()
    settings = Settings(output=OutputSettings(report_dir=tmp_path, png=False))
    with pytest.raises(NotReadyError, match=r"autotune\.txt"):
        write_document(limits_document([target()], settings, COMMAND), settings, tmp_path)


@pytest.mark.parametrize("make", [full_document, several_document, hostile_document])
def test_every_document_obeys_the_schema_that_ships(make: Any) -> None:
    jsonschema.Draft202012Validator.check_schema(schema("autotune"))
    jsonschema.validate(make(), schema("autotune"))


def test_keys_and_logins_are_in_no_report() -> None:
    secret = "sk-geheim"  # noqa: S105  # of nothing
    with_login = target(url=f"http://me:{secret}@127.0.0.1:8000/v1")
    document = limits_document([with_login], Settings(), f"llmbench autotune --server http://me:{secret}@h/v1")
    assert secret not in json.dumps(document.json_ready()) + analysis(document, "en") + render_limits_page(
        document, "en"
    )


def test_the_terminal_says_the_answer_first_then_why_then_what_to_try() -> None:
    lines = summary_lines(full_document(), 100, {"html": Path("reports/autotune.html")})
    assert lines[0] == "11 users (95 % sure: 10 to 17) keep 95 % of answers under 3.0 s"
    heads = [line for line in lines if line.endswith(":") and not line.startswith((" ", "-"))]
    assert heads == ["Why the limit is here:", "What to try next:", "Other questions:"]
    assert lines[-1] == "html : reports/autotune.html"
    assert any("Temperature 0.3" in line for line in lines)


@pytest.mark.parametrize("width", [30, 60, 200])
def test_the_terminal_is_no_wider_than_it_is(width: int) -> None:
    assert max(map(len, summary_lines(several_document(), width))) <= width


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"capped": True}, "11 users or more keep 95 % of answers under 3.0 s; no more were tried"),
        ({"held": False, "value": 0}, "Not even 1 user keeps 95 % of answers under 3.0 s (95 % sure: 10 to 17)"),
        ({"value": 1}, "1 user (95 % sure: 10 to 17) keeps 95 % of answers under 3.0 s"),
        (
            {"slo": {"quantile": 1.0, "limit_s": 3.0, "latency": "total"}},
            "11 users (95 % sure: 10 to 17) keep every answer under 3.0 s",
        ),
        (
            {"slo": {"quantile": 0.9, "limit_s": 0.25, "latency": "first_token"}},
            "11 users (95 % sure: 10 to 17) keep 90 % of first tokens under 0.25 s",
        ),
    ],
)
def test_each_kind_of_answer_has_its_own_sentence(changed: dict[str, Any], sentence: str) -> None:
    assert " ".join(summary_lines(changed_document(changed), 200)).startswith(sentence)


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({}, "arrivals spread over a cycle, 3 messages a conversation, history of 4, 10.0 s between messages; "),
        ({"question": "history"}, "arrivals spread over a cycle, 3 messages a conversation, 10.0 s between messages; "),
        ({"question": "rate", "habits": {**HABITS, "arrivals": "poisson"}}, "(Poisson), each with a single message; "),
    ],
)
def test_people_are_described_as_they_behaved(changed: dict[str, Any], sentence: str) -> None:
    assert sentence in setting(Finding.model_validate(users_finding() | changed), serving_words("en"))


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"decided": False, "ended_by": "time"}, "Not decided: load.time_limit ended the search after"),
        ({"decided": False, "ended_by": "budget"}, "A larger load.budget narrows it."),
        (
            {"resumed_trials": len(users_finding()["trials"]), "tested_at": "2026-11-29T12:00:00+00:00"},
            "The search was finished on 2026-11-29 12:00 UTC: nothing was asked this time",
        ),
    ],
)
def test_what_ended_a_search_and_when_is_told_beside_the_answer(changed: dict[str, Any], sentence: str) -> None:
    jsonschema.validate(changed_document(changed), schema("autotune"))
    assert sentence in " ".join(remarks(Finding.model_validate(users_finding() | changed), serving_words("en")))


@pytest.mark.parametrize(
    ("language", "sentence"), [("en", "5 streams were left open after"), ("fr", "5 flux sont restés ouverts après")]
)
def test_streams_that_a_server_left_open_are_told(language: str, sentence: str) -> None:
    found = users_finding()
    found["trials"][0]["left_open"], found["trials"][1]["left_open"] = 2, 3
    document = limits_document([target(findings={"users": found})], Settings(), COMMAND).json_ready()
    jsonschema.validate(document, schema("autotune"))
    assert sentence in analysis(document, language)
    assert sentence not in analysis(users_document(), language)


@pytest.mark.parametrize(
    ("language", "sentence"),
    [
        ("en", "trials contradict each other. In one at 8 users, 10 of 24 answers"),
        ("fr", "des essais se contredisent. Dans l'un, à 8 utilisateurs, 10 réponses sur 24"),
    ],
)
def test_trials_that_contradict_each_other_are_told(language: str, sentence: str) -> None:
    odd = {"level": 8, "good": 10, "total": 24, "others_up_to": 12, "others_good": 118, "others_total": 120}
    found = users_finding(contradiction=odd, decided=False)
    document = limits_document([target(findings={"users": found})], Settings(), COMMAND).json_ready()
    jsonschema.validate(document, schema("autotune"))
    assert sentence in " ".join(analysis(document, language).split())


def test_how_sure_the_required_users_are_is_told() -> None:
    settings = Settings.model_validate({"load": {"require_users": 8}})
    document = limits_document([target(findings={"users": users_finding(chance_required=0.992)})], settings, COMMAND)
    assert "Required: 8 users. They are held with a probability of 99.2 %." in summary_lines(document, 200)


@pytest.mark.parametrize("language", ["en", "fr"])
@pytest.mark.parametrize("make", [full_document, several_document, hostile_document])
def test_the_text_report_holds_every_trial_in_both_languages(make: Any, language: str) -> None:
    document = make()
    text = analysis(document, language)
    assert text.count("├") == text.count("┤") > 0
    for found in document["targets"]:
        for why in found["why"].values():
            assert why["sentences"][language][0][:40] in text
    assert "\u202e" not in text


@pytest.mark.parametrize("language", ["en", "fr"])
@pytest.mark.parametrize("make", [full_document, several_document, hostile_document])
def test_the_page_is_one_file_that_runs_nothing_it_was_sent(make: Any, language: str) -> None:
    page = Page(render_limits_page(typed_limits(make()), language))
    assert "img" not in page.tags
    assert page.tags.count("script") == 2
    assert {address for address in page.addresses if not address.startswith("#")} == {"data:,"}


def test_the_page_shows_answer_cause_and_advice_and_each_trial() -> None:
    document = full_document()
    page = Page(render_limits_page(typed_limits(document), "en"))
    assert page.says("11 users (95 % sure: 10 to 17) keep 95 % of answers under 3.0 s")
    assert page.says("Queueing for slots")
    assert page.says("More parallel slots")
    trials = sum(len(finding["trials"]) for finding in document["targets"][0]["findings"].values())
    assert sum("answers came within" in text for text in page.text) == trials
    assert page.tags.count("use") > 300 + trials
    assert page.says("18: 8/144, broken")  # what a mark is, for a pointer


def test_several_targets_are_compared_in_a_table() -> None:
    text = " ".join(" ".join(Page(render_limits_page(typed_limits(several_document()), "en")).text).split())
    row = text[text.index("Comparison", text.index("Limits of 3 servers or models", 200)) :]
    assert "llama-3.1-8b-instruct http://127.0.0.1:8000/v1 vLLM 2 users (0 to 3)" in row
    assert "10+ users (10 to 10)" in row


def test_a_session_that_measured_only_temperatures_has_its_reports(tmp_path: Path) -> None:
    full = full_target()
    only = target(findings={}, temperature=full["temperature"])
    paths = write_document(limits_document([only], Settings(), COMMAND), Settings(), tmp_path)
    assert "Temperature 0.3" in paths["text"].read_text()
    assert "Temperature 0.3" in paths["html"].read_text()
    assert summary_lines(typed_limits(json.loads(paths["json"].read_text())), 80)[0] == "Other questions:"


def test_a_session_that_measured_nothing_has_no_figure(tmp_path: Path) -> None:
    paths = write_document(limits_document([target(findings={})], Settings(), COMMAND), Settings(), tmp_path)
    assert "png" not in paths
    assert "Nothing was measured." in paths["text"].read_text()


def test_under_a_strict_promise_trials_pass_or_fail() -> None:
    settings = Settings()
    strict = target(findings={"users": users_finding(slo=SLO(1.0, 3.0))})
    assert "the limit is where half of all trials pass" in analysis(limits_document([strict], settings, COMMAND), "en")


@pytest.mark.parametrize(
    ("language", "told"),
    [
        ("en", "Load came through Ray (machines: 2). Their clocks differed by up to 12 ms from this one's"),
        ("fr", "La charge passait par Ray (machines : 2). Leurs horloges s'écartaient jusqu'à 12 ms de celle-ci"),
    ],
)
def test_load_from_several_machines_is_told_with_what_is_known_of_their_clocks(language: str, told: str) -> None:
    found = users_finding()
    found["trials"][0]["clocks"] = {"machines": 2, "skew_s": 0.012, "error_s": 0.0004}
    document = changed_document({"trials": found["trials"]})
    jsonschema.validate(document, schema("autotune"))
    text = " ".join(analysis(document, language).split())
    assert told in text.replace("\N{NO-BREAK SPACE}", " ").replace("\N{NARROW NO-BREAK SPACE}", " ")
