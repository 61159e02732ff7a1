"""Where an evaluation keeps its answers until it is whole: one evaluation a report folder at a time."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from pytest_llmbench.core.files import locked
from pytest_llmbench.generation.completion_store import JOURNAL

_FOLDER = ".evaluation"


@contextlib.contextmanager
def answers_folder(report_dir: Path, *, resume: bool) -> Iterator[Path]:
    """A folder for the journal, kept from other evaluations while the block runs.

    It goes when the block ends well; else it stays for a later `resume`, if an answer is in it.

    Raises:
        UsageError: another evaluation is under way there.
        NotReadyError: the folder cannot be written.
    """
    folder = report_dir / _FOLDER
    journal = folder / JOURNAL
    in_use = f"{report_dir} is in use: another evaluation is writing there; wait for it, or choose another folder"
    with locked(folder / ".lock", in_use=in_use, names=("output.report_dir",)):
        try:
            if not resume:
                journal.unlink(missing_ok=True)
            yield folder
            journal.unlink(missing_ok=True)
        finally:
            if not journal.exists():
                shutil.rmtree(folder, ignore_errors=True)
