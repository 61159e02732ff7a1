"""What a reader must know before believing a comparison: it may measure memory, or the form of the prompts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_llmbench.records import BASE
from pytest_llmbench.reports.wording import Words


def cautions(document: Mapping[str, Any], say: Words) -> list[str]:
    """A sentence for each fine-tune that was trained on what it is asked, or that is asked in another form.

    A server that does not end its streams is told of too.

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
        *([say("left_open", count=left_open)] if (left_open := backend.get("streams_left_open")) else []),
    ]


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
