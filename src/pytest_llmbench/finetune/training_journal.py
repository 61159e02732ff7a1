"""The course of a training as a file that other programs follow: a line of JSON for each step and each validation."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pytest_llmbench.core.journal import Journal
from pytest_llmbench.core.writable import finite
from pytest_llmbench.finetune.sft import Watch
from pytest_llmbench.finetune.training_log import Moment, Validation

_REMEDY = "free some space and resume, or give another file"


def journaled(watch: Watch, path: Path) -> Watch:
    """The watch that adds to the journal at `path` before it tells others; a resumed training goes on with its own.

    A line has `kind` (`step` or `evaluation`), `at` (ISO 8601) and the fields of `TrainingStep`, with `tokens_per_s`,
    `seconds_left` and `memory` (bytes), or of `Validation`. A number that is not finite is null.

    Raises:
        NotReadyError: the file cannot be written; also later, by the watch.
    """
    lines = Journal(path, _REMEDY, ("journal",))
    lines.take_over()  # a killed training may have left half a line

    def on_moment(moment: Moment) -> None:
        lines.append(_line("step", _step(moment)))
        watch.on_moment(moment)

    def on_validation(validation: Validation) -> None:
        lines.append(_line("evaluation", dataclasses.asdict(validation)))
        watch.on_validation(validation)

    return dataclasses.replace(watch, on_moment=on_moment, on_validation=on_validation)


def _step(moment: Moment) -> dict[str, Any]:
    others = {key: getattr(moment, key) for key in ("tokens_per_s", "seconds_left", "memory")}
    return {**dataclasses.asdict(moment.step), **others}


def _line(kind: Literal["step", "evaluation"], data: dict[str, Any]) -> dict[str, Any]:
    return {"kind": kind, "at": datetime.now(UTC).isoformat(), **finite(data)}
