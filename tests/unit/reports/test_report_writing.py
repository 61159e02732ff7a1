from __future__ import annotations

import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.report_runs import built, full_run

from pytest_llmbench.core.errors import NotReadyError
from pytest_llmbench.core.settings import OutputSettings
from pytest_llmbench.reports import write_reports
from pytest_llmbench.runs.averages import in_short
from pytest_llmbench.runs.storage import read_document
from pytest_llmbench.runs.typed import run_document


@contextmanager
def files_limited_to(size: int) -> Iterator[None]:
    """The system refuses to write files beyond `size` bytes, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_all_reports_and_the_run_file_are_written(tmp_path: Path) -> None:
    reports = write_reports(
        built(full_run(cases=2)), OutputSettings(report_dir=tmp_path), run_dir=tmp_path / "runs" / "0001_first"
    )
    assert {kind: path.relative_to(tmp_path).as_posix() for kind, path in reports.paths.items()} == {
        "html": "benchmark.html",
        "text": "benchmark.txt",
        "markdown": "benchmark.md",
        "png": "benchmark.png",
        "differences": "benchmark-differences.png",
        "routing": "benchmark-routing.png",
        "json": "benchmark.json",
        "run": "runs/0001_first/run.json",
    }
    assert read_document(reports.paths["run"]) == read_document(reports.paths["json"]) == reports.document


def test_reports_that_are_off_are_not_written(tmp_path: Path) -> None:
    off = OutputSettings(report_dir=tmp_path, png=False, text=False, html=False, markdown=False)
    reports = write_reports(built(full_run(cases=1)), off)
    assert [path.name for path in tmp_path.iterdir()] == ["benchmark.json"]
    assert list(reports.paths) == ["json"]


def test_pictures_that_a_run_does_not_have_are_not_left_from_the_one_before(tmp_path: Path) -> None:
    write_reports(built(full_run(cases=1)), OutputSettings(report_dir=tmp_path))
    assert (tmp_path / "benchmark-differences.png").exists()
    (tmp_path / "benchmark.md").write_text("a user's own page", encoding="utf-8")
    base_alone = built(full_run(cases=1, variants=("base",)))
    reports = write_reports(base_alone, OutputSettings(report_dir=tmp_path, markdown=False, json=False))
    written = {path.name for path in reports.paths.values()}
    assert {path.name for path in tmp_path.iterdir()} == {"benchmark.md", "benchmark.json", *written}
    assert (tmp_path / "benchmark.md").read_text(encoding="utf-8") == "a user's own page"
    assert "benchmark-differences.png" not in written


def test_the_trend_is_drawn_once_there_are_earlier_runs(tmp_path: Path) -> None:
    off = OutputSettings(report_dir=tmp_path, text=False, html=False, markdown=False, json=False)
    run = full_run(cases=2)
    earlier = in_short("0001_first", run_document(write_reports(built(run), off).document))
    assert not (tmp_path / "benchmark-trend.png").exists()
    write_reports(built(run), off, earlier=[earlier])
    assert (tmp_path / "benchmark-trend.png").stat().st_size > 10_000


@pytest.mark.skipif(sys.platform == "win32", reason="no file size limits")
def test_a_full_disk_is_one_message_and_leaves_the_previous_reports_whole(tmp_path: Path) -> None:
    output = OutputSettings(report_dir=tmp_path, html=False)
    write_reports(built(full_run(cases=1)), output)
    before = contents(tmp_path)
    room_for_text_only = len(before["benchmark.txt"]) * 2
    with (
        files_limited_to(room_for_text_only),
        pytest.raises(NotReadyError, match=r"cannot write .*benchmark\.png: .*free some space"),
    ):
        write_reports(built(full_run(cases=1, variants=("base", "v2"))), output)
    assert contents(tmp_path) == before


def test_a_report_folder_that_is_a_file_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "reports").write_text("", encoding="utf-8")
    with pytest.raises(NotReadyError, match=r"cannot write .*benchmark\.html"):
        write_reports(built(full_run(cases=1)), OutputSettings(report_dir=tmp_path / "reports"))
