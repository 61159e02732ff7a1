"""Sizes, spans and moments as people read them on the pages."""

from __future__ import annotations

import datetime

from pytest_llmbench.core.locale import N_, UNSCORED, Words

_STEP = 1024.0
_UNITS = (N_("{value} B"), N_("{value} kB"), N_("{value} MB"), N_("{value} GB"), N_("{value} TB"))
_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def size(count: float | None, say: Words) -> str:
    """Bytes as kB, MB or GB of 1,024 each, as wherever memory is told here; a dash for what is not known."""
    if count is None:
        return UNSCORED
    value, unit = float(count), 0
    while value >= _STEP and unit < len(_UNITS) - 1:
        value, unit = value / _STEP, unit + 1
    return say(_UNITS[unit], value=say.marked(f"{value:.1f}" if unit else f"{value:.0f}"))


def span(seconds: float | None, say: Words) -> str:
    """Seconds as `42 s`, `3 min 20 s`, `2 h 05 min` or `3 d 4 h`; a dash for what is not known."""
    if seconds is None:
        return UNSCORED
    whole = max(0, round(seconds))
    if whole < _MINUTE:
        return say("{seconds} s", seconds=whole)
    if whole < _HOUR:
        return say("{minutes} min {seconds} s", minutes=whole // _MINUTE, seconds=whole % _MINUTE)
    if whole < _DAY:
        return say("{hours} h {minutes} min", hours=whole // _HOUR, minutes=f"{whole % _HOUR // _MINUTE:02}")
    return say("{days} d {hours} h", days=whole // _DAY, hours=whole % _DAY // _HOUR)


def moment(at: datetime.datetime | str | None, say: Words) -> str:
    """A moment, or its ISO timestamp, in the machine's own time zone, to the minute; a dash for none."""
    if not at:
        return UNSCORED
    if isinstance(at, str):
        try:
            at = datetime.datetime.fromisoformat(at)
        except ValueError:  # of an older document, or written by hand
            return str(at)
    from babel.dates import format_datetime

    aware = at if at.tzinfo else at.replace(tzinfo=datetime.UTC)
    return format_datetime(aware.astimezone(), "short", locale=say.language)
