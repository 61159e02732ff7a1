"""What a reader must know before believing a comparison: it may measure memory, or the form of the prompts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pytest_llmbench.core.locale import N_, Words
from pytest_llmbench.core.records import BASE
from pytest_llmbench.reports.repeated_answers import repeated_answers
from pytest_llmbench.runs.cached_answers import cached_answers

LEARNT_CASES = N_(
    "{variant} was trained on what it is asked here: {near} rows of {dataset} come near to the cases. There its "
    "scores measure memory. Train again without those rows."
)
LEARNT_QUESTIONS = N_(
    "{variant} was trained on what it is asked here: {near} rows of {dataset} come near to the questions. There its "
    "scores measure memory; take another test set."
)

_ONLY_THOUGHT = N_(
    "{variant} spent the whole budget of each of its {total} answers on thinking: they count as empty, and its "
    "scores say nothing of what it knows. Give thinking tokens of its own (generation.max_reasoning_tokens), or "
    "switch it off (model.template_arguments, enable_thinking: false)."
)
_SOME_ONLY_THOUGHT = N_(
    "{count} of {total} answers of {variant} ended before its thinking did: they count as empty. Give thinking "
    "tokens of its own (generation.max_reasoning_tokens), or switch it off (model.template_arguments, "
    "enable_thinking: false)."
)


def cautions(document: Mapping[str, Any], say: Words, learnt_sentence: str = LEARNT_CASES) -> list[str]:
    """A sentence for each fine-tune that was trained on what it is asked, or that is asked in another form.

    Then all that `about_answers` says, and which answers a server's cache gave. `document` is a run's or an
    evaluation's, whose `learnt_sentence` is its own. Older ones do not tell, and have none.
    """
    backend = _mapping(document["metadata"].get("backend"))
    learnt = _mapping(backend.get("training_rows"))
    forms = _mapping(backend.get("chat_templates"))
    return [
        *(
            say(
                learnt_sentence,
                variant=variant,
                near=one["rows_near_cases"],
                dataset=one["dataset"],
            )
            for variant, one in learnt.items()
            if one["rows_near_cases"]
        ),
        *(
            say(
                "{variant} reads its prompts through another chat template than the base: part of the difference "
                "may be the form of the prompt.",
                variant=variant,
            )
            for variant, form in forms.items()
            if form != forms.get(BASE)
        ),
        *about_answers(document, say),
        *(cached.told(variant, say) for variant, cached in cached_answers(document).items()),
    ]


def about_answers(document: Mapping[str, Any], say: Words) -> Iterator[str]:
    """What only the answers tell: which are none, which are copies, and a server that does not end its streams."""
    left_open = _mapping(document["metadata"].get("backend")).get("streams_left_open")
    if left_open:
        yield say(
            "The server left {count} streams open after the end of their answers: each answer is timed to its "
            "end, and a connection was lost with each stream.",
            count=left_open,
        )
    for variant, answers in _by_variant(document).items():
        yield from _failed(variant, answers, say)
        yield from _only_thought(variant, answers, say)
    yield from repeated_answers(document, say)


def _failed(variant: str, answers: Sequence[Mapping[str, Any]], say: Words) -> Iterator[str]:
    reasons = [answer["error"] for answer in answers if answer.get("error")]
    if reasons:
        yield say(
            "{count} of {total} answers of {variant} failed and have no score. The first reason: {reason}",
            variant=variant,
            count=len(reasons),
            total=len(answers),
            reason=reasons[0],
        )


def _only_thought(variant: str, answers: Sequence[Mapping[str, Any]], say: Words) -> Iterator[str]:
    """An answer that ended within its thinking is scored as an empty one: that says nothing of what the model knows."""
    thought = sum(bool(answer.get("reasoning")) and not answer["text"] for answer in answers)
    if thought:
        sentence = _ONLY_THOUGHT if thought == len(answers) else _SOME_ONLY_THOUGHT
        yield say(sentence, variant=variant, count=thought, total=len(answers))


def _by_variant(document: Mapping[str, Any]) -> dict[str, list[Mapping[str, Any]]]:
    found: dict[str, list[Mapping[str, Any]]] = {}
    for result in document["results"]:
        for variant, answer in (result.get("completions") or result.get("answers") or {}).items():
            found.setdefault(variant, []).append(answer)
    return found


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
