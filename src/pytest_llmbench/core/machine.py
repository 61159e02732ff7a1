"""What of this machine's memory and cores this process may use, which in a container is less than there is."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_GROUPS = Path("/sys/fs/cgroup")
_MEMBERSHIP = Path("/proc/self/cgroup")
_PROCESSORS = Path("/proc/cpuinfo")


def usable_cores() -> int:
    """The processors that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def has_bfloat16() -> bool:
    """Whether the processor has instructions for bfloat16 (AVX512-BF16), without which trainings compute in float32."""
    try:
        return "avx512_bf16" in _PROCESSORS.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False


def total_memory() -> int:
    """Bytes that this process and its neighbours of one container can have at most."""
    import psutil

    return min([int(psutil.virtual_memory().total), *(limit.most for limit in _limits())])


def available_memory() -> int:
    """Bytes that this process can have before the kernel kills it."""
    import psutil

    return min([int(psutil.virtual_memory().available), *(limit.most - limit.used for limit in _limits())])


class _Limit(NamedTuple):
    """Bytes that a control group may have, and has; of what it has, files that the kernel lets go of do not count."""

    most: int
    used: int


class _Files(NamedTuple):
    """The names of one version of control groups, and where its groups lie."""

    root: str
    most: str
    used: str
    reclaimable: str


_V1 = _Files("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
_V2 = _Files("", "memory.max", "memory.current", "inactive_file")


def _limits() -> Iterator[_Limit]:
    """The limit of this process's control group and of those around it; none where nobody set one, or off Linux."""
    for names, group in _own_groups():
        root = _GROUPS / names.root
        for folder in (root / group, *(root / group).parents):
            if folder.is_relative_to(root) and (limit := _limit(folder, names)):
                yield limit


def _own_groups() -> Iterator[tuple[_Files, str]]:
    """Where the process belongs, as seen from the host: in a container most of these folders are not there."""
    try:
        lines = _MEMBERSHIP.read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        number, controllers, group = line.split(":", 2)
        if number == "0":
            yield _V2, group.strip("/")
        elif "memory" in controllers.split(","):
            yield _V1, group.strip("/")


def _limit(folder: Path, names: _Files) -> _Limit | None:
    try:
        most, used = ((folder / name).read_text(encoding="ascii").strip() for name in (names.most, names.used))
        stat = dict(line.split() for line in (folder / "memory.stat").read_text(encoding="ascii").splitlines())
    except OSError:
        return None
    return _Limit(int(most), int(used) - int(stat.get(names.reclaimable, 0))) if most.isdecimal() else None
