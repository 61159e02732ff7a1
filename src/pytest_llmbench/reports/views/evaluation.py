"""An evaluation as sections: scores, differences with their verdicts, forgetting, answers side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from rich.cells import cell_len

from pytest_llmbench.benchmark.evaluation.document import (
    ComparisonDocument,
    Evaluation,
    EvaluationResult,
    PerplexityDocument,
)
from pytest_llmbench.core.locale import Words, words
from pytest_llmbench.reports.blocks import (
    Block,
    Case,
    Cases,
    Cell,
    Chart,
    Column,
    Delta,
    Depth,
    Fact,
    Interval,
    Name,
    Number,
    Outcome,
    Quote,
    Report,
    Section,
    Sentences,
    Table,
    Verdicts,
)
from pytest_llmbench.reports.cautions import LEARNT_QUESTIONS, answer_cautions
from pytest_llmbench.reports.limits import ROOM, SIDE_BY_SIDE

LESS_IS_BETTER = " ↓"
_CUT = ("length", "timeout", "error")
_OUTCOMES: Mapping[str, Verdicts] = {"better": "pass", "worse": "fail", "no difference shown": "inconclusive"}


def evaluation_report(
    found: Evaluation,
    language: str,
    *,
    draw: Callable[[Path], object] | None = None,
    figure: str | None = None,
) -> Report:
    """An evaluation's document. `draw` writes its figure, which stands beside the report as the file `figure`.

    Raises:
        UsageError: the language is unknown.
    """
    say = words(language)
    title = say("Evaluation on {test_set}", test_set=found.metadata.test_set)
    return Report(title, language, list(_sections(found, say, draw, figure)))


def _sections(
    found: Evaluation,
    say: Words,
    draw: Callable[[Path], object] | None,
    figure: str | None,
) -> Iterator[Section]:
    yield Section("asked", "", [Sentences(_asked(found, say), listed=False)])
    warned = [
        *answer_cautions(found.metadata.backend, found.answers, say, LEARNT_QUESTIONS),
        *_remarks(found, say),
    ]
    yield Section(
        "scores",
        say("Scores (means over the questions; ↓ less is better)"),
        [_scores(found, say), Sentences(warned, listed=False)],
    )
    if found.comparisons:
        chart = [Chart(say("better by"), draw, figure)] if draw else []
        blocks = [
            Sentences([say("A positive number is better in every metric.")], listed=False),
            _comparisons(found, say),
            *chart,
        ]
        yield Section(
            "comparisons",
            say(
                "Differences, question by question (95 % interval; verdicts at {alpha} over all of them, Holm)",
                alpha=say.tick(found.metadata.alpha),
            ),
            blocks,
        )
    if found.forgetting is not None:
        yield Section("forgetting", say("Forgetting: general knowledge before and after"), _forgetting(found, say))
    shown = [_case(one, say) for one in side_by_side(found)]
    yield Section("answers", say("Answers side by side"), [Cases(shown)])


def _asked(found: Evaluation, say: Words) -> list[str]:
    """What was asked, and of whom."""
    about, backend = found.metadata, found.metadata.backend
    adapters = ", ".join(backend.fine_tunes)
    lines = [
        say(
            "{questions} questions; base {base}, {adapters}; {quantization}",
            questions=about.questions,
            base=backend.base_model or backend.url,
            adapters=say("fine-tuned: {paths}", paths=adapters) if adapters else say("no adapter"),
            quantization=backend.quantization or backend.backend,
        )
    ]
    if about.chunks:
        lines.append(
            say(
                "retrieval: {method} over {chunks}, {passages} passages a question",
                passages=about.passages,
                method=about.retrieval,
                chunks=about.chunks,
            )
        )
    return lines


def _scores(found: Evaluation, say: Words) -> Table:
    """A metric a row, a variant a column."""
    scored = [name for name in found.metrics if any(name in found.scores.get(one, {}) for one in found.variants)]
    rows: list[list[Cell]] = [
        [_label(found, name, say), *(Number(found.mean(variant, name)) for variant in found.variants)]
        for name in scored
    ]
    return Table([Column(say("metric"), left=True), *(Column("", variant) for variant in found.variants)], rows)


def _label(found: Evaluation, metric: str, say: Words) -> str:
    return say.metric(metric) + ("" if found.metrics[metric].higher_is_better else LESS_IS_BETTER)


def _comparisons(found: Evaluation, say: Words) -> Table:
    """Every comparison, wherever it is read: leaving some out would be a choice of results."""
    columns = [
        Column(say("compared"), left=True),
        Column(say("metric"), left=True),
        Column(say("better by")),
        Column(say("95 % interval")),
        Column(say("verdict"), left=True),
    ]
    return Table(columns, [_comparison(one, say) for one in found.comparisons])


def _comparison(one: ComparisonDocument, say: Words) -> list[Cell]:
    word = (
        say("no difference shown; some {count} questions would tell", count=one.needed_cases)
        if one.needed_cases
        else _word(one.outcome, say)
    )
    return [
        Name(f"{one.variant} / {one.against}"),
        say.metric(one.metric),
        Delta(one.effect),
        Interval(one.low, one.high),
        Outcome(_OUTCOMES[one.outcome], word),
    ]


def _remarks(found: Evaluation, say: Words) -> Iterator[str]:
    """Corpus scores, and how many answers did not end by themselves."""
    corpus = [
        say("{variant} BLEU {bleu}, chrF {chrf}", variant=variant, bleu=say.tenths(of.bleu), chrf=say.tenths(of.chrf))
        for variant, of in found.corpus.items()
        if of.bleu is not None and of.chrf is not None
    ]
    total = found.metadata.questions
    shared = next((of.questions for of in found.corpus.values() if of.questions is not None), total)
    if corpus and shared < total:
        yield say(
            "Over all answers at once (0 to 100), to the {count} of {total} questions that every variant "
            "answered: {found}",
            count=shared,
            total=total,
            found="; ".join(corpus),
        )
    elif corpus:
        yield say("Over all answers at once (0 to 100): {found}", found="; ".join(corpus))
    cut = {variant: sum(ended.get(kind, 0) for kind in _CUT) for variant, ended in found.finishes.items()}
    if any(cut.values()):
        yield say(
            "Answers cut off or failed: {found}",
            found=", ".join(f"{variant} {count}" for variant, count in cut.items() if count),
        )
    else:
        yield say("Every answer ended by itself.")


def _forgetting(found: Evaluation, say: Words) -> list[Block]:
    """Each variant's perplexity of general texts, its ratio to the base's, and answers to general questions."""
    forgetting = found.forgetting
    if forgetting is None:
        return []
    if forgetting.perplexity is None and not forgetting.texts:
        lines = [say("no perplexity: every general text is too short to be predicted")]
    elif forgetting.perplexity is None:
        lines = [say("no perplexity: the engine or server does not tell how likely a text is")]
    else:
        lines = [_perplexity(variant, of, forgetting.texts, say) for variant, of in forgetting.perplexity.items()]
    return [Sentences(lines), Cases([_case(one, say) for one in forgetting.answers])]


def _perplexity(variant: str, of: PerplexityDocument, texts: int, say: Words) -> str:
    value = say.tenths(of.perplexity)
    if of.ratio is None or of.outcome is None:
        return say("perplexity of {texts} general texts: {variant} {value}", texts=texts, variant=variant, value=value)
    low, high = (say.number(end) for end in (of.low, of.high))
    told = {"ratio": say.number(of.ratio), "low": low, "high": high, "verdict": _word(of.outcome, say)}
    return say(
        "perplexity of {texts} general texts: {variant} {value}, {ratio} times the base's ({low} to {high}): {verdict}",
        texts=texts,
        variant=variant,
        value=value,
        **told,
    )


def side_by_side(found: Evaluation) -> list[EvaluationResult]:
    """A few results spread over the test set, the same ones in every report."""
    count = min(SIDE_BY_SIDE, len(found.results))
    return [found.results[place * len(found.results) // count] for place in range(count)]


def _case(result: EvaluationResult, say: Words) -> Case:
    facts: list[Fact] = []
    if cell_len(result.question) > ROOM[Depth.SUMMARY].name:
        facts.append((say("Question"), Quote(result.question)))
    if result.reference:
        facts.append((say("Reference"), Quote(result.reference)))
    facts += [(variant, say("no answer") if text is None else Quote(text)) for variant, text in result.texts.items()]
    return Case(result.question, "", facts)


def _word(outcome: str, say: Words) -> str:
    if outcome == "worse":
        return say.in_context("verdict", "worse")
    return say("better") if outcome == "better" else say("no difference shown")
