"""The sessions that a training took: it may be stopped and gone on with."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from typing import Any


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
