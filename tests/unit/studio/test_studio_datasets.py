"""Datasets through the API: as streams, of any form, bounded, escaped, deleted and brought back."""

from __future__ import annotations

import asyncio
import json
import re
import time
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from support.studio import ROWS, asked, options

from pytest_llmbench.core.errors import NotReadyError, UsageError
from pytest_llmbench.studio.datasets import Datasets
from pytest_llmbench.studio.reader_process import ReaderProcess
from pytest_llmbench.studio.reading import Check, contents
from pytest_llmbench.studio.store import Store
from pytest_llmbench.studio.uploads import Upload, save_upload

MARKUP = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&{{7*7}}"


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    folder = tmp_path_factory.mktemp("datasets")
    with asked(options(folder, read_mb=100)) as client:
        yield client


def _sent(studio: TestClient, name: str, content: bytes) -> dict[str, Any]:
    answer = studio.post("/api/datasets", files={"file": (name, content)})
    return {"status": answer.status_code, **answer.json()}


def _checked(studio: TestClient, key: str) -> dict[str, Any]:
    """The dataset once its check has ended."""
    for _ in range(300):
        found: dict[str, Any] = studio.get(f"/api/datasets/{key}").json()
        if found["checked"]["state"] != "running":
            return found
        time.sleep(0.1)
    pytest.fail("the check did not end")


def test_an_upload_that_the_store_cannot_note_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_store: Store) -> None:
        raise NotReadyError("database or disk is full")

    with asked(options(tmp_path)) as client:
        monkeypatch.setattr(Store, "writing", refuse)
        sent = _sent(client, "rows.jsonl", ROWS)
    assert (sent["status"], list(tmp_path.glob("studio/datasets/*"))) == (409, [])


def test_an_uploaded_file_is_read_counted_shown_and_checked(studio: TestClient) -> None:
    rows = [{"prompt": f"allume la lampe du salon numéro {number}", "completion": "set_lights"} for number in range(3)]
    rows += [{"prompt": "monte le son", "completion": "volume_up"}] * 2
    sent = _sent(studio, "commandes.jsonl", "\n".join(map(json.dumps, rows)).encode())
    assert (sent["status"], sent["name"], sent["format"], sent["rows"]) == (201, "commandes.jsonl", "jsonl", 5)
    found = _checked(studio, sent["id"])
    assert found["statistics"]["turns"] == {"1": 5}
    assert found["preview"][3]["prompt"] == [{"role": "user", "content": "monte le son"}]
    check = found["checked"]["check"]
    assert {finding["check"] for finding in check["findings"]} >= {"duplicates", "near-duplicates", "contamination"}
    assert check["contaminated"] == len(check["nearest"]) > 0  # the starter suites ask to turn up the sound
    assert [one["id"] for one in studio.get("/api/datasets").json()["datasets"]].count(sent["id"]) == 1


def test_a_check_that_failed_is_made_again_by_a_studio_that_allows_more(tmp_path: Path) -> None:
    with asked(options(tmp_path)) as studio:
        key = _sent(studio, "rows.jsonl", ROWS)["id"]
    with asked(options(tmp_path, read_s=0.01)) as studio:
        assert _checked(studio, key)["checked"]["state"] == "failed"
        assert _checked(studio, key)["checked"]["state"] == "failed"
    with asked(options(tmp_path)) as studio:
        assert _checked(studio, key)["checked"]["state"] == "done"


def test_a_suite_that_changes_while_a_dataset_is_checked_is_checked_against_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    suite, made = tmp_path / "suite.jsonl", list[str]()
    suite.write_text("before")

    async def read(_self: ReaderProcess, _made: type[Check], _shown: str, words: list[str]) -> Check:
        made.append(suite.read_text())
        if made == ["before"]:
            suite.write_text("changed")
        return Check(rows=2, cases=1, findings=(), contaminated=len(made), nearest=())

    with asked(options(tmp_path)) as studio:
        key = _sent(studio, "rows.jsonl", ROWS)["id"]
        monkeypatch.setattr(ReaderProcess, "read", read)
        monkeypatch.setattr(Datasets, "_suites", lambda _self: ([suite], suite))
        assert _checked(studio, key)["checked"]["check"]["contaminated"] == 2
        assert made == ["before", "changed"]


@pytest.mark.parametrize(
    ("name", "content", "form"),
    [
        ("a.csv", b"{", ".csv"),
        ("a.JSON", b"{", ".json"),
        ("without an ending", ROWS, ".jsonl"),
        ("list.txt", b' [{"prompt":"a","completion":"b"}]', ".json"),
        ("table", b"\xef\xbb\xbfprompt;completion\n", ".csv"),
        ("braces", b"\xef\xbb\xbf\n{", ".jsonl"),
    ],
)
def test_the_form_is_told_by_the_ending_or_the_content(tmp_path: Path, name: str, content: bytes, form: str) -> None:
    assert _saved(tmp_path, name, content).format == form


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("../../../etc/passwd.jsonl", "passwd.jsonl"),
        ("C:\\Users\\me\\rows.jsonl", "rows.jsonl"),
        ("..", "dataset"),
        ("a\u202egpj\x00\x1b[31m.jsonl", "agpj[31m.jsonl"),
        ("x" * 3000 + ".jsonl", "x" * 114 + ".jsonl"),
    ],
)
def test_a_name_is_shown_and_never_a_path(tmp_path: Path, name: str, shown: str) -> None:
    assert _saved(tmp_path, name, ROWS).name == shown
    assert [file.name for file in tmp_path.iterdir()] == ["part"]


