"""What was announced during a run, in the reader's words; a quoted error stays as it was said."""

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
    values = [quoted(value, say) if isinstance(value, str) else value for value in one.values]
    try:
        return filled(told, values) + one.said.removeprefix(filled(one.text, one.values))
    except (TypeError, ValueError):  # a run's file may have been edited by hand
        return one.said


def quoted(text: str, say: Words) -> str:
    """What fills a sentence: a known sentence in the reader's words, behind the address of the server that said it."""
    address, mark, said = text.partition(": ")
    if "://" not in address:
        address, mark, said = "", "", text
    return f"{address}{mark}{say.translated(said)}" if " " in said else text  # a name may be a word that there is
