"""What keeps two runs from being quite the same: said beside every verdict, so that nothing passes in silence."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from pytest_llmbench.runs.baseline import Comparable
from pytest_llmbench.runs.gate_notes import gate_note
from pytest_llmbench.runs.paired_scores import PairedScores

_MODEL = ("base_model", "base_weights_sha256", "quantization", "dtype", "backend", "models")
_ANSWERING = ("generation", "epochs")  # seeds are meant to differ
_ASKED_AS = {
    "model": ("template_arguments", "system_role"),
    "server": ("base_body", "adapter_body", "tool_choice"),
}
"""Settings that decide answers as much as the weights do; empty is a value of theirs like any other."""
_SHOWN = 40


def differences_between(baseline: Comparable, run: Comparable) -> list[dict[str, Any]]:
    """Notes on cases that only one side has, and on everything else that was changed besides the fine-tune."""
    return [*_cases(baseline, run), *_surroundings(baseline.metadata, run.metadata)]


def unscored_alike(metric: str, variant: str, scores: PairedScores) -> Iterator[dict[str, Any]]:
    """A note on cases that one side scored and the other could not: they, or those epochs, are not compared alike."""
    uneven = scores.where(scores.on_one_side())
    if cases := sorted(uneven.cases.tolist()):
        before, after = (int((~np.isnan(side)).sum()) for side in (uneven.before, uneven.after))
        yield gate_note("unscored", "noted_unscored", cases, metric=metric, variant=variant, before=before, after=after)


def _cases(baseline: Comparable, run: Comparable) -> Iterator[dict[str, Any]]:
    before, after = ({row["case"]: row["prompt_sha"] for row in side.rows} for side in (baseline, run))
    for kind, gone in (
        ("missing_in_run", before.keys() - after.keys()),
        ("missing_in_baseline", after.keys() - before.keys()),
    ):
        if gone:
            yield gate_note(kind, f"noted_{kind}", sorted(gone))
    changed = sorted(case for case in before.keys() & after.keys() if before[case] != after[case])
    if changed:
        yield gate_note("changed_prompt", "noted_changed_prompt", changed)


def _surroundings(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    sections = (
        ("changed_vocabulary", _terms(before), _terms(after)),
        ("changed_settings", _settings(before), _settings(after)),
        ("changed_model", _part(before, _MODEL), _part(after, _MODEL)),
        ("changed_hardware", _hardware(before), _hardware(after)),
        ("changed_libraries", _part(before, ("versions", "python")), _part(after, ("versions", "python"))),
    )
    for kind, earlier, later in sections:
        changes = list(_changes(_flat(earlier), _flat(later)))
        if changes:
            yield gate_note(kind, f"noted_{kind}", changes="; ".join(changes))


def _part(metadata: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    return {key: metadata.get(key) for key in keys}


def _hardware(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The machine, and the device where it is known: llama.cpp's runs of earlier builds say `auto`."""
    device = metadata.get("device")
    return {**_part(metadata, ("hardware",)), "device": None if device == "auto" else device}


def _settings(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """What answers and scores depend on, by the names that it has in the settings."""
    asked = metadata.get("asked") or {}
    asked_as = {
        section: {key: json.dumps(known[key], ensure_ascii=False, sort_keys=True) for key in keys if key in known}
        for section, keys in _ASKED_AS.items()
        if (known := asked.get(section))
    }
    return {**_part(metadata, _ANSWERING), "metrics": metadata.get("spelling"), **asked_as}


def _terms(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The terms, not the path that they were read from."""
    return {"sha256": (metadata.get("vocabulary") or {}).get("sha256")}


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, Mapping):
        return {prefix: value}
    return {
        name: leaf
        for key, item in value.items()
        for name, leaf in _flat(item, f"{prefix}.{key}" if prefix else str(key)).items()
    }


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    """What is known on both sides and differs: an older file that does not tell something has not changed it."""
    for key, earlier in before.items():
        later = after.get(key)
        if earlier != later and None not in (earlier, later):
            yield f"{key} {_shown(earlier)} -> {_shown(later)}"


def _shown(value: Any) -> str:
    text = str(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
