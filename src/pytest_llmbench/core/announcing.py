"""What engines announce: a sentence of the log apart from its values, so that a report tells it in its own language.

A sentence that can come to stand in a report is marked where it is logged: `_log.warning(N_("%s stays …"), name)`.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterable

from pytest_llmbench.core.errors import named_in, naming
from pytest_llmbench.core.locale import N_

_log = logging.getLogger("pytest_llmbench")

# The plugin's own: in its modules `say` is a line of progress, so that sentences are not looked for there.
NO_BASELINE = N_("%s; gate.missing_baseline is warn: nothing is compared")
NO_BASELINE_YET = N_("%s; gate.missing_baseline is warn: fine-tunes are compared with their base alone")
STOPPED_IN_SEARCH = N_("stopped in mid-search: %s; its trials are kept, go on with %s")
NOTHING_TO_RESUME = N_("nothing to resume in %s: a new run was started")


@dataclasses.dataclass(frozen=True, slots=True)
class Announcement:
    """A warning: its sentence as `logging` has it (`%s`), what fills it, and the settings that it names."""

    text: str
    values: tuple[str | float, ...] = ()
    names: tuple[str, ...] = ()

    @classmethod
    def of(cls, record: logging.LogRecord) -> Announcement:
        """What was logged, as plain data."""
        given = record.args if isinstance(record.args, tuple) else ()
        made = cls(str(record.msg), tuple(one if isinstance(one, str | int | float) else str(one) for one in given))
        names = named_in(record)
        if made.said == record.getMessage():
            return dataclasses.replace(made, names=names)
        return cls("%s", (record.getMessage(),), names)  # its values are more than text and numbers

    @property
    def said(self) -> str:
        """The sentence in English."""
        return filled(self.text, self.values)


def filled(text: str, values: Iterable[str | float]) -> str:
    """The sentence with its values, as `logging` fills it.

    Raises:
        TypeError, ValueError: these are not the sentence's values.
    """
    given = tuple(values)
    return text % given if given else text


def announce_again(announced: Iterable[Announcement]) -> None:
    """Log what another process, or an earlier one, has logged."""
    for one in announced:
        _log.warning(one.text, *one.values, extra=naming(*one.names))
