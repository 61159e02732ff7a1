"""Why a gate came to its outcome, in one sentence of the reader's language."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pytest_llmbench.core.text_cells import shorten_middle
from pytest_llmbench.core.wording import Words
from pytest_llmbench.runs.case_counts import cases_text, units_text

_LEAST_P = 0.001
_NAME_CELLS = 60


def because(verdicts: Sequence[Mapping[str, Any]], outcome: str, kind: str) -> dict[str, Any]:
    """What decided, or why nothing could: a key of the reports' sentences, and the verdict that stands for it."""
    if not verdicts:
        return {"kind": "nothing_compared", "verdict": None, "others": 0}
    deciding = [index for index, verdict in enumerate(verdicts) if verdict["outcome"] == outcome]
    first = min(deciding or range(len(verdicts)), key=lambda index: _order(verdicts[index]))
    if outcome == "fail":
        return {"kind": "worse", "verdict": first, "others": len(deciding) - 1}
    if outcome == "pass":
        if not any(verdict.get("changed", True) for verdict in verdicts):
            return {"kind": "unchanged", "verdict": first, "others": 0}
        return {"kind": "not_worse" if kind == "regression" else "better", "verdict": first, "others": 0}
    doubtful = [index for index, verdict in enumerate(verdicts) if verdict.get("in_doubt")]
    if doubtful:
        first = min(doubtful, key=lambda index: _order(verdicts[index]))
        return {"kind": "category_in_doubt", "verdict": first, "others": len(doubtful) - 1}
    return {"kind": "not_shown", "verdict": first, "others": 0}


def because_of(gate: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a gate says of itself, or what its verdicts say where an older one holds an English sentence alone."""
    told: Mapping[str, Any] | None = gate.get("because")
    if told:
        return told
    if any(note["kind"] == "cached_alone" for note in gate["notes"]):
        return {"kind": "cached_alone", "verdict": None, "others": 0}
    return because(gate["verdicts"], gate["outcome"], gate["kind"])


def _order(verdict: Mapping[str, Any]) -> tuple[bool, float, float]:
    return verdict["category"] is not None, _or_one(verdict["p_adjusted"]), _or_one(verdict["p_value"])


def _or_one(p_value: float | None) -> float:
    return 1.0 if p_value is None else p_value


def reason_of(gate: Mapping[str, Any], say: Words, named: Callable[[str], str]) -> str:
    """The sentence of the gate's `because`: what decided, or why nothing could. `named` gives a metric's name."""
    why = because_of(gate)
    if why["verdict"] is None:
        return say(f"reason_{why['kind']}", name=_baseline_name(gate))
    verdict, others = gate["verdicts"][why["verdict"]], why["others"]
    told = _told(verdict, say, named(verdict["metric"]), with_p=why["kind"] != "not_worse")
    key = f"reason_{why['kind']}"
    if why["kind"] == "not_shown":
        key += f"_{gate['kind']}"
    said = say(key, told=told, category=short(verdict["category"] or ""), left_open=_left_open(verdict, say))
    return say(f"reason_{why['kind']}_more", told=said, count=others) if others else said


def _left_open(verdict: Mapping[str, Any], say: Words) -> str:
    """Which fall so many cases do not rule out; of a score from 0 to 1, where nothing changed, how many may lose it.

    Gates stored before that was known say nothing.
    """
    fall = verdict.get("not_ruled_out")
    if fall is not None and not verdict.get("changed", True) and 0 <= verdict["before"] <= 1:
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
        p=_p_value(verdict["p_adjusted"], say) if with_p else "",
        cases=cases_text(verdict, say),
    )


def _p_value(p_value: float | None, say: Words) -> str:
    if p_value is None:
        return ""
    return say("reason_p", p=f"< {say.number(_LEAST_P)}" if p_value < _LEAST_P else f"= {say.number(p_value)}")
