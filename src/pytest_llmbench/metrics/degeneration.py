"""Answers that go wrong in form: they repeat themselves, or go on with an invented conversation.

Neither needs a reference; one that is a dialogue itself leaves `runaway_dialogue` unscored. Less is better for both.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from pytest_llmbench.metrics.text import Spelling, words

if TYPE_CHECKING:
    from pytest_llmbench.cases.suites import Case
    from pytest_llmbench.core.records import Completion

_N = 4
_SPELLING = Spelling(accent_sensitive=True)

_ASKS = "user|utilisateur|utilisatrice|human|humain"
_MAY_ASK = "client|cliente|customer|question|q"
_ANSWERS = "assistant|assistante|agent|bot|chatbot|ai|ia|conseiller|conseillère|support|réponse|answer|response|r|a"
_LABEL = re.compile(
    rf"(?:^|(?<=[.!?…»\"”\])])\s)[ \t>*#_-]*(?:(?P<asks>{_ASKS})|(?P<may_ask>{_MAY_ASK})|(?P<answers>{_ANSWERS}))"
    r"(?:[ \t]*\d{1,3})?[*_ \t]*:",
    re.IGNORECASE | re.MULTILINE,
)
_TEMPLATE = re.compile(
    r"<\|(?:im_start|im_end|user|assistant|system|end|eot_id|start_header_id)\|>|\[/?INST\]|<(?:start|end)_of_turn>"
    r"|^#{2,}\s*(?:instruction|human|user|response|réponse)\s*:?\s*$",
    re.IGNORECASE | re.MULTILINE,
)


def repetition(_case: Case, completion: Completion) -> float:
    """A metric, 0 to 1: the share of an answer's 4-grams of words that it had said before (seq-rep-4, Welleck 2020).

    0 for an answer of fewer than five words, which has no room to repeat itself. In scripts that are written without
    spaces each letter counts as a word.
    """
    said = words(_SPELLING.normalise(completion.text))
    grams = [tuple(said[at : at + _N]) for at in range(len(said) - _N + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def runaway_dialogue(case: Case, completion: Completion) -> bool | None:
    """A metric: whether the answer plays further turns of a conversation, as "User: …" or chat-template marks."""
    if case.reference is not None and plays_turns(case.reference):
        return None
    return plays_turns(completion.text)


def plays_turns(text: str) -> bool:
    """Whether a text holds a turn that somebody else should take.

    Labels count at the start of a line, or after the end of a sentence. "User:" after something was said is enough;
    words that name fields too ("Client : Dupont", "Question :") must have an answering label, or come back.
    """
    if _TEMPLATE.search(text):
        return True
    labels = list(_labels(text))
    asked = [(kind, place) for kind, place in labels if kind != "answers"]
    answered = [place for kind, place in labels if kind == "answers"]
    if any(kind == "asks" and text[:place].strip() for kind, place in asked):
        return True
    return bool(asked) and (len(asked) > 1 or any(place > asked[0][1] for place in answered))


def _labels(text: str) -> Iterator[tuple[str, int]]:
    for match in _LABEL.finditer(text):
        if match.lastgroup:
            yield match.lastgroup, match.start()
