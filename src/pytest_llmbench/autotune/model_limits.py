"""`model_limits.json`: the limits that were found, for the program that serves the model to read."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_llmbench.autotune.document import (
    Finding,
    LimitsDocument,
    LimitsMetadata,
    QuestionName,
    TargetLimits,
    TrialEntry,
)
from pytest_llmbench.core.documents import read_yaml
from pytest_llmbench.core.errors import UsageError
from pytest_llmbench.core.files import write_text

_LIMITS: Mapping[str, QuestionName] = {
    "max_concurrent_users": "users",
    "max_history_messages": "history",
    "max_tokens": "max_tokens",
    "max_requests_per_s": "rate",
}
"""The limits, and the question that each answers."""

_OF_USERS = ("user_rate_limit", "test_results", "interval", "decided")
"""What else is said of the users."""

_OF_SEARCHES = ("requests_sent", "decided", "users_held")
"""What the provenance has of the search of each question."""

_MOST_OTHERS = 16  # a server on another port each time would leave one a run

_AT_RANDOM = "max_requests_per_s"
"""Those who come at random neither cool down nor go on: no habits of the others' are theirs."""


def write_limits_file(path: Path, document: LimitsDocument) -> None:
    """Write the limits of a report document, replacing the file at once.

    The keys are those of the first target; where there are several, `models` has them all, and after them what the file
    said of models and servers that were not asked this time, the latest first. What was not searched this time of those
    that were is kept from the file where that is of the same server, model, promise and users (`kept_from` says of
    when), else it is null. Trials that were invalid are not in it. No limit is above what was tried; where the interval
    may go on beyond that, its end is null.

    Raises:
        UsageError: the file that is there is none of limits.
        NotReadyError: the disk refuses.
    """
    known = _entries(path)
    entries = [_with_known(_entry(target, document.metadata), known) for target in document.targets]
    asked = [_served(one) for one in entries]
    entries += [one for one in known if _served(one) not in asked][:_MOST_OTHERS]
    content = entries[0] if len(entries) == 1 else {**entries[0], "models": entries}
    write_text(path, json.dumps(content, ensure_ascii=False, indent=2) + "\n")


def users_of(path: Path, model: str, url: str) -> int | None:
    """How many users the file says the model holds on this server; None where it says nothing of it.

    Raises:
        UsageError: the file is none of limits.
    """
    for entry in _entries(path):
        if _served(entry) == (model, url) and isinstance(entry.get("max_concurrent_users"), int):
            return int(entry["max_concurrent_users"])
    return None


def refuse_other_file(path: Path) -> None:
    """See that limits may be written there, before a search of an hour ends with the refusal.

    Raises:
        UsageError: the file that is there is none of limits.
    """
    _entries(path)


def _entries(path: Path) -> list[dict[str, Any]]:
    """What the file says of each model; nothing where there is no file."""
    if not path.exists():
        return []
    content = read_yaml(path).data
    entries = content.get("models", [content]) if isinstance(content, dict) else None
    if not isinstance(entries, list) or not all(map(_is_entry, entries)):
        raise UsageError(
            f"{path}: holds no limits of a model, so it is not replaced; delete it, or give another load.out",
            names=("load.out",),
        )
    return entries


def _is_entry(entry: object) -> bool:
    return isinstance(entry, dict) and bool({"model_name", "max_concurrent_users"} & entry.keys())


