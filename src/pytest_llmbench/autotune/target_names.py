"""What a server under test is called, where several are asked too: to people, and in the names of its journals."""

from __future__ import annotations

import hashlib
import re
import urllib.parse
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_llmbench.autotune.targets import Target

_DIGEST_CHARS = 8


def target_name(model: str, url: str, *, several: bool) -> str:
    """The model's name, with the server's where several are asked."""
    return f"{model} at {urllib.parse.urlsplit(url).netloc}" if several else model


def journal_name(model: str, url: str, others: Sequence[Target]) -> str:
    """What the names of this target's journals begin with; a digest is in it where another's would begin alike.

    Which model another serves that names none is not known: it may be one of this name.
    """
    name = _slug(target_name(model, url, several=bool(others)))
    theirs = {_slug(target_name(one.model or model, one.url, several=True)) for one in others}
    if name not in theirs:
        return name
    return f"{name}-{hashlib.sha256(f'{url} {model}'.encode()).hexdigest()[:_DIGEST_CHARS]}"


def _slug(name: str) -> str:
    return re.sub(r"[^\w.]+", "-", name).strip("-.")
