"""Checkpoints that are whole or not there, and the newest of them."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

from pytest_llmbench.errors import NotReadyError

_SIZES = "llmbench_checkpoint.json"
_PREFIX = "checkpoint-"


@contextlib.contextmanager
def whole_checkpoint(folder: Path) -> Iterator[None]:
    """What the block writes to `folder` counts as a checkpoint once the block has ended well; else it is removed.

    The sizes of its files are written last: a folder without them was cut short.

    Raises:
        NotReadyError: it could not be written; earlier checkpoints are untouched.
    """
    import safetensors

    try:
        yield
        (folder / _SIZES).write_text(json.dumps(_sizes(folder)), encoding="utf-8")
    except (OSError, RuntimeError, safetensors.SafetensorError) as error:  # PyTorch raises the second on a full disk
        shutil.rmtree(folder, ignore_errors=True)
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error).partition("\n")[0]
        earlier = newest_checkpoint(folder.parent)
        kept = (
            f"; {earlier.name} is intact: free some space and go on with --resume" if earlier else "; free some space"
        )
        raise NotReadyError(f"cannot write the checkpoint {folder}: {reason}{kept}") from error


def newest_checkpoint(folder: Path) -> Path | None:
    """The checkpoint of the most steps that is whole, or None."""
    found = [
        path for path in folder.glob(f"{_PREFIX}*") if path.name.removeprefix(_PREFIX).isdigit() and _is_whole(path)
    ]
    return max(found, key=step_of, default=None)


def step_of(checkpoint: Path) -> int:
    """The steps that were done when it was written."""
    return int(checkpoint.name.removeprefix(_PREFIX))


def _is_whole(folder: Path) -> bool:
    try:
        recorded = json.loads((folder / _SIZES).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return bool(recorded) and recorded == _sizes(folder)


def _sizes(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in sorted(folder.iterdir()) if path.name != _SIZES}
