"""What a run was made of: the line under the title, and everything that it recorded about itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from pytest_llmbench.core.locale import Words
from pytest_llmbench.reports.announced import announced
from pytest_llmbench.reports.changed_settings import changed_settings
from pytest_llmbench.reports.engine_limits import engine_limits
from pytest_llmbench.reports.recorded import recorded_facts, recorded_text
from pytest_llmbench.runs.typed import Git, RunDocument

_RUN = ("timestamp", "variants", "seed", "epochs", "processes", "cut_short")
_MODEL = ("base_model", "lora_adapter", "backend", "quantization", "weights_hash", "soundness", "vocabulary")
_CODE = ("git", "versions", "python")
_MACHINE = ("device", "platform", "cpu", "memory_bytes", "gpus")
_NOTES = "announcements"
_ELSEWHERE = ("limited", "metrics", "settings", "timings", "passes", "shared_pass", "cosine_between_cases")
_COMMIT_CHARS = 12


@dataclasses.dataclass(frozen=True, slots=True)
class FactGroup:
    """Recorded facts under one heading; `folded` ones are opened by the reader."""

    title: str
    facts: Sequence[tuple[str, str]]
    folded: bool = False


def headline_facts(document: RunDocument, say: Words) -> list[tuple[str, str]]:
    """The few facts that place a run."""
    metadata, totals = document.metadata, document.statistics
    git, seconds = metadata.git or Git(), metadata.timings.get("total_s")
    commit = (git.commit or "")[:_COMMIT_CHARS]
    facts = [
        (say("Base model"), metadata.base_model),
        (say("LoRA adapter"), metadata.lora_adapter),
        (say("Cases"), say.count(totals.cases)),
        (say("Categories"), say.count(len(document.by_category))),
        (say("Epochs"), metadata.epochs if totals.total_tests != totals.cases else None),
        (say("Item outcomes"), say.outcome_counts(totals.outcomes)),
        (say("Device"), metadata.device),
        (say("Engine"), metadata.backend.engine),
        (say("Duration"), None if seconds is None else say("{value} s", value=say.tick(round(seconds, 1)))),
        (say("Commit"), commit and commit + (say(" + changes") if git.dirty else "")),
        (say("Date"), say.moment(metadata.timestamp)),
    ]
    return [(name, str(value)) for name, value in facts if value not in (None, "")]


def provenance_groups(document: RunDocument, say: Words) -> list[FactGroup]:
    """What the run recorded, whatever the backend and the plugins put there; last the settings that are unusual."""
    metadata = document.metadata.told
    sorted_keys = {say("Run"): _RUN, say("Models"): _MODEL, say("Code"): _CODE, say("Machine"): _MACHINE}
    placed = {key for keys in sorted_keys.values() for key in keys} | {_NOTES, *_ELSEWHERE}
    groups = [FactGroup(title, _facts(metadata, keys, say)) for title, keys in sorted_keys.items()]
    limits = enumerate(engine_limits(document.metadata.backend, say), 1)
    groups.append(FactGroup(say("Limits of the engine"), [(str(number), text) for number, text in limits]))
    others = [key for key in metadata if key not in placed]
    notes = [(str(number), text) for number, text in enumerate(announced(document, say), 1)]
    groups += [
        FactGroup(say("Announced during the run"), notes),
        FactGroup(say("Other"), _facts(metadata, others, say)),
    ]
    changed = changed_settings(metadata.get("settings") or {})
    groups.append(
        FactGroup(
            say("Settings that differ from their defaults"),
            [(key, recorded_text(value, key, say)) for key, value in changed.items()],
        )
    )
    return [group for group in groups if group.facts]


def _facts(metadata: dict[str, Any], keys: Sequence[str], say: Words) -> list[tuple[str, str]]:
    chosen = {key: metadata[key] for key in keys if key in metadata}
    return recorded_facts(chosen, say)