def _saved(folder: Path, name: str, *content: bytes, boundary: bytes = b"x") -> Upload:
    async def body() -> AsyncIterator[bytes]:
        head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="%s"\r\n\r\n'
        yield head % name.replace("\\", "\\\\").encode()
        for piece in content:
            yield piece
        yield b"\r\n--x--\r\n"

    kind = f"multipart/form-data; boundary={boundary.decode()}"
    return asyncio.run(save_upload(body(), kind, None, folder / "part"))


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.jsonl", b'{"prompt": "a", "completion": "b"}\n{"prompt": 1\n', "a.jsonl:2: not valid JSON"),
        ("a.csv", b"question,reply\na,b\n", "a.csv:2: "),
        ("a.jsonl", b"", "the file holds no row to learn from"),
        ("a.jsonl", b"\x80\x04\x95pickle.", "not UTF-8"),
        ("a.json", b"[" * 100_000, "a.json:1: not valid JSON"),
        ("b.json", b'[{"prompt":"a","completion":"b","x":' + b"[" * 600 + b"]" * 600 + b"}]", "nested too deeply"),
        ("a.jsonl", b'{"prompt":' + b"[" * 100_000 + b"\n", "a.jsonl:1: not valid JSON"),
        ("a.csv", b'prompt,completion\n"' + b"x" * 9_000_000, "longer than 8 MiB"),
        ("a.csv", b'prompt,completion\n"' + (b"x" * 999 + b"\n") * 9_000, "is a quote not closed?"),
        ("a.jsonl", ROWS * 600, "more than 1000 rows"),
    ],
    ids=["syntax", "columns", "empty", "pickle", "deep", "nested", "deep-line", "long-line", "open-quote", "rows"],
)
def test_what_is_no_dataset_is_refused_with_the_line(tmp_path: Path, name: str, content: bytes, told: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UsageError, match=re.escape(told)):
        contents(path, 1000)


def test_a_refusal_names_the_file_as_it_was_uploaded(studio: TestClient) -> None:
    sent = _sent(studio, "a.jsonl", b'{"prompt": "a", "completion": "b"}\n{"prompt": 1\n')
    assert sent["status"] == 422
    assert sent["detail"].startswith("a.jsonl:2: not valid JSON")
    assert not list(_folder(studio).glob("*.part*"))


def test_a_file_that_asks_for_more_memory_than_it_may_is_let_go(studio: TestClient) -> None:
    sent = _sent(studio, "bomb.json", b"[" + b"[],[]," * 500_000 + b"[]]")
    assert sent["status"] == 422
    assert "takes more than 100 MiB of memory" in sent["detail"]


def _folder(studio: TestClient) -> Path:
    folder: Path = studio.app.state.services.store.folder / "datasets"  # type: ignore[attr-defined]
    return folder


def test_a_form_without_a_file_and_a_body_of_another_type_are_refused(studio: TestClient) -> None:
    for content, kind, status in (
        (b"--x--\r\n", "multipart/form-data; boundary=x", 422),
        (b"nonsense", "multipart/form-data; boundary=x", 422),
        (ROWS, "multipart/form-data", 422),
        (ROWS, "text/html", 415),
    ):
        answer = studio.post("/api/datasets", content=content, headers={"content-type": kind})
        assert answer.status_code == status, answer.json()


def test_markup_in_every_field_comes_back_as_text(studio: TestClient) -> None:
    row = {"prompt": MARKUP, "completion": MARKUP, MARKUP: MARKUP, "language": MARKUP}
    sent = _sent(studio, f"{MARKUP}.jsonl", (json.dumps(row) + "\n").encode() * 2)
    key = sent["id"]
    found = _checked(studio, key)
    assert found["preview"][0]["completion"][0]["content"] == MARKUP
    answer = studio.get(f"/api/datasets/{key}")
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    for path in ("/upload", f"/datasets/{key}", f"/datasets/{key}/check", f"/training?dataset_id={key}"):
        page = studio.get(path)
        assert page.status_code == 200
        assert "<script>alert" not in page.text
        assert "<img src=x" not in page.text


def test_a_deleted_dataset_can_be_brought_back(studio: TestClient) -> None:
    key = _sent(studio, "undo.jsonl", ROWS)["id"]
    assert studio.delete(f"/api/datasets/{key}").json()["deleted_at"]
    assert studio.get(f"/api/datasets/{key}").status_code == 404
    assert studio.delete(f"/api/datasets/{key}").json()["code"] == "not_found"
    assert key in [one["id"] for one in studio.get("/api/datasets", params={"deleted": True}).json()["datasets"]]
    assert studio.post(f"/api/datasets/{key}/restore").json()["deleted_at"] is None
    assert studio.get(f"/api/datasets/{key}").json()["rows"] == 2
    assert studio.post(f"/api/datasets/{'0' * 32}/restore").status_code == 404


def test_an_upload_of_any_size_takes_a_few_megabytes(tmp_path: Path) -> None:
    tracemalloc.start()
    try:
        upload = _saved(tmp_path, "big.jsonl", *[b"x" * 2**16] * 1024)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert upload.bytes == (tmp_path / "part").stat().st_size == 2**26
    assert most < 8 * 2**20
