"""Why a gate came to its outcome, in one sentence of the reader's language."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pytest_llmbench.core.text_cells import shorten_middle
from pytest_llmbench.core.wording import Words
from pytest_llmbench.runs.case_counts import cases_text, units_text

_LEAST_P = 0.001
_NAME_CELLS = 60


def reason_of(gate: Mapping[str, Any], say: Words, named: Callable[[str], str]) -> str:
    """The sentence of the gate's `because`: what decided, or why nothing could. `named` gives a metric's name."""
    because = gate["because"]
    if because["verdict"] is None:
        return say(f"reason_{because['kind']}", name=_baseline_name(gate))
    verdict, others = gate["verdicts"][because["verdict"]], because["others"]
    told = _told(verdict, say, named(verdict["metric"]), with_p=because["kind"] != "not_worse")
    key = f"reason_{because['kind']}"
    if because["kind"] == "not_shown":
        key += f"_{gate['kind']}"
    said = say(key, told=told, category=short(verdict["category"] or ""), left_open=_left_open(verdict, say))
    return say(f"reason_{because['kind']}_more", told=said, count=others) if others else said


def _left_open(verdict: Mapping[str, Any], say: Words) -> str:
    """Which fall so many cases do not rule out; of a score from 0 to 1, where nothing changed, how many may lose it.

    Gates stored before that was known say nothing.
    """
    fall = verdict.get("not_ruled_out")
    if fall is not None and not verdict["changed"] and 0 <= verdict["before"] <= 1:
        cases = units_text(verdict, verdict["units"], say)
        return say("reason_left_open_unchanged", cases=cases, share=say.percent(fall))
    return not_ruled_out(verdict, say) if verdict["margin"] else ""


def not_ruled_out(verdict: Mapping[str, Any], say: Words) -> str:
    """The greatest fall that the cases do not rule out, to stand behind another sentence; nothing where unknown."""
    fall = verdict.get("not_ruled_out")
    if fall is None:
        return ""
    direction = say("gate_drop" if verdict["higher_is_better"] else "gate_rise")
    return say("gate_not_ruled_out", direction=direction, size=say.number(fall))


def short(name: str) -> str:
    """A name of the user's on one line, cut in the middle with plain dots where it is very long."""
    return shorten_middle(name, _NAME_CELLS, "...")


def _baseline_name(gate: Mapping[str, Any]) -> str:
    return next((str(note["data"].get("name", "")) for note in gate["notes"] if note.get("data")), "")


def _told(verdict: Mapping[str, Any], say: Words, metric: str, *, with_p: bool) -> str:
    interval = ""
    if verdict["low"] is not None and verdict["high"] is not None:
        low, high = (say.number(verdict[end], signed=True) for end in ("low", "high"))
        interval = say("reason_interval", low=low, high=high)
    key = "gate_subject" if verdict["category"] is None else "gate_subject_category"
    return say(
        "reason_told",
        subject=say(key, metric=metric, variant=verdict["variant"], category=verdict["category"]),
        before=say.number(verdict["before"]),
        after=say.number(verdict["after"]),
        interval=interval,
        p=say("reason_p", p=_p_value(verdict, say)) if with_p else "",
        cases=cases_text(verdict, say),
    )


def _p_value(verdict: Mapping[str, Any], say: Words) -> str:
    p_value: float = verdict["p_adjusted"]
    return f"< {say.number(_LEAST_P)}" if p_value < _LEAST_P else f"= {say.number(p_value)}"
