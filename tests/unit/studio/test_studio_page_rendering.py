"""Pages without a browser: their language, their words, what is escaped, and what they weigh."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from support.report_pages import large_document
from support.studio import ROWS, asked, options

from pytest_llmbench.core.errors import UsageError
from pytest_llmbench.core.locale import words
from pytest_llmbench.finetune.hyperparameters import MEANINGS
from pytest_llmbench.models.registry import Preset
from pytest_llmbench.runs.base_comparison import with_comparison
from pytest_llmbench.runs.typed import gate_document
from pytest_llmbench.studio.job_requests import StartFinetuning
from pytest_llmbench.studio.pages import amounts, hyperparameters, rendering
from pytest_llmbench.studio.pages.difference import marked
from pytest_llmbench.studio.results import Comparison, Results
from pytest_llmbench.studio.services import Services
from pytest_llmbench.studio.store import Job

STATIC = Path(rendering.__file__).parent / "static"
REPORT_STYLE = STATIC.parents[2] / "reports" / "html" / "assets" / "report.css"
MARKUP = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&{{7*7}}"
PAGES = ("/upload", "/training", "/dashboard", "/try", "/compare", "/models", "/programs")


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with asked(options(tmp_path_factory.mktemp("pages"))) as client:
        yield client


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("fr-CA,fr;q=0.9,en;q=0.8", "fr"),
        ("de,en;q=0.5", "en"),
        ("fr;q=0,en", "en"),
        ("de", "en"),
        ("fr;q=x", "en"),
        ("en; q=0.5, fr", "fr"),
    ],
)
def test_a_page_speaks_the_browsers_language(studio: TestClient, header: str, language: str) -> None:
    assert f'<html lang="{language}">' in studio.get("/compare", headers={"accept-language": header}).text


def test_a_choice_of_language_outlasts_the_browsers(studio: TestClient) -> None:
    chosen = studio.post("/language", data={"language": "fr", "back": "/compare"})
    assert (chosen.url.path, '<html lang="fr">' in chosen.text) == ("/compare", True)
    studio.cookies.clear()


@pytest.mark.parametrize("back", ["//elsewhere.example/", "https://elsewhere.example/", "/\\elsewhere.example"])
def test_a_choice_of_language_leads_nowhere_else(studio: TestClient, back: str) -> None:
    answer = studio.post("/language", data={"language": "fr", "back": back}, follow_redirects=False)
    assert answer.headers["location"] == "/"
    studio.cookies.clear()


@pytest.mark.parametrize("path", PAGES)
def test_no_page_asks_for_anything_elsewhere_or_holds_script_or_style(studio: TestClient, path: str) -> None:
    text = studio.get(path).text
    assert (
        re.findall(r'(?:src|href|action|hx-\w+)="(?!/|#)([^"]+)"', re.sub(r'hx-(?!get|post)[\w-]+="[^"]*"', "", text))
        == []
    )
    assert re.findall(r"<script(?![^>]* src=)|<style|<[^>]* (?:style|on\w+)=", text) == []


def test_an_empty_studio_says_on_each_page_where_to_begin(tmp_path: Path) -> None:
    with asked(options(tmp_path)) as client:
        for path in ("/upload", "/training", "/dashboard", "/try", "/compare"):
            assert 'class="empty"' in client.get(path).text


def test_an_unknown_job_is_a_page_that_says_so(studio: TestClient) -> None:
    answer = studio.get("/jobs/99")
    assert (answer.status_code, "99" in answer.text, "<h1>" in answer.text) == (404, True, True)


@pytest.mark.parametrize("number", ["0", str(2**63), "9" * 60])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/jobs/{}"),
        ("GET", "/jobs/{}/panel?seen=queued"),
        ("GET", "/compare/jobs/{}"),
        ("POST", "/jobs/{}/cancel"),
        ("POST", "/jobs/{}/resume"),
        ("POST", "/jobs/{}/benchmark"),
        ("POST", "/queue/{}/up"),
    ],
)
def test_a_number_that_no_job_can_have_is_refused(studio: TestClient, method: str, path: str, number: str) -> None:
    assert studio.request(method, path.format(number)).status_code == 422


def test_an_address_that_leads_nowhere_is_a_page_and_below_the_api_a_problem(studio: TestClient) -> None:
    found = studio.get("/nowhere/at-all", headers={"accept-language": "fr"})
    assert (found.status_code, found.headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert "Il n&#39;y a pas de page /nowhere/at-all ici." in found.text
    assert studio.get("/api/nowhere").headers["content-type"] == "application/problem+json"


def test_a_refusal_goes_to_the_place_for_messages_of_the_page_that_asked(studio: TestClient) -> None:
    form = {"dataset_id": "none", "model_name": "smollm2-135m", "rank": "0", "epochs": "1"}
    answer = studio.post("/training", data=form, headers={"HX-Request": "true"})
    assert (answer.status_code, answer.headers["HX-Retarget"]) == (422, "#messages")
    assert "rank: Input should be greater than or equal to 1" in answer.text
    assert "epochs: Extra inputs are not permitted" in answer.text


def test_an_estimate_says_in_its_place_what_is_wrong_and_counts_the_steps_that_were_asked_for(
    studio: TestClient,
) -> None:
    sent = studio.post("/api/datasets", files={"file": ("rows.jsonl", ROWS)}).json()
    form = {"dataset_id": sent["id"], "model_name": "smollm2-135m", "steps": "7", "targets": "q_proj,v_proj"}
    assert "Steps: 7" in studio.get("/training/estimate", params=form).text
    refused = studio.get("/training/estimate", params=form | {"batch_size": "5000"})
    assert (refused.status_code, "batch_size: Input should be less than" in refused.text) == (200, True)


def saved(reports: Path, name: str, document: Mapping[str, Any]) -> None:
    (reports / "runs" / name).mkdir(parents=True)
    (reports / "runs" / name / "run.json").write_text(json.dumps(document), encoding="utf-8")


def test_the_list_has_the_comparison_of_a_first_run_and_calls_none_a_verdict(tmp_path: Path) -> None:
    document = dict(with_comparison(large_document(12)))
    better, nothing = document["comparison"] | {"outcome": "pass"}, document["comparison"] | {"verdicts": []}
    no_baseline = nothing | {"against": "baseline", "kind": "improvement"}
    saved(tmp_path, "0001_first", document | {"gate": no_baseline, "comparison": better})
    saved(tmp_path, "0002_unscored", document | {"comparison": nothing})
    with asked(options(tmp_path)) as client:
        listed = client.get("/compare").text
    unscored, first = listed.split("0001_first</bdi>")[:2]
    assert "<td>No verdict</td>" in unscored
    assert "Better</span>" in first


@pytest.mark.parametrize("part", [{"limited": True}, {"cut_short": {"results": 12, "planned": 90}}])
def test_a_part_of_a_run_has_no_verdict_in_the_list_nor_on_its_page(tmp_path: Path, part: Mapping[str, Any]) -> None:
    document = dict(with_comparison(large_document(12)))
    better = document["comparison"] | {"outcome": "pass"}
    verdicts = [one | {"outcome": "pass"} for one in better["verdicts"]]
    metadata = document["metadata"] | part
    saved(tmp_path, "0001_part", document | {"metadata": metadata, "comparison": better | {"verdicts": verdicts}})
    with asked(options(tmp_path)) as client:
        listed, one = client.get("/compare").text, client.get("/compare/0001_part").text
        told = client.get("/api/runs").json()["runs"][0]
    assert "<td>No verdict</td>" in listed
    assert (told["outcome"], told["gated"]) == (None, False)
    assert ("NO VERDICT: comparison with each adapter&#39;s own base" in one, "better" in one.lower()) == (True, False)
    assert "A part of " in one


@pytest.mark.parametrize(
    ("kind", "word", "heading"),
    [
        ("regression", "Fail", "FAIL: regression gate"),
        ("compare", "Worse", "WORSE: comparison"),
    ],
)
def test_a_gate_of_a_part_of_a_run_keeps_its_outcome_in_the_list_and_on_its_page(
    tmp_path: Path, kind: str, word: str, heading: str
) -> None:
    document = dict(with_comparison(large_document(12)))
    gate = document["comparison"] | {"kind": kind, "against": "baseline", "outcome": "fail", "failed": True}
    saved(tmp_path, "0001_gated", document | {"metadata": document["metadata"] | {"limited": True}, "gate": gate})
    with asked(options(tmp_path)) as client:
        assert f"{word}</span>" in client.get("/compare").text
        assert heading in client.get("/compare/0001_gated").text


def test_an_error_of_several_lines_is_told_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = "a warning\nerror: run.json:3: no run\n  it was cut off\n"
    ended = subprocess.CompletedProcess([], 2, "", said)
    monkeypatch.setattr(subprocess, "run", lambda *_args, **_options: ended)
    saved(tmp_path, "0001_first", large_document(3))
    with pytest.raises(UsageError, match=r"^run.json:3: no run\n  it was cut off$"):
        Results(options(tmp_path)).report("0001_first")


def test_a_verdict_comes_first_and_two_runs_are_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    document = dict(with_comparison(large_document(12)))
    found = Comparison(baseline="0001_first", run="0002_second", gate=gate_document(document["comparison"]))
    monkeypatch.setattr(Results, "compare", lambda *_: found)  # it asks `llmbench compare`, which takes seconds
    for name in ("0001_first", "0002_second"):
        saved(tmp_path, name, document)
    with asked(options(tmp_path)) as client:
        listed = client.get("/compare").text
        assert listed.index("0002_second") < listed.index("0001_first")
        made = datetime.fromisoformat(document["metadata"]["timestamp"])
        assert f"<td>{amounts.moment(made, words('en'))}</td>" in listed
        assert "No change shown</span>" in listed  # nothing gated: it neither passed nor is inconclusive
        one = client.get("/compare/0002_second", headers={"accept-language": "fr"}).text
        assert one.index('class="verdict') < one.index('src="/api/runs/0002_second/report?language=fr"')
        both = client.get("/compare/runs", params={"baseline": "0001_first", "run": "0002_second"}).text
        assert "0002_second against 0001_first" in both
        assert 'class="verdict inconclusive"' in both
        assert client.get("/compare/0009_none").status_code == 404


def test_markup_in_every_field_is_text(studio: TestClient) -> None:
    row = json.dumps({"prompt": MARKUP, "completion": MARKUP})
    sent = studio.post("/api/datasets", files={"file": (f"{MARKUP}.jsonl", f"{row}\n{row}\n")}).json()
    services: Services = studio.app.state.services  # type: ignore[attr-defined]
    with services.store.writing() as session:
        session.add(_hostile_job(sent["id"]))
    paths = ("/upload", f"/datasets/{sent['id']}", "/training", "/dashboard", "/jobs/7", "/try")
    pages = [
        *(studio.get(path) for path in paths),
        studio.post("/try/difference", data={"base": MARKUP, "finetuned": ""}),
    ]
    for page in pages:
        assert page.status_code == 200
        assert "<script>alert" not in page.text
        assert "<img" not in page.text
        assert "49" not in re.findall(r"&amp;(\S+)", page.text)
    assert "&lt;img src=x onerror=alert(2)&gt;" in pages[1].text


def _hostile_job(dataset: str) -> Job:
    return Job(
        id=7,
        kind="finetune",
        dataset_id=dataset,
        parent_id=None,
        model=MARKUP,
        settings={MARKUP: MARKUP},
        state="failed",
        position=0,
        pid=None,
        pid_started=None,
        folder=MARKUP,
        output=MARKUP,
        created=datetime.now(UTC),
        started=None,
        ended=None,
        progress=None,
        problem={"code": MARKUP, "detail": MARKUP},
        result=None,
    )


def test_what_others_made_is_as_it_was_published() -> None:
    told = dict(re.findall(r"^\| `([^`]+)` .*\| `(\w{64})` \|$", (STATIC / "VENDORED.md").read_text(), re.MULTILINE))
    files = {str(path.relative_to(STATIC)): path for path in (STATIC / "vendor").iterdir() if path.suffix != ".LICENSE"}
    assert {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()} == told


def test_script_and_style_of_all_pages_weigh_less_than_250_kb() -> None:
    files = [*STATIC.rglob("*.js"), *STATIC.rglob("*.css"), REPORT_STYLE]
    assert sum(path.stat().st_size for path in files) < 250_000


def test_every_setting_of_a_training_has_a_field_with_meaning_range_and_preset() -> None:
    shown = {field.name: field for field in hyperparameters.fields(Preset(), {"rank": "32"}, words("en"))}
    not_settings = {"dataset_id", "validation_dataset_id", "model_name", "task"}
    assert set(shown) == set(StartFinetuning.model_fields) - not_settings
    assert {field.meaning for field in shown.values()} == set(MEANINGS.values())
    rank, rate, dropout = shown["rank"], shown["learning_rate"], shown["dropout"]
    assert (rank.value, rank.preset, rank.range, rank.least, rank.step) == ("32", "8", "1 or more", "1", "1")
    assert (rate.preset, rate.range, rate.step) == ("0.0002", "above 0, below 1", "any")
    assert (dropout.least, dropout.most) == ("0", "0.9")
    assert shown["quantization"].choices == (("nf4", "nf4"), ("none", "none"))
    assert shown["gradient_checkpointing"].preset == "off"


def test_a_field_that_was_left_empty_is_the_presets() -> None:
    form = {"rank": " 16 ", "alpha": "", "targets": "q_proj, v_proj,", "quantization": ""}
    assert hyperparameters.chosen(form) == {"rank": "16", "targets": ("q_proj", "v_proj")}


def test_amounts_are_read_at_a_glance() -> None:
    say = words("fr")
    assert [amounts.size(value, say) for value in (None, 999, 1536, 3 * 2**30)] == ["-", "999 o", "1,5 ko", "3,0 Go"]
    spans = [amounts.span(value, words("en")) for value in (None, 42.4, 200, 7500, 100_000)]
    assert spans == ["-", "42 s", "3 min 20 s", "2 h 05 min", "1 d 3 h"]


def test_moments_are_told_alike_whether_of_a_job_or_of_a_run() -> None:
    say, at = words("fr"), datetime(2026, 2, 18, 10, 0, tzinfo=UTC)
    assert amounts.moment("2026-02-18T10:00:00+00:00", say) == amounts.moment(at, say)
    assert [amounts.moment(text, say) for text in ("", "last week")] == ["-", "last week"]


def test_a_job_says_in_words_what_it_was_started_with(tmp_path: Path) -> None:
    job = _hostile_job("")
    job.dataset_id, job.settings = None, {"task": None, "packing": False, "targets": ["q_proj"], "rank": 8}
    with asked(options(tmp_path)) as client:
        services: Services = client.app.state.services  # type: ignore[attr-defined]
        with services.store.writing() as session:
            session.add(job)
        page = client.get("/jobs/7", headers={"accept-language": "fr"}).text
    told = re.findall(r'<dt lang="en">(\w+)</dt><dd dir="auto">(.*?)</dd>', page)
    assert told == [("packing", "non"), ("targets", "q_proj"), ("rank", "8")]


def test_what_only_one_answer_says_is_marked() -> None:
    found = marked("the cat sat", "the dog sat down")
    assert found is not None
    before, after = ([piece.text for piece in pieces if piece.changed] for pieces in found)
    assert (before, after) == (["cat"], ["dog", " down"])
    assert "".join(piece.text for piece in found[1]) == "the dog sat down"
    assert marked("a " * 3000, "b") is None
