"""What a reader must know before believing a comparison: it may measure memory, or the form of the prompts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from pytest_llmbench.core.locale import N_, Words
from pytest_llmbench.core.records import BASE
from pytest_llmbench.reports.repeated_answers import repeated_answers
from pytest_llmbench.runs.cached_answers import cached_answers
from pytest_llmbench.runs.typed import AnswerDocument, AnsweringBackend, RunDocument

LEARNT_CASES = N_(
    "{variant} was trained on what it is asked here: {near} rows of {dataset} come near to the cases. There its "
    "scores measure memory. Train again without those rows."
)
LEARNT_QUESTIONS = N_(
    "{variant} was trained on what it is asked here: {near} rows of {dataset} come near to the questions. There its "
    "scores measure memory; take another test set."
)

_ONLY_THOUGHT = N_(
    "{variant} spent the whole budget of each of its {total} answers on thinking: they count as lost, and its "
    "scores say nothing of what it knows. Give thinking tokens of its own (generation.max_reasoning_tokens), or "
    "switch it off (model.template_arguments, enable_thinking: false)."
)
_SOME_ONLY_THOUGHT = N_(
    "{count} of {total} answers of {variant} ended before its thinking did: they count as lost. Give thinking "
    "tokens of its own (generation.max_reasoning_tokens), or switch it off (model.template_arguments, "
    "enable_thinking: false)."
)


def cautions(document: RunDocument, say: Words) -> list[str]:
    """What `answer_cautions` says of a run's cases, which answers are copies, and which a server's cache gave.

    Older runs do not tell, and have none.
    """
    return document.once(("cautions", say.language), lambda: _cautions(document, say))


def _cautions(document: RunDocument, say: Words) -> list[str]:
    return [
        *answer_cautions(document.metadata.backend, document.answers, say),
        *repeated_answers(document, say),
        *(cached.told(variant, say) for variant, cached in cached_answers(document).items()),
    ]


def answer_cautions(
    backend: AnsweringBackend, answers: Mapping[str, Sequence[AnswerDocument]], say: Words, learnt: str = LEARNT_CASES
) -> Iterator[str]:
    """A sentence for each fine-tune that was trained on what it is asked (`learnt`), or is asked in another form.

    Then which answers are none, and whether a server does not end its streams.
    """
    for variant, one in backend.training_rows.items():
        if one.rows_near_cases:
            yield say(learnt, variant=variant, near=one.rows_near_cases, dataset=one.dataset)
    for variant, form in backend.chat_templates.items():
        if form != backend.chat_templates.get(BASE):
            yield say(
                "{variant} reads its prompts through another chat template than the base: part of the difference "
                "may be the form of the prompt.",
                variant=variant,
            )
    if backend.streams_left_open:
        yield say(
            "The server left {count} streams open after the end of their answers: each answer is timed to its "
            "end, and a connection was lost with each stream.",
            count=backend.streams_left_open,
        )
    yield from lost_answers(answers, say)


def lost_answers(answers: Mapping[str, Sequence[AnswerDocument]], say: Words) -> Iterator[str]:
    """Sentences on each variant's answers that are none, and have no score."""
    for variant, own in answers.items():
        yield from _lost(variant, own, say)


def _lost(variant: str, answers: Sequence[AnswerDocument], say: Words) -> Iterator[str]:
    """Answers that failed, that had no time to begin, and that ended within their thinking."""
    reasons, late, thought = [], 0, 0
    for answer in answers:
        if answer.error:
            reasons.append(answer.error)
        thought += answer.only_reasoned
        late += answer.finish == "timeout" and not (answer.answered or answer.only_reasoned)
    if reasons:
        yield say(
            "{count} of {total} answers of {variant} failed and have no score. The first reason: {reason}",
            variant=variant,
            count=len(reasons),
            total=len(answers),
            reason=reasons[0],
        )
    if late:
        yield say(
            "{count} of {total} answers of {variant} ran out of time before they began: they count as lost "
            "(generation.timeout).",
            variant=variant,
            count=late,
            total=len(answers),
        )
    if thought:
        sentence = _ONLY_THOUGHT if thought == len(answers) else _SOME_ONLY_THOUGHT
        yield say(sentence, variant=variant, count=thought, total=len(answers))
