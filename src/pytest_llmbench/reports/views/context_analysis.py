"""What follows from the probes of a context run, as blocks: the law of time, what is still found, what was refused."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from pytest_llmbench.core.locale import UNSCORED
from pytest_llmbench.reports.blocks import Block, Cell, Column, Fact, Facts, Quote, Sentences, Table
from pytest_llmbench.reports.context_words import KIND_TITLES, REFUSALS, estimate
from pytest_llmbench.reports.serving.words import ServingWords

if TYPE_CHECKING:
    from pytest_llmbench.runs.context_document import (
        AccuracyDocument,
        AnalysisDocument,
        ContextTarget,
        LawDocument,
        ProbeDocument,
    )

_THOUSAND = 1000


def time_blocks(analysis: AnalysisDocument, target: ContextTarget, say: ServingWords) -> Iterator[Block]:
    """The law of the time to the first token in words and numbers, and the times by length."""
    if analysis.law is None:
        yield Sentences([say("Too few prompts were timed for a law of the time to the first token.")], listed=False)
    else:
        yield Sentences(list(_law(analysis.law, say)), listed=False)
        yield Facts(_parts(analysis.law, say))
    columns = [
        Column(say("Prompt tokens")),
        Column(say("Prompts")),
        Column(say("First token, median")),
        Column(say("{share} of them within", share=say.wanted(target.promise.quantile))),
        Column(say("Prompt tokens read/s")),
        Column(say("Tokens written/s")),
    ]
    rows: list[list[Cell]] = [
        [
            say.count(one.length),
            say.count(one.probes),
            say.seconds(one.first_token_s),
            say.seconds(one.first_token_high_s),
            say.count(round(one.prefill_tokens_per_s)),
            UNSCORED if one.decode_tokens_per_s is None else say.plain(one.decode_tokens_per_s, 1),
        ]
        for one in analysis.times
    ]
    yield Table(columns, rows)


def _law(law: LawDocument, say: ServingWords) -> Iterator[str]:
    half, longest = law.longest / 2, law.longest
    times = say.plain(law.seconds(longest) / law.seconds(half), 1)
    yield say(
        "Twice as long a prompt, {longest} tokens instead of {half}, takes {times} times as long to its first token.",
        half=say.count(round(half)),
        longest=say.count(longest),
        times=times,
    )
    if law.step_tokens:
        yield say(
            "Time grows by steps: prompts are read in pieces of {step} tokens, and a piece costs the same when it is "
            "not full.",
            step=say.count(law.step_tokens),
        )
    if law.knee is not None and law.knee.value <= law.longest:
        ends = {"low": say.count(round(law.knee.low)), "high": say.count(round(law.knee.high))}
        knee = say.count(round(law.knee.value))
        yield say(
            "The knee is at {knee} tokens ({low} to {high}): beyond it the part that grows with the square of the "
            "length costs more than the part that grows with the length.",
            knee=knee,
            **ends,
        )
    elif law.per_token_squared_s.low <= 0:
        yield say("Up to {longest} tokens no part is shown that grows with their square.", longest=say.count(longest))
    else:
        yield say("There is no knee among these lengths: one part costs more at all of them.")


def _parts(law: LawDocument, say: ServingWords) -> list[Fact]:
    """The law's parts, in units that people can imagine."""
    exponent = UNSCORED
    if law.exponent is not None:
        ends = {end: say.plain(getattr(law.exponent, end)) for end in ("value", "low", "high")}
        exponent = say("{value} ({low} to {high})", **ends)
    return [
        (say("Constant"), estimate(law.constant_s, say)),
        (say("For each 1,000 tokens"), estimate(law.per_token_s, say, _THOUSAND)),
        (say("For the square of each 1,000 tokens"), estimate(law.per_token_squared_s, say, _THOUSAND**2)),
        (say("Exponent, without the constant"), exponent),
        (say("Typical deviation from the law"), say.share(law.spread)),
        (say("Prompts that were timed"), say.count(law.probes)),
    ]


def fact_blocks(analysis: AnalysisDocument, say: ServingWords) -> Iterator[Block]:
    """The share of facts found at each length: of all, by depth, and by kind of question."""
    if not analysis.by_length:
        yield Sentences([say("No question with a right answer was asked.")], listed=False)
        return
    depths = sorted({one.depth for one in analysis.by_depth if one.depth is not None})
    columns = [
        Column(say("Prompt tokens")),
        Column(say("Facts found")),
        Column(say("95 % interval")),
        *(Column(say("depth {share}", share=say.share(depth))) for depth in depths),
    ]
    by_depth = {(one.length, one.depth): one for one in analysis.by_depth}
    rows: list[list[Cell]] = [
        [
            say.count(one.length),
            _counted(one, say),
            say("{low} to {high}", low=say.share(one.share.low), high=say.share(one.share.high)),
            *(_counted(by_depth.get((one.length, depth)), say) for depth in depths),
        ]
        for one in analysis.by_length
    ]
    yield Table(columns, rows)
    yield _by_kind(analysis, say)
    yield Sentences(
        [
            say(
                "Found of asked, in text that was written for this test. A depth of 0 % is the beginning of the "
                "prompt. Intervals are exact (Clopper-Pearson), facts of one prompt counted as alike."
            )
        ],
        listed=False,
    )


def _by_kind(analysis: AnalysisDocument, say: ServingWords) -> Table:
    """One fact, several, and one among look-alikes: the harder kinds are missed first."""
    kinds = [kind for kind in KIND_TITLES if any(one.kind == kind for one in analysis.by_kind)]
    found = {(one.length, one.kind): one for one in analysis.by_kind}
    lengths = sorted({one.length for one in analysis.by_kind})
    columns = [Column(say("Prompt tokens")), *(Column(say(KIND_TITLES[kind])) for kind in kinds)]
    return Table(
        columns,
        [[say.count(length), *(_counted(found.get((length, kind)), say) for kind in kinds)] for length in lengths],
    )


def _counted(one: AccuracyDocument | None, say: ServingWords) -> str:
    return UNSCORED if one is None else f"{say.share(one.share.value)} ({one.found}/{one.facts})"


def refusals_table(probes: Sequence[ProbeDocument], say: ServingWords) -> Table | None:
    """The shortest prompt of each kind of refusal, in the server's own words."""
    shortest: dict[str, ProbeDocument] = {}
    for probe in probes:
        if probe.refusal is not None:
            known = shortest.setdefault(probe.refusal.code, probe)
            if probe.length < known.length:
                shortest[probe.refusal.code] = probe
    if not shortest:
        return None
    columns = [
        Column(say("Prompt tokens")),
        Column(say("Why"), left=True),
        Column("HTTP"),
        Column(say("In the server's words"), left=True),
    ]
    rows: list[list[Cell]] = [
        [
            say.count(probe.length),
            say(REFUSALS[probe.refusal.code]),
            UNSCORED if probe.refusal.status is None else str(probe.refusal.status),
            Quote(probe.refusal.text),
        ]
        for probe in shortest.values()
        if probe.refusal is not None
    ]
    return Table(columns, rows)
