"""Numbers and units of the report on a live server, in the reader's language, and the names of what it asks."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from pytest_llmbench.autotune.document import Promise, QuestionName, TrialEntry
from pytest_llmbench.core.locale import N_, NN_, UNSCORED, Words, checked_language
from pytest_llmbench.load.reasons import reason_text

QUESTIONS: tuple[QuestionName, ...] = ("users", "rate", "history", "max_tokens")
QUESTION_TITLES = {
    "users": N_("Users"),
    "rate": N_("Requests per second"),
    "history": N_("History"),
    "max_tokens": N_("Answer length"),
}
AXES = {
    "users": N_("users"),
    "rate": N_("requests per second"),
    "history": N_("messages of history"),
    "max_tokens": N_("tokens allowed an answer"),
}
VERDICTS = {
    "held": N_("held"),
    "broken": N_("broken"),
    "undecided": N_("undecided"),
    "invalid": N_("invalid"),
}
CAUSES = {
    "slots": N_("Queueing for slots"),
    "kv_cache": N_("Full KV cache"),
    "prefill": N_("Reading prompts"),
    "decode": N_("Shared decoding"),
    "alone": N_("Slow without load"),
    "length": N_("Length of the answers"),
    "stalls": N_("Stalls at any load"),
    "errors": N_("Errors"),
    "client": N_("The load generator"),
    "not_reached": N_("Limit not reached"),
    "unknown": N_("Not told by the measurements"),
}
_AMOUNTS = {
    "users": NN_("{count} user", "{count} users"),
    "rate": NN_("{count} request/s", "{count} requests/s"),
    "history": NN_("{count} message of history", "{count} messages of history"),
    "max_tokens": NN_("{count} token an answer", "{count} tokens an answer"),
}
_CIRCUMSTANCES = {
    "users": NN_("with {count} user", "with {count} users"),
    "rate": NN_("at {count} request/s", "at {count} requests/s"),
    "history": NN_("with {count} message of history", "with {count} messages of history"),
    "max_tokens": NN_("with answers of at most {count} token", "with answers of at most {count} tokens"),
}
_PROMISES = {
    ("total", False): N_("{share} of answers under {limit}"),
    ("first_token", False): N_("{share} of first tokens under {limit}"),
    ("total", True): N_("every answer under {limit}"),
    ("first_token", True): N_("every first token under {limit}"),
}
_FINE_BELOW_S = 0.0995
_WHOLE_FROM = 100


@dataclasses.dataclass(frozen=True, slots=True)
class ServingWords(Words):
    """The words of all reports, with the units of this one."""

    def plain(self, value: float, digits: int = 2) -> str:
        """A number with at most so many decimals."""
        text = f"{value:,.{digits}f}"
        return self.marked(text.rstrip("0").rstrip(".") if "." in text else text)

    def seconds(self, value: float | None) -> str:
        """A time with its unit: milliseconds while they are few."""
        if value is None:
            return UNSCORED
        if abs(value) < _FINE_BELOW_S:
            return self(N_("{value} ms"), value=self.plain(value * 1000, 1 if value < 0.01 else 0))  # noqa: PLR2004  # 10 ms
        text = f"{value:,.0f}" if abs(value) >= _WHOLE_FROM else f"{value:.2f}" if abs(value) < 1 else f"{value:.1f}"
        return self(N_("{value} s"), value=self.marked(text))

    def limit(self, seconds: float) -> str:
        """The promised time, as it was set, with at least one decimal."""
        text = f"{seconds:.1f}" if round(seconds, 1) == seconds else f"{seconds:g}"
        return self(N_("{value} s"), value=self.marked(text))

    def share(self, value: float) -> str:
        """A share of one in percent, with a decimal only near its ends."""
        digits = 0 if 0.01 <= value <= 0.99 or value in (0, 1) else 1  # noqa: PLR2004  # 1 and 99 %
        return self(N_("{value} %"), value=self.marked(f"{value * 100:.{digits}f}"))

    def wanted(self, value: float) -> str:
        """The promised share, as it was set."""
        return self(N_("{value} %"), value=self.plain(value * 100, 3))

    def amount(self, question: str, level: float, *, more: bool = False) -> str:
        """A level with its unit: `8 users`, or `8+ users` where it may be more."""
        return self.plural(*_AMOUNTS[question], level, count=self.plain(level) + ("+" if more else ""))

    def at(self, question: str, level: float) -> str:
        """The circumstance of a level: `with 8 users`."""
        return self.plural(*_CIRCUMSTANCES[question], level, count=self.plain(level))

    def between(self, question: str, levels: Sequence[float]) -> str:
        """The circumstance of several levels: `with 8 to 12 users`."""
        low, high = min(levels), max(levels)
        if low == high:
            return self.at(question, low)
        span = self(N_("{low} to {high}"), low=self.plain(low), high=self.plain(high))
        return self.plural(*_CIRCUMSTANCES[question], 2, count=span)

    def requests(self, count: int) -> str:
        """`1 request`, `3 requests`."""
        return self.plural("{count} request", "{count} requests", count, count=self.count(count))

    def trials(self, count: int) -> str:
        """`1 trial`, `3 trials`."""
        return self.plural("{count} trial", "{count} trials", count, count=self.count(count))

    def cause(self, name: str) -> str:
        """The short name of a cause."""
        return self(CAUSES[name])


def serving_words(language: str) -> ServingWords:
    """The words in `en` or `fr`. Raises UsageError for another language."""
    return ServingWords(checked_language(language))


def slo_text(slo: Promise, say: ServingWords) -> str:
    """What is promised: `95 % of answers under 3.0 s`."""
    sentence = _PROMISES[slo.latency, slo.is_strict]
    return say(sentence, share=say.wanted(slo.quantile), limit=say.limit(slo.limit_s))


def trial_reason(trial: TrialEntry, say: Words) -> str:
    """Why a trial came to its verdict, in the reader's language; as it was written if it has no code."""
    return reason_text(trial.code, trial.values, say) if trial.code else trial.reason
