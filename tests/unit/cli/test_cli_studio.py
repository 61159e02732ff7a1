"""`llmbench studio` refuses what is unsafe or taken, in one line, before it opens anything."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.command_line import llmbench

from pytest_llmbench.studio.store import open_store


@pytest.fixture(autouse=True)
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_another_host_is_refused_without_a_token(tmp_path: Path) -> None:
    done = llmbench("studio", "--host", "0.0.0.0", "--port", "0")  # noqa: S104
    assert done.exit_code == 2
    assert "0.0.0.0 is reached by other machines" in done.output
    assert done.output.rstrip().endswith("(--host)")
    assert list(tmp_path.iterdir()) == []


def test_a_short_token_is_refused() -> None:
    done = llmbench("studio", "--port", "0", LLMBENCH_STUDIO_TOKEN="abc")  # noqa: S106
    assert (done.exit_code, "3 characters; give 16 or more" in done.output) == (2, True)


def test_a_taken_port_and_a_host_of_another_machine_are_told(taken: int) -> None:
    done = llmbench("studio", "--port", str(taken))
    assert done.exit_code == 3
    assert f"cannot listen on 127.0.0.1:{taken}: Address already in use; choose another port" in done.output
    done = llmbench("studio", "--host", "no.such.host.invalid", LLMBENCH_STUDIO_TOKEN="a-secret-of-the-team-0")  # noqa: S106
    assert (done.exit_code, "cannot listen on no.such.host.invalid" in done.output) == (3, True)


def test_a_folder_that_another_studio_has_is_told(tmp_path: Path) -> None:
    store = open_store(tmp_path / "reports/studio")
    try:
        done = llmbench("studio", "--port", "0")
    finally:
        store.close()
    assert done.exit_code == 2
    assert "is in use: another studio is open on it" in done.output


def test_a_wrong_setting_is_told_with_its_option() -> None:
    done = llmbench("studio", "--port", "99999")
    assert (done.exit_code, "--port: studio.port: 99999 is not valid" in done.output.replace('"', "")) == (2, True)
