"""How long a run's answers took and how they ended, and where its time went.

An answer that shared a batch has no latency of its own: it is its batch's. There a variant's whole pass is shown, or
that of all variants where they were asked together.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
from array import array

from pytest_llmbench.core.locale import N_, UNSCORED, Words
from pytest_llmbench.reports.blocks import Block, Cell, Column, Depth, Facts, Name, Number, Section, Sentences, Table
from pytest_llmbench.reports.phases import phases
from pytest_llmbench.runs.averages import mean
from pytest_llmbench.runs.typed import AnswerTimes, CompletionDocument, RunDocument

_OF_THE_PASS = N_(
    "Answers shared batches, so that none has a time of its own: shown is each variant's whole pass. Of several "
    "processes it has the seconds of the slowest."
)
_OF_NO_PASS = N_(
    "Answers shared batches, so that none has a time of its own; this run did not record each variant's pass."
)
_OF_ALL = N_(
    "Answers shared batches, so that none has a time of its own, and all variants were asked together, so that no pass "
    "is one variant's alone: {tokens} tokens of all of them took {seconds} s, {rate} a second."
)
_OF_EACH = N_("Latency runs from the start of an answer's batch to its last token; cached answers keep their own.")

_ALONE = (N_("Median (s)"), N_("95% (s)"), N_("Slowest (s)"), N_("Tokens/s"))
"""Titles of what is known of answers that were asked one by one, or of a server."""
_BATCHED = (N_("Pass (s)"), N_("Tokens/s of the pass"), N_("Answers at once"))
"""Titles of what is known of answers that shared batches."""


def timing(run: RunDocument, say: Words) -> Section:
    """A row a variant, then the phases of the run."""
    titles = answer_titles(run, say)
    rows = [[Name(variant), *cells] for variant, cells in answer_rows(run)]
    table = Table([Column(say("Variant"), left=True), *map(Column, titles)], rows)
    spent = [(name, Number(seconds)) for name, seconds in phases(run, say)]
    blocks: list[Block] = [
        Sentences(_effort(run, say), listed=False, depth=Depth.BRIEF, until=Depth.BRIEF),
        table,
        Sentences([timing_note(run, say)], listed=False),
        Facts(spent),
    ]
    return Section("timing", say("Timing"), blocks, folded=True)


def answer_titles(run: RunDocument, say: Words) -> list[str]:
    """The titles above `answer_rows`."""
    times = map(say, _BATCHED if run.largest_batch > 1 else _ALONE)
    ended = (say("Tokens"), say("At limit"), say("Timeouts"), say("Errors"))
    return [say("Answers"), say("Cached"), *times, *ended]


def answer_rows(run: RunDocument) -> list[tuple[str, list[Cell]]]:
    """Each variant with how many answers it gave, how long they took and how they ended."""
    given = run.once("times", lambda: _times(run))
    batched = run.largest_batch > 1
    return [
        (variant, _row(variant, counts, given[variant], run, batched=batched))
        for variant, counts in run.statistics.answers.items()
    ]


@dataclasses.dataclass(slots=True)
class _Times:
    """What is known of a variant's answers one by one: seconds, tokens a second, and how many shared their batches."""

    latencies: array[float] = dataclasses.field(default_factory=lambda: array("d"))
    speeds: array[float] = dataclasses.field(default_factory=lambda: array("d"))
    batch_sizes: set[int] = dataclasses.field(default_factory=set)

    def add(self, answer: CompletionDocument) -> None:
        if answer.latency_s is not None:
            self.latencies.append(answer.latency_s)
        if answer.tokens_per_s is not None:
            self.speeds.append(answer.tokens_per_s)
        self.batch_sizes.add(answer.batch_size)


def _times(run: RunDocument) -> dict[str, _Times]:
    found = {variant: _Times() for variant in run.statistics.answers}
    for result in run.results:
        for variant, answer in result.completions.items():
            found.setdefault(variant, _Times()).add(answer)
    return found


def timing_note(run: RunDocument, say: Words) -> str:
    """What the times are of."""
    if run.largest_batch <= 1:
        return say(_OF_EACH)
    if (shared := run.metadata.shared_pass) and shared.seconds:
        seconds, rate = say.tenths(shared.seconds), say.tenths(shared.tokens / shared.seconds)
        return say(_OF_ALL, tokens=shared.tokens, seconds=seconds, rate=rate)
    return say(_OF_THE_PASS if run.metadata.passes else _OF_NO_PASS)


def _row(variant: str, counts: AnswerTimes, answers: _Times, run: RunDocument, *, batched: bool) -> list[Cell]:
    times = _of_the_pass(variant, answers, run) if batched else _of_each(answers)
    ended = (counts.completion_tokens, counts.length, counts.timeout, counts.error)
    return [Number(counts.total), Number(counts.cached), *times, *map(Number, ended)]


def _of_each(answers: _Times) -> list[Cell]:
    latencies, speed = sorted(answers.latencies), Number(mean(answers.speeds))
    if not latencies:
        return [Number(None), Number(None), Number(None), speed]
    return [
        Number(statistics.median(latencies)),
        Number(latencies[math.ceil(0.95 * len(latencies)) - 1]),
        Number(latencies[-1]),
        speed,
    ]


def _of_the_pass(variant: str, answers: _Times, run: RunDocument) -> list[Cell]:
    """Older runs tell the batches alone."""
    sizes = sorted(answers.batch_sizes)
    batches = UNSCORED if not sizes else "-".join(dict.fromkeys(map(str, (sizes[0], sizes[-1]))))
    passed = run.metadata.passes.get(variant)
    if passed is None or not passed.seconds:
        return [Number(None), Number(None), batches]
    return [Number(float(passed.seconds)), Number(passed.tokens / passed.seconds), batches]


def _effort(run: RunDocument, say: Words) -> list[str]:
    """Answers, seconds, tokens a second and cache hits; speed counts only what was generated in this session."""
    answers, timings = run.statistics.answers.values(), run.metadata.timings
    seconds, generating = timings.get("total_s"), timings.get("generation_s")
    shared = run.metadata.shared_pass
    tokens = shared.tokens if shared else sum(one.tokens for one in run.metadata.passes.values())
    if not shared and "passes" not in run.metadata.recorded:  # an older run, taken for one that was not resumed
        tokens = sum(one.generated_tokens for one in answers)
    total = sum(one.total for one in answers)
    given = say.plural("{count} answer", "{count} answers", total)
    parts = [say("{answers} in {seconds} s", answers=given, seconds=say.tenths(seconds)) if seconds else given]
    if tokens and generating:
        parts.append(say("{value} tokens/s", value=say.tenths(tokens / generating)))
    parts.append(say("{count} from the cache", count=sum(one.cached for one in answers)))
    return [", ".join(parts)]
