"""A container's limit counts where it is smaller than the machine."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from pytest_llmbench.core import machine
from pytest_llmbench.core.machine import available_memory, total_memory

GIB = 2**30
V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
V2 = ("memory.max", "memory.current", "inactive_file")


@pytest.fixture(autouse=True)
def _host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of 64 GiB, half of them free."""
    memory = SimpleNamespace(total=64 * GIB, available=32 * GIB)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    monkeypatch.setattr(machine, "_GROUPS", tmp_path / "groups")
    monkeypatch.setattr(machine, "_MEMBERSHIP", tmp_path / "membership")


def group(folder: Path, most: int | str, used: int, files: int, names: tuple[str, str, str] = V2) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / names[0]).write_text(f"{most}\n")
    (folder / names[1]).write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon {used - files}\n{names[2]} {files}\n")


@pytest.mark.parametrize(
    ("membership", "place", "names"),
    [
        ("0::/", "", V2),
        ("0::/system.slice/docker-1.scope", "", V2),  # as the host sees it, which the container does not
        ("0::/user.slice/a", "user.slice", V2),  # of a group around it
        ("1:name=systemd:/\n4:cpu,memory:/docker/1\n0::/", "memory/docker/1", V1),
        ("4:memory:/docker/1", "memory", V1),
    ],
)
def test_a_containers_limit_counts_and_files_that_can_be_let_go_of_are_free(
    tmp_path: Path, membership: str, place: str, names: tuple[str, str, str]
) -> None:
    (tmp_path / "membership").write_text(f"{membership}\n")
    group(tmp_path / "groups" / place, 8 * GIB, 5 * GIB, 2 * GIB, names)
    assert total_memory() == 8 * GIB
    assert available_memory() == 5 * GIB


def test_without_a_limit_the_machine_counts(tmp_path: Path) -> None:
    assert (total_memory(), available_memory()) == (64 * GIB, 32 * GIB)
    (tmp_path / "membership").write_text("0::/a\n")
    group(tmp_path / "groups/a", "max", 5 * GIB, 2 * GIB)
    group(tmp_path / "groups", 100 * GIB, 5 * GIB, 0)
    assert (total_memory(), available_memory()) == (64 * GIB, 32 * GIB)


def test_the_smallest_of_nested_limits_counts(tmp_path: Path) -> None:
    (tmp_path / "membership").write_text("0::/pod/box\n")
    group(tmp_path / "groups/pod", 16 * GIB, 15 * GIB, 0)
    group(tmp_path / "groups/pod/box", 8 * GIB, 2 * GIB, 0)
    assert (total_memory(), available_memory()) == (8 * GIB, GIB)
