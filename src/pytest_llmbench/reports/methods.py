"""The statistical method of a verdict in the reader's language; a run document names it in English."""

from __future__ import annotations

import functools
import re

from pytest_llmbench.core.locale import N_, Words

_PARTS = (
    N_("McNemar test"),
    N_("Tango's score test"),
    N_("t test"),
    N_("permutation test"),
    N_("sign-flip test"),
    N_("exact and unconditional"),
    N_("exact"),
    N_("normal"),
    N_("mid-p"),
    N_("corrected for skewness"),
    N_("binomial bound on losses not seen"),
    N_("nothing differs"),
    N_("t interval"),
    N_("widened for skewness"),
    N_("interval of the same test"),
)
_PATTERNS = re.compile(r"([\d,]+) random patterns")


def method_text(method: str, say: Words) -> str:
    """`McNemar test, exact; interval of the same test`; a part that this version does not know stays as it is."""
    sides = [", ".join(_part(part, say) for part in side.split(", ")) for side in method.split("; ")]
    return functools.reduce(lambda one, other: say("{one}; {other}", one=one, other=other), sides)


def _part(part: str, say: Words) -> str:
    if found := _PATTERNS.fullmatch(part):
        return say("{count} random patterns", count=say.count(int(found[1].replace(",", ""))))
    return say(part) if part in _PARTS else part
