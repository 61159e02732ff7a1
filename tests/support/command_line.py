"""Commands as they are typed."""

from __future__ import annotations

import os
from pathlib import Path

from typer.testing import CliRunner, Result

from pytest_llmbench.cli import app


def llmbench(*words: str | Path, **environment: str) -> Result:
    """Run one command in the current folder. Of the caller's own `LLMBENCH_*` variables, it sees none."""
    hidden = dict.fromkeys(name for name in os.environ if name.startswith("LLMBENCH_"))
    return CliRunner().invoke(app, [str(word) for word in words], prog_name="llmbench", env={**hidden, **environment})
