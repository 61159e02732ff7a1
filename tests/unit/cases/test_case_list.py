"""Suites as JSON lines: their head, cases that stay in the file, and chunks of them."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest

from pytest_llmbench.cases import suites
from pytest_llmbench.cases.case_list import JoinedCases, chunked
from pytest_llmbench.cases.selection import select
from pytest_llmbench.cases.suites import Case, load_cases, read_cases
from pytest_llmbench.core.errors import UsageError
from pytest_llmbench.core.settings import Settings, load_settings

HEAD = '{"category": "songs", "language": "fr", "system": "Sois bref."}\n'
ROWS = (
    '{"id": "one", "prompt": "chante"}\n\n'
    '{"prompt": "siffle plus fort, s\'il te plaît"}\n'
    '{"id": 3, "prompt": "tais-toi"}'
)


@pytest.fixture(params=[8_000_000, 1], ids=["in memory", "in the file"])
def most_bytes_kept(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suites, "_MOST_BYTES_KEPT", request.param)


def written(path: Path, text: str, start: bytes = b"") -> Path:
    path.write_bytes(start + text.encode())
    return path


@pytest.mark.usefixtures("most_bytes_kept")
@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"], ids=["plain", "byte order mark"])
def test_the_first_line_may_be_the_head_of_all_others(tmp_path: Path, start: bytes) -> None:
    path = written(tmp_path / "file.jsonl", HEAD + ROWS, start)
    cases = read_cases([path])
    assert list(cases) == load_cases([path])
    assert [case.name for case in cases] == ["songs/one", "songs/4", "songs/3"]
    assert {(case.language, case.messages[0]["content"]) for case in cases} == {("fr", "Sois bref.")}
    assert [case.source.rpartition(":")[2] for case in cases] == ["2", "4", "5"]
    assert [case.prompt for case in cases[1:]] == [cases[1].prompt, "tais-toi"]


@pytest.mark.usefixtures("most_bytes_kept")
def test_faults_of_lines_are_told_with_their_place(tmp_path: Path) -> None:
    rows = '{"id": "one", "prompt": "a", "category": "other"}\n{"id": "two", "prompt": 3}\n{"id": "two"\n'
    path = written(tmp_path / "songs.jsonl", HEAD + rows + '{"id": "x", "prompt": "b"}\n{"id": "x", "prompt": "c"}\n')
    with pytest.raises(UsageError) as raised:
        read_cases([path])
    told = str(raised.value).splitlines()
    assert [line.removeprefix(f"{path}:").partition(":")[0] for line in told] == ["2", "3", "4", "6"]
    assert "unknown key 'category'" in told[0]
    assert "already taken on line 5" in told[3]


@pytest.mark.usefixtures("most_bytes_kept")
def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"songs\.jsonl:2: byte 0xff is not UTF-8"):
        read_cases([written(tmp_path / "songs.jsonl", '"prompt": "a"}\n', b'{"prompt": "b"}\n{\xff')])


@pytest.mark.parametrize("reads", [0, 1])
def test_a_large_file_that_changes_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reads: int) -> None:
    monkeypatch.setattr(suites, "_MOST_BYTES_KEPT", 1)
    path = written(tmp_path / "songs.jsonl", HEAD + ROWS)
    cases = read_cases([path])
    assert all(cases[0].prompt for _ in range(reads))
    os.utime(path, (1, 1))
    with pytest.raises(UsageError, match=r"songs\.jsonl has changed since the session began"):
        cases[0]


def test_cases_of_a_large_file_go_to_another_process_and_are_missed_where_it_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(suites, "_MOST_BYTES_KEPT", 1)
    path = written(tmp_path / "songs.jsonl", HEAD + ROWS)
    cases = read_cases([path])
    first = cases[0]  # opens the file, whose number is another one elsewhere
    sent = pickle.loads(pickle.dumps(cases))  # noqa: S301  # our own
    assert sent[0] == first
    sent = pickle.loads(pickle.dumps(cases))  # noqa: S301
    path.unlink()
    with pytest.raises(UsageError, match=r"songs\.jsonl cannot be read: No such file"):
        sent[0]


def test_selection_and_epochs_of_stored_cases_are_those_of_cases_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    songs = written(tmp_path / "songs.jsonl", HEAD + ROWS)
    others = written(tmp_path / "others.jsonl", '{"prompt": "a"}\n{"category": "more", "prompt": "b"}\n')
    options = {"epochs": ("2", "--epochs"), "limit": ("3", "--limit")}
    settings = load_settings(None, options, {})

    def choosing(*categories: str) -> Settings:
        asked = settings.benchmark.model_copy(update={"categories": categories})
        return settings.model_copy(update={"benchmark": asked})

    kept = select(load_cases([others, songs]), choosing("more", "songs"))
    monkeypatch.setattr(suites, "_MOST_BYTES_KEPT", 1)
    stored = read_cases([others, songs])
    assert isinstance(stored, JoinedCases)
    assert list(select(stored, choosing("more", "songs"))) == kept
    with pytest.raises(UsageError, match="no suite is called 'mroe'; there are others, more, songs"):
        select(stored, choosing("mroe"))


def test_chunks_are_of_one_category_and_named_by_their_places() -> None:
    cases = [Case("ab"[number % 2], str(number), "x", ()) for number in range(7)]
    chunks = chunked(cases, 3)
    assert [chunk.name for chunk in chunks] == ["a/1-3", "a/4-4", "b/1-3"]
    assert [[case.id for case in chunk.cases] for chunk in chunks] == [["0", "2", "4"], ["6"], ["1", "3", "5"]]
