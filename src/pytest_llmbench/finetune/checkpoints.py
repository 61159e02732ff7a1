"""Checkpoints that are whole or not there, and the newest of them."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import re
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_llmbench.core.errors import NotReadyError, UsageError
from pytest_llmbench.core.files import fitting, write_text

_STATE = "llmbench_checkpoint.json"
_PREFIX = "checkpoint-"
FITTED = "fitted.json"
"""Beside the checkpoints of a training whose batch had to be halved."""
# what tokenizers and safetensors (Rust) and PyTorch's writer of zip files say
_FULL = re.compile(
    r"No space left on device|Disk quota exceeded|os error (28|122)\b|inline_container\.cc.*unexpected pos"
)
_NOTHING = 2**20  # bytes


@contextlib.contextmanager
def whole_checkpoint(folder: Path) -> Iterator[None]:
    """What the block writes to `folder` counts as a checkpoint once the block has ended well; else it is removed.

    The sizes of its files are written last: a folder without them was cut short.

    Raises:
        NotReadyError: it could not be written; earlier checkpoints are untouched.
    """
    try:
        yield
        _write_state(folder, ())
    except Exception as error:  # tokenizers raises nothing narrower on a full disk
        reason = why_not_written(error, folder.parent)
        if reason is None:
            raise
        earlier = newest_checkpoint(folder.parent)
        remedy = fitting("free some space", error)
        kept = f"; {earlier.name} is whole: {remedy} and resume from it" if earlier else f"; {remedy}"
        names = ("resume",) if earlier else ()
        raise NotReadyError(f"cannot write the checkpoint {folder}: {reason}{kept}", names=names) from error
    finally:
        if not _is_whole(folder):
            shutil.rmtree(folder, ignore_errors=True)


def why_not_written(error: Exception, folder: Path) -> str | None:
    """What kept a file from being written into `folder`; None when the error is of another kind."""
    import safetensors

    known = isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}
    if known or _FULL.search(str(error)) or shutil.disk_usage(folder).free < _NOTHING:
        return "the disk is full"
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return str(error).partition("\n")[0] if isinstance(error, safetensors.SafetensorError) else None


def note_sessions(checkpoint: Path, sessions: Sequence[TrainingSession]) -> None:
    """Write down in a checkpoint what the training took until then. Raises NotReadyError when the disk refuses."""
    _write_state(checkpoint, sessions)


def sessions_of(checkpoint: Path) -> tuple[TrainingSession, ...]:
    """The sessions that led to a whole checkpoint."""
    return tuple(TrainingSession(**session) for session in _state(checkpoint).get("sessions", ()))


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
    recorded = _state(folder).get("sizes")
    return bool(recorded) and recorded == _sizes(folder)


def _write_state(folder: Path, sessions: Sequence[TrainingSession]) -> None:
    state = {"sizes": _sizes(folder), "sessions": [dataclasses.asdict(session) for session in sessions]}
    write_text(folder / _STATE, json.dumps(state))


def _state(folder: Path) -> dict[str, Any]:
    try:
        state = json.loads((folder / _STATE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return state if isinstance(state, dict) else {}


def _sizes(folder: Path) -> dict[str, int]:
    """Of all files but its own state, and what was to become that."""
    return {path.name: path.stat().st_size for path in sorted(folder.iterdir()) if _STATE not in path.name}


@dataclasses.dataclass(frozen=True, slots=True)
class TrainingSession:
    """What one session did. `tokens` counts all that were seen, prompts too; `seconds` are those of training alone."""

    from_step: int
    to_step: int
    seconds: float
    samples: int
    tokens: int


class SessionTally:
    """The earlier sessions, as the checkpoint has them, and the one under way. `rows` is the size of the dataset."""

    def __init__(self, earlier: Sequence[TrainingSession], rows: int) -> None:
        self._earlier, self._rows = tuple(earlier), rows
        self.begin(0)

    def begin(self, step: int) -> None:
        """The session begins now, after so many steps of earlier ones."""
        self._started, self.first_step, self.tokens = time.monotonic(), step, 0

    def leave_out(self, seconds: float) -> None:
        """So much of the session was no training, such as a look at validation rows."""
        self._started += seconds

    @property
    def seconds(self) -> float:
        """Since this session began, without what was left out."""
        return time.monotonic() - self._started

    @property
    def earlier_tokens(self) -> int:
        """What the earlier sessions saw."""
        return sum(session.tokens for session in self._earlier)

    def sessions(self, state: Any) -> tuple[TrainingSession, ...]:
        """All of them up to now; `state` is the trainer's."""
        passes: float = (state.epoch or 0.0) * self._rows
        share: float = 1 - self.first_step / max(1, state.global_step)
        now = TrainingSession(
            self.first_step, state.global_step, round(self.seconds, 3), round(passes * share), self.tokens
        )
        return (*self._earlier, now)


def keep_fitted(folder: Path, fitted: Mapping[str, int]) -> None:
    """Write down with which batch a training fits into memory: who goes on with it must take the same steps.

    Raises:
        NotReadyError: the disk is full.
    """
    write_text(folder / FITTED, json.dumps(fitted))


def fitted_before(folder: Path) -> dict[str, int]:
    """What `keep_fitted` wrote of the training in this folder; nothing where all fitted as it was asked for.

    Raises:
        UsageError: it is damaged.
    """
    path = folder / FITTED
    try:
        return {str(key): int(value) for key, value in json.loads(path.read_text(encoding="utf-8")).items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise UsageError(f"{path} is damaged; overwrite the training, to start anew", names=("overwrite",)) from error
