"""In which language a person reads the pages: their choice, else what their browser asks for."""

from __future__ import annotations

from babel.core import negotiate_locale
from fastapi import Request

from pytest_llmbench.core.locale import LANGUAGES, Words, words

COOKIE = "studio_language"
NAMES = {"en": "English", "fr": "Français"}


def words_for(request: Request, otherwise: str) -> Words:
    """The words of the cookie's language, the browser's, or `otherwise`, the project's own."""
    chosen = request.cookies.get(COOKIE)
    if chosen in LANGUAGES:
        return words(str(chosen))
    wished = _by_preference(request.headers.get("accept-language", ""))
    return words(negotiate_locale(wished, LANGUAGES, sep="-") or otherwise)


def _by_preference(header: str) -> list[str]:
    """The languages of an Accept-Language header, the most wanted first; one of weight 0 is not wanted."""
    weighed: list[tuple[float, str]] = []
    for part in header[:1000].replace(" ", "").split(","):
        name, _, weight = part.partition(";q=")
        try:
            weighed.append((float(weight or 1), name))
        except ValueError:
            continue
    return [name for weight, name in sorted(weighed, key=lambda one: -one[0]) if weight > 0 and name]
