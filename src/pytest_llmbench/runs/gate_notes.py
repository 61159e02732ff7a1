"""Notes beside a gate's verdict: a kind, a sentence's key with its data, and that sentence in English."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pytest_llmbench.core.wording import Words, words

Note = Mapping[str, Any]

_NAMED = 5
_ENGLISH = words("en")


def noted(kind: str, key: str, cases: Sequence[str] = (), **data: object) -> dict[str, Any]:
    """A note of this kind. `key` is the sentence's in the catalogues, filled with `data` and the cases' names."""
    note = {"kind": kind, "key": key, "data": data, "cases": list(cases)}
    return {**note, "message": note_text(note, _ENGLISH)}


def note_text(note: Note, say: Words) -> str:
    """The note in the reader's language; as it was written where that is all there is, as in an older file."""
    key, cases = note.get("key"), note["cases"]
    if key is None or key not in say.texts:
        return str(note["message"])
    if len(cases) == 1 and f"{key}_one" in say.texts:
        key += "_one"
    data = note["data"]
    if "metric" in data and say.texts["language"] != "en":  # English has the names of the terminal
        data = {**data, "metric": say.metric(data["metric"])}
    return say(key, **{"count": len(cases), "cases": _named(cases, say), **data})


def _named(cases: Sequence[str], say: Words) -> str:
    listed = ", ".join(cases[:_NAMED])
    return say("noted_more", cases=listed, count=len(cases) - _NAMED) if len(cases) > _NAMED else listed
