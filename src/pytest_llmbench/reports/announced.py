"""What was announced during a run, in the reader's words; quoted errors stay as they were said."""

from __future__ import annotations

from pytest_llmbench.core.announcing import filled
from pytest_llmbench.core.locale import Words
from pytest_llmbench.runs.typed import AnnouncedDocument, RunDocument


def announced(run: RunDocument, say: Words) -> list[str]:
    """A sentence each, with the options by which the settings that it names are given."""
    return [one if isinstance(one, str) else worded(one, say) for one in run.metadata.announcements]


def worded(one: AnnouncedDocument, say: Words) -> str:
    """One of them."""
    told = say.translated(one.text)
    if told == one.text:  # English, or a plugin's own
        return one.said
    try:
        return filled(told, one.values) + one.said.removeprefix(filled(one.text, one.values))
    except (TypeError, ValueError):  # a run's file may have been edited by hand
        return one.said
