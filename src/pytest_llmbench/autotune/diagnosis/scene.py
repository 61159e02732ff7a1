"""What was measured around a limit: the lowest level, the trials just above, and what the server showed of itself."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pytest_llmbench.autotune.diagnosis.phases import Line, Phases, late, line_of, phases
from pytest_llmbench.autotune.document import Asked, Finding, LimitEvidence, TrialEntry

_MOST = 0.5
_INTERRUPTED = 4.0  # times the median gap: a pause, not a token's time


@dataclass(frozen=True, slots=True)
class Scene:
    """The lowest level, the trials just above the limit, and what the server showed of itself there."""

    low: Phases
    high: Phases
    late: Sequence[Asked]
    bad: int
    errors: Mapping[str, int]
    line: Line | None
    gauges: Mapping[str, float]
    prompt_tokens: float | None

    @classmethod
    def of(cls, finding: Finding, trials: Sequence[TrialEntry], above: Sequence[TrialEntry]) -> Scene:
        """Put together what is asked of them."""
        first_level = [trial for trial in trials if trial.level == trials[0].level]
        low = phases(first_level)
        return cls(
            low=low,
            high=phases(above),
            late=late(above, finding),
            bad=sum(trial.total - trial.good for trial in above),
            errors=sum((Counter(trial.errors) for trial in above), Counter[str]()),
            line=line_of(above, low.first_s) if low.first_s is not None else None,
            gauges=_gauges(above),
            prompt_tokens=next((trial.prompt_tokens for trial in above if trial.prompt_tokens), None),
        )

    @property
    def failed(self) -> int:
        """Answers above the limit that were errors."""
        return sum(self.errors.values())

    @property
    def reading_share(self) -> float | None:
        """The share of the time that reading the prompts one by one takes at this rate of requests."""
        return None if self.low.first_s is None else self.high.rate * self.low.first_s

    @property
    def slower(self) -> float:
        """How many times slower tokens come than at the lowest level, apart from pauses."""
        if self.low.gap_s and self.high.gap_s:
            return self.high.gap_s / self.low.gap_s
        if self.low.token_s and self.high.token_s:
            return self.high.token_s / self.low.token_s
        return 1.0

    @property
    def interrupted(self) -> bool:
        """Tokens pause in mid-answer for about as long as a prompt takes, as they do not at rest."""
        if not (self.high.gap_s and self.high.gap_tail_s and self.low.gap_tail_s and self.low.first_s):
            return False
        pause = self.high.gap_tail_s - self.high.gap_s
        return (
            self.high.gap_tail_s > max(_INTERRUPTED * self.high.gap_s, 2 * self.low.gap_tail_s)
            and pause > _MOST * self.low.first_s
        )

    def evidence(self) -> LimitEvidence:
        """All of it by name, for the sentences and for programs."""
        error = max(self.errors, key=self.errors.__getitem__, default=None)
        measured = {
            "low_level": self.low.levels[0],
            "levels": list(self.high.levels),
            "answers": self.high.answers,
            "late": len(self.late),
            "bad": self.bad,
            "failed": self.failed,
            "error": error,
            "error_count": self.errors[error] if error else None,
            "latency_low_s": self.low.latency_s,
            "latency_s": self.high.latency_s,
            "first_token_low_s": self.low.first_s,
            "first_token_s": self.high.first_s,
            "late_first_token_s": statistics.median(row.wait_s for row in self.late) if self.late else None,
            "token_low_s": self.low.token_s,
            "token_s": self.high.token_s,
            "gap_low_s": self.low.gap_s,
            "gap_s": self.high.gap_s,
            "gap_p99_s": self.high.gap_tail_s,
            "tokens": self.low.tokens,
            "prompt_tokens": self.prompt_tokens,
            "requests_per_s": self.high.rate,
            "reading_share": self.reading_share,
            "slots": self._slots(),
            "waiting": self.line.waiting if self.line else None,
            **self.gauges,
        }
        return LimitEvidence.model_validate({name: value for name, value in measured.items() if value is not None})

    def _slots(self) -> int | None:
        """As the server says it while requests wait, else as the line shows it."""
        if self.gauges.get("waiting_max") and self.gauges.get("running_max"):
            return int(self.gauges["running_max"])
        return self.line.slots if self.line and self.line.steady else None


def _gauges(trials: Sequence[TrialEntry]) -> dict[str, float]:
    shown = [trial.server for trial in trials if trial.server]
    names = ("running_max", "waiting_max", "kv_cache_max")
    known = {name: [value for one in shown if (value := getattr(one, name)) is not None] for name in names}
    return {name: max(values) for name, values in known.items() if values}
