"""How long to wait before a server is asked again."""

from __future__ import annotations

import datetime
import email.utils
import random

FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 60.0
"""A server that asks for a longer pause is not waited for."""


def backoff_s(attempt: int) -> float:
    """Seconds before asking again: doubling, with up to half of it taken off at random so that clients spread."""
    longest = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0**attempt)
    return longest * random.uniform(0.5, 1.0)  # noqa: S311  # spreads load, hides nothing


def retry_after_s(header: str | None) -> float:
    """Seconds that a `Retry-After` header asks for, as a count or a date (RFC 9110, 10.2.3); 0 when unreadable."""
    if header is None:
        return 0.0
    if header.strip().isdecimal():
        return float(header)
    try:
        when = email.utils.parsedate_to_datetime(header)
    except ValueError:
        return 0.0
    zoned = when if when.tzinfo else when.replace(tzinfo=datetime.UTC)
    return max(0.0, (zoned - datetime.datetime.now(datetime.UTC)).total_seconds())
