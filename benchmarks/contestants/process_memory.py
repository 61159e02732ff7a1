"""What this process holds in memory, as Linux tells it."""

from __future__ import annotations

import re
from pathlib import Path


def resident_bytes() -> int:
    """What is resident now."""
    return _status("VmRSS")


def peak_bytes() -> int:
    """The most that was ever resident, or since `forget_peak`."""
    return _status("VmHWM")


def forget_peak() -> None:
    """Let the peak start anew."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _status(field: str) -> int:
    found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
    assert found is not None
    return int(found[1]) * 1024
