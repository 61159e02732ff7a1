"""What a reader must know before believing a comparison: it may measure memory, or the form of the prompts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from pytest_llmbench.records import BASE
from pytest_llmbench.reports.cached_answers import cached_answers
from pytest_llmbench.reports.repeated_answers import repeated_answers
from pytest_llmbench.reports.wording import Words


def cautions(document: Mapping[str, Any], say: Words) -> list[str]:
    """A sentence for each fine-tune that was trained on what it is asked, or that is asked in another form.

    And one for each variant some of whose answers ended while it was still thinking, whose epochs are copies, or whose
    answers a server's cache gave.

    `document` is a run's or an evaluation's. Older ones do not tell, and have none.
    """
    backend = _mapping(document["metadata"].get("backend"))
    learnt = _mapping(backend.get("training_rows"))
    forms = _mapping(backend.get("chat_templates"))
    return [
        *(
            say("contaminated", variant=variant, near=one["rows_near_cases"], dataset=one["dataset"])
            for variant, one in learnt.items()
            if one["rows_near_cases"]
        ),
        *(say("other_form", variant=variant) for variant, form in forms.items() if form != forms.get(BASE)),
        *repeated_answers(document, say),
        *(cached.told(variant, say) for variant, cached in cached_answers(document).items()),
        *_only_thought(document, say),
    ]


def _only_thought(document: Mapping[str, Any], say: Words) -> Iterator[str]:
    """An answer that ended within its thinking is scored as an empty one: that says nothing of what the model knows."""
    total, thought = Counter[str](), Counter[str]()
    for result in document["results"]:
        for variant, answer in (result.get("completions") or result.get("answers") or {}).items():
            total[variant] += 1
            thought[variant] += bool(answer.get("reasoning")) and not answer["text"]
    for variant, count in thought.items():
        if count:
            key = "only_thought" if count == total[variant] else "some_only_thought"
            yield say(key, variant=variant, count=count, total=total[variant])


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
