"""Files that take the place of others: whole, where a link points to, with the mode that they should have."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from pytest_llmbench.core.errors import NotReadyError, UsageError
from pytest_llmbench.core.files import cannot_write, fitting, write_text


def test_a_new_file_has_the_mode_of_any_and_one_that_is_replaced_keeps_its_own(tmp_path: Path) -> None:
    (tmp_path / "own").touch(0o600)
    (tmp_path / "read only").touch(0o400)
    before = os.umask(0o027)
    try:
        for name in ("new", "own", "read only"):
            write_text(tmp_path / name, name)
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert modes == {"new": 0o640, "own": 0o600, "read only": 0o400}


def test_what_a_link_points_to_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    link = tmp_path / "rows.jsonl"
    link.symlink_to("disk/rows.jsonl")
    for text in ("first", "second"):
        write_text(link, text)
        assert (link.is_symlink(), (tmp_path / "disk/rows.jsonl").read_text()) == (True, text)


def test_a_pipe_is_not_replaced_by_a_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match=r"pipe is a device or a pipe, and a file would take its place; name a file"):
        write_text(tmp_path / "pipe", "text")
    assert (tmp_path / "pipe").is_fifo()


@pytest.mark.skipif(not Path("/dev/fd").exists(), reason="descriptors have no names here")
@pytest.mark.parametrize("through", ["/dev/fd/{}", "link"])
def test_a_file_that_the_output_goes_to_is_not_replaced(tmp_path: Path, through: str) -> None:
    log = tmp_path / "all.log"
    with log.open("w", encoding="utf-8") as output:
        output.write("earlier")
        output.flush()
        (tmp_path / "link").symlink_to(f"/dev/fd/{output.fileno()}")
        with pytest.raises(UsageError, match="is a device or a pipe"):
            write_text(tmp_path / through.format(output.fileno()), "text")
    assert log.read_text(encoding="utf-8") == "earlier"


def test_an_object_of_a_store_stays_and_the_link_to_it_is_replaced(tmp_path: Path) -> None:
    stored, linked, named = tmp_path / "5d41402abc", tmp_path / "train.jsonl", tmp_path / "newest.jsonl"
    stored.write_text("stored", encoding="utf-8")
    stored.chmod(0o444)
    linked.symlink_to("5d41402abc")
    named.symlink_to("train.jsonl")
    write_text(named, "new")
    assert (stored.read_text(), linked.read_text(), named.is_symlink()) == ("stored", "new", True)
    assert linked.stat().st_mode & 0o200, "a file of its own"


def test_links_in_a_circle_are_one_message(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(NotReadyError, match=r"cannot write \S+a: Too many levels of symbolic links"):
        write_text(tmp_path / "a", "text")


@pytest.mark.parametrize("name", [".", "folder", "folder/"])
def test_a_folder_is_no_file_to_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    with pytest.raises(NotReadyError, match=r"cannot write (folder|\.): "):
        write_text(Path(name), "text")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.EPERM])
def test_where_writing_is_not_allowed_no_space_is_asked_for(number: int) -> None:
    error = OSError(number, "libraries' own words")
    assert str(cannot_write(Path("reports"), error)) == (
        f"cannot write reports: {os.strerror(number)}; make the folder writable or choose another folder"
    )
    assert fitting("free some space, then resume", error) == "make the folder writable, then resume"


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), ValueError("of a library")])
def test_a_full_disk_asks_for_space(error: Exception) -> None:
    assert fitting("free some space, then resume", error) == "free some space, then resume"
