from __future__ import annotations

import errno
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pytest_llmbench.core.errors import NotReadyError
from pytest_llmbench.models import conversion
from pytest_llmbench.models.conversion import convert, converted_folder


@pytest.fixture
def gguf(tmp_path: Path) -> Path:
    path = tmp_path / "some.gguf"
    path.write_bytes(b"GGUF and more")
    return path


def test_two_that_convert_at_once_convert_once(gguf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = []
    together = threading.Barrier(2)

    def slow_write(_: Path, folder: Path) -> None:
        written.append(folder)
        time.sleep(0.2)
        (folder / "config.json").write_text("{}")

    def convert_together() -> Path:
        together.wait()
        return convert(gguf)

    monkeypatch.setattr(conversion, "_write_plain_model", slow_write)
    with ThreadPoolExecutor(2) as pool:
        folders = {future.result() for future in [pool.submit(convert_together) for _ in range(2)]}

    assert len(written) == 1
    assert folders == {converted_folder(gguf)}
    assert (converted_folder(gguf) / "config.json").is_file()


def test_a_conversion_that_fails_leaves_nothing_behind(gguf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fill_the_disk(_: Path, folder: Path) -> None:
        (folder / "half").write_text("a part")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(conversion, "_write_plain_model", fill_the_disk)
    with pytest.raises(NotReadyError, match=r"No space left.*LLMBENCH_CACHE_DIR"):
        convert(gguf)
    assert [path for path in converted_folder(gguf).parent.iterdir() if path.suffix != ".lock"] == []


def test_what_a_killed_conversion_left_is_removed_by_the_next(gguf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = converted_folder(gguf).with_name(f".{converted_folder(gguf).name}.abc")
    left.mkdir(parents=True)
    monkeypatch.setattr(conversion, "_write_plain_model", lambda *_: None)
    convert(gguf)
    assert not left.exists()


def test_another_content_is_another_conversion(gguf: Path) -> None:
    before = converted_folder(gguf)
    gguf.write_bytes(b"GGUF and other")
    assert converted_folder(gguf) != before


def test_the_one_conversion_is_announced(
    gguf: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(conversion, "_write_plain_model", lambda *_: None)
    convert(gguf)
    convert(gguf)
    assert [record.getMessage() for record in caplog.records if "converting some.gguf" in record.getMessage()] != []
    assert len(caplog.records) == 1
