"""One journal for all that must outlive a killed process."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmbench.core.errors import NotReadyError
from pytest_llmbench.core.journal import Journal

ENTRIES = st.lists(st.dictionaries(st.text(max_size=5), st.text(max_size=20) | st.integers(), max_size=3), max_size=8)


@given(before=ENTRIES, after=ENTRIES, cut=st.integers(1, 30))
def test_half_a_line_of_a_killed_process_spoils_only_itself(
    tmp_path_factory: pytest.TempPathFactory, before: list[dict[str, object]], after: list[dict[str, object]], cut: int
) -> None:
    path = tmp_path_factory.mktemp("journal") / "lines.jsonl"
    first = Journal(path)
    for entry in before:
        first.append(entry)
    half = json.dumps({"text": "x" * 40}).encode()[:cut]
    with path.open("ab") as file:
        file.write(half)
    again = Journal(path)
    assert [json.loads(line) for line in again.unread()] == before
    for entry in after:
        again.append(entry)
    lines = list(Journal(path).unread())
    assert [json.loads(line) for line in lines[: len(before)]] == before
    assert [json.loads(line) for line in lines[len(lines) - len(after) :]] == after
    assert len(lines) == len(before) + len(after) + bool(after)


def test_each_look_finds_what_another_process_added(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "lines.jsonl"
    here, there = Journal(path), Journal(path)
    assert list(here.unread()) == []
    there.append({"one": 1})
    assert list(here.unread()) == [b'{"one": 1}\n']
    here.append({"two": 2}, durable=True)
    there.append({"three": 3})
    assert [json.loads(line) for line in here.unread()] == [{"two": 2}, {"three": 3}]
    assert list(here.unread()) == []


def test_half_a_line_is_cut_off_where_nobody_else_writes(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_bytes(b'{"one": 1}\n{"tw')
    journal = Journal(path)
    assert list(journal.unread()) == [b'{"one": 1}\n']
    journal.trim()
    assert path.read_bytes() == b'{"one": 1}\n'
    journal.append({"two": 2})
    assert path.read_bytes() == b'{"one": 1}\n{"two": 2}\n'


def test_without_a_path_nothing_is_kept() -> None:
    journal = Journal(None)
    journal.append({"one": 1})
    assert list(journal.unread()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full here")
def test_a_full_disk_is_one_message() -> None:
    journal = Journal(Path("/dev/full"))
    with pytest.raises(NotReadyError, match=rf"cannot write /dev/full: {os.strerror(28)}; free some space"):
        journal.append({"one": 1})


def test_half_a_line_that_a_full_disk_took_spoils_only_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal, real = Journal(tmp_path / "lines.jsonl"), os.write

    def full(descriptor: int, data: bytes) -> int:
        if len(data) < 10:
            raise OSError(errno.ENOSPC, "")
        return real(descriptor, data[:5])

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        with pytest.raises(NotReadyError, match="No space left"):
            journal.append({"one": 1})
    journal.append({"two": 2})
    half, whole = journal.unread()
    assert (half, json.loads(whole)) == (b'{"one\n', {"two": 2})


def test_a_pipe_is_written_to_and_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    journal = Journal(tmp_path / "pipe")
    with monkeypatch.context() as patched:  # who opens a pipe to read it waits for who writes
        patched.setattr(Path, "open", lambda *_, **__: pytest.fail("it was opened"))
        assert journal.take_over() == []
    journal.append({"step": 1})
    assert os.read(reader, 100) == b'{"step": 1}\n'
    with pytest.raises(BlockingIOError):  # not the end of the file, at which a reader would stop
        os.read(reader, 100)
    journal.append({"step": 2}, durable=True)
    assert os.read(reader, 100) == b'{"step": 2}\n'
    os.close(reader)


def test_a_reader_that_leaves_ends_the_writing_and_not_the_work(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    journal = Journal(tmp_path / "pipe")
    journal.append({"step": 1})
    os.close(reader)
    with caplog.at_level("WARNING", "pytest_llmbench"):
        journal.append({"step": 2})
        journal.append({"step": 3})
    assert [record.getMessage() for record in caplog.records] == [
        f"nobody reads the journal {tmp_path / 'pipe'} any more; nothing more is written to it"
    ]


@pytest.mark.skipif(not Path("/dev/stdout").exists(), reason="the output has no name here")
def test_the_output_of_the_process_is_written_on_and_not_over(tmp_path: Path) -> None:
    said = (
        "import sys; from pathlib import Path; from pytest_llmbench.core.journal import Journal\n"
        "journal = Journal(Path('/dev/stdout'))\n"
        "assert journal.take_over() == []\n"
        "journal.append({'step': 1}); print('learnt', flush=True); journal.append({'step': 2})\n"
    )
    with (tmp_path / "all.log").open("w", encoding="utf-8") as log:
        log.write("half a line of others ")
        log.flush()
        subprocess.run([sys.executable, "-c", said], stdout=log, check=True)
    lines = ['half a line of others {"step": 1}', "learnt", '{"step": 2}']
    assert (tmp_path / "all.log").read_text(encoding="utf-8").splitlines() == lines