def _with_known(entry: dict[str, Any], known: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The entry, with limits of an earlier search of the same where this one did not look."""
    earlier = next((one for one in known if _of_the_same(one, entry)), None)
    if earlier is None:
        return entry
    habits, kept_from = dict(entry["provenance"]["habits_of"]), {}
    people = [own for limit, own in habits.items() if limit != _AT_RANDOM]
    for limit, question in _LIMITS.items():
        own = _habits_of(earlier, limit)
        alike = limit == _AT_RANDOM or own is None or all(_alike(own, others) for others in people)
        if entry[limit] is None and earlier.get(limit) is not None and alike:
            belonging = _OF_USERS if question == "users" else ()
            entry |= {key: earlier.get(key) for key in (limit, *belonging)}
            habits |= {} if own is None else {limit: own}
            if why := (earlier.get("reasons") or {}).get(question):
                entry["reasons"] = {**entry["reasons"], question: why}
            entry["provenance"] = _with_search(entry["provenance"], earlier.get("provenance") or {}, question)
            kept_from[limit] = (earlier.get("kept_from") or {}).get(limit, earlier.get("tested_at"))
    return {**entry, "kept_from": kept_from, "provenance": _with_habits(entry, habits)} if kept_from else entry


def _of_the_same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether both are of the same model on the same server, with the same promise."""
    return _served(one) == _served(other) and one.get("slo") == other.get("slo")


def _served(entry: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """Model and server."""
    return entry.get("model_name"), (entry.get("provenance") or {}).get("url")


def _habits_of(entry: Mapping[str, Any], limit: str) -> Mapping[str, Any] | None:
    """How the people of a limit behaved; an older file has the habits of its last search alone.

    None where these are of those who came at random: it kept limits of others beside them, and not how these behaved.
    """
    origin = entry.get("provenance") or {}
    own: Mapping[str, Any] = (origin.get("habits_of") or {}).get(limit) or origin.get("habits") or {}
    return None if limit != _AT_RANDOM and own.get("arrivals") == "poisson" else own


def _with_search(origin: Mapping[str, Any], earlier: Mapping[str, Any], question: str) -> dict[str, Any]:
    """The provenance with what an earlier one says of the search of a question; older files do not."""
    kept = {name: earlier[name][question] for name in _OF_SEARCHES if question in (earlier.get(name) or {})}
    return {**origin, **{name: {**origin[name], question: value} for name, value in kept.items()}}


def _with_habits(entry: Mapping[str, Any], habits: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The provenance with the habits of each limit, those of the users before all others."""
    first = next((habits[limit] for limit in _LIMITS if limit in habits), {})
    return {**entry["provenance"], "habits": first, "habits_of": habits}


def _alike(habits: Mapping[str, Any], others: Mapping[str, Any]) -> bool:
    """Whether users behave alike."""
    return all(habits.get(key) == others.get(key) for key in ("arrivals", "messages", "history", "cooldown_s"))


def user_rate_limit(finding: Finding) -> float | None:
    """Messages a second that one user sends at capacity: 1 / (cooldown + typical latency there).

    The typical latency is the median at the highest level that was tried up to the capacity; None where no user is
    held, or users neither wait nor are waited for.
    """
    below = [trial for trial in finding.valid_trials if trial.level <= finding.value and trial.latency_s]
    nearest = max(below, key=lambda trial: trial.level, default=None)
    if nearest is None or nearest.latency_s is None or nearest.latency_s.p50 is None:
        return None
    cycle_s = finding.habits.cooldown_s + nearest.latency_s.p50
    return round(1 / cycle_s, 4) if cycle_s else None


def _entry(target: TargetLimits, metadata: LimitsMetadata) -> dict[str, Any]:
    """One target's limits: the reference's keys first, then what they rest on."""
    findings = target.findings
    users = findings.get("users")
    some = users or next(iter(findings.values()), None)
    return {
        "model_name": target.model_name,
        "max_concurrent_users": _value(users),
        "max_history_messages": _value(findings.get("history")),
        "user_rate_limit": user_rate_limit(users) if users else None,
        "response_timeout": some.slo.limit_s if some else None,
        "tested_at": _tested_at(findings.values()),
        "test_results": [_row(trial) for trial in users.valid_trials] if users else [],
        "interval": [users.low, None if users.unbounded else users.high] if users else None,
        "decided": users.decided if users else None,
        "slo": some.slo.json_ready() if some else None,
        "max_tokens": _value(findings.get("max_tokens")),
        "max_requests_per_s": _value(findings.get("rate")),
        "reasons": {name: list(found.notes) for name, found in findings.items() if found.notes},
        "provenance": _provenance(target, metadata, some),
    }


def _tested_at(findings: Iterable[Finding]) -> str:
    """When the oldest of the searches made its last trial; a resumed one may have asked nobody today."""
    now = datetime.datetime.now().astimezone()
    told = (datetime.datetime.fromisoformat(found.tested_at) for found in findings if found.tested_at)
    return min(told, default=now).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _provenance(target: TargetLimits, metadata: LimitsMetadata, some: Finding | None) -> dict[str, Any]:
    habits = some.habits.json_ready() if some else {}
    found = {limit: target.findings[question] for limit, question in _LIMITS.items() if question in target.findings}
    return {
        "url": target.url,
        "engine": target.engine,
        "versions": metadata.versions,
        "command": metadata.command,
        "seed": habits.get("seed"),
        "habits": habits,
        "habits_of": {limit: made.habits.json_ready() for limit, made in found.items()},
        "requests_sent": {name: found.sent for name, found in target.findings.items()},
        "decided": {name: found.decided for name, found in target.findings.items()},
        "users_held": {name: found.users_held for name, found in target.findings.items() if found.users_held},
    }


def _row(trial: TrialEntry) -> dict[str, Any]:
    row = {"users": trial.level, "verdict": trial.verdict, "good": trial.good, "total": trial.total}
    return {**row, "p95": trial.latency_s.p95 if trial.latency_s else None}


def _value(finding: Finding | None) -> float | None:
    return finding.value if finding else None
