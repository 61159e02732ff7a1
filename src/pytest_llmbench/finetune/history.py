"""Short trainings that were kept, as numbered files in `reports/trainings/`, and whether a new one is worse."""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeGuard

from pytest_llmbench.core.documents import read_text
from pytest_llmbench.core.errors import MissingRunError, UsageError
from pytest_llmbench.core.files import locked, write_text

_FOLDER = "trainings"
_NUMBERED = re.compile(r"(\d{4,})(?:_(.+))?\.json")
_MUST_BE_EQUAL = {
    "base_weights_hash": "base",
    "dataset": "dataset",
    "hyperparameters": "settings",
    "quantization": "quantization",
}
_MEASURED = (("train_loss", "train loss", -1, ".3f"), ("token_accuracy", "token accuracy", 1, ".1%"))
"""By key: the name, whether a higher (1) or a lower (-1) value is better, and how it is written."""

_log = logging.getLogger("pytest_llmbench")


def save_training(report_dir: Path, document: Mapping[str, Any], name: str = "") -> Path:
    """Keep a training under the next number, which no other process takes meanwhile."""
    folder = report_dir / _FOLDER
    with locked(folder / ".lock"):
        number = max(
            (int(found[1]) for path in folder.glob("*.json") if (found := _NUMBERED.fullmatch(path.name))), default=0
        )
        path = folder / f"{number + 1:04d}{f'_{_safe(name)}' if name else ''}.json"
        write_text(path, json.dumps(document, ensure_ascii=False, indent=2) + "\n")
    return path


def _safe(name: str) -> str:
    """The name as that of a file."""
    return re.sub(r"[^\w.-]+", "-", name)


def find_training(report_dir: Path, wanted: str) -> dict[str, Any]:
    """The kept training of that number, name or path; `latest` is the newest.

    Raises:
        MissingRunError: there is none; the message names those there are.
        UsageError: the file is no training.
    """
    kept = [
        (path, found)
        for path in sorted((report_dir / _FOLDER).glob("*.json"))
        if (found := _NUMBERED.fullmatch(path.name))
    ]
    if wanted == "latest":
        matching = [path for path, _ in kept]
    elif Path(wanted).is_file():
        matching = [Path(wanted)]
    else:
        matching = [
            path
            for path, found in kept
            if _safe(wanted) in (found[2], path.stem) or (wanted.isdigit() and int(wanted) == int(found[1]))
        ]
    if not matching:
        there = ", ".join(path.stem for path, _ in kept) or "none"
        raise MissingRunError(f"no training {wanted!r} in {report_dir / _FOLDER}; there are: {there}")
    path = matching[-1]
    try:
        document = json.loads(read_text(path))
    except ValueError as error:
        raise UsageError(f"{path}: not valid JSON ({error})") from error
    if not _is_training(document):
        raise UsageError(f"{path}: not a kept training")
    return document


def _is_training(document: Any) -> TypeGuard[dict[str, Any]]:
    if not isinstance(document, dict) or "train_loss" not in document:
        return False
    held_out, measured = document.get("held_out", {}), [document.get(key) for key, *_ in _MEASURED]
    if any(not isinstance(value, int | float | None) for value in measured):
        return False
    return isinstance(held_out, dict) and all(isinstance(right, bool) for right in held_out.values())


def worse_than(before: Mapping[str, Any], now: Mapping[str, Any], *, margin: float, alpha: float) -> list[str]:
    """Which metrics are worse: loss and accuracy by more than a share of `margin`, held-out routing beyond chance."""
    if others := [word for key, word in _MUST_BE_EQUAL.items() if before.get(key) != now.get(key)]:
        _log.warning("the compared training had another %s: its metrics may differ for that", ", ".join(others))
    faults = []
    for key, name, better, form in _MEASURED:
        found, earlier = _finite(now.get(key)), _finite(before.get(key))
        if found is None:
            faults.append(f"{name} is no number any more")
        elif earlier is not None and (earlier * (1 - better * margin) - found) * better > 0:
            faults.append(f"{name} {found:{form}} was {earlier:{form}}: worse by more than {margin:.0%}")
    return faults + _worse_routing(before.get("held_out", {}), now["held_out"], alpha)


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _worse_routing(before: Mapping[str, bool], now: Mapping[str, bool], alpha: float) -> list[str]:
    """Compared prompt by prompt, over those that both were asked."""
    import numpy as np

    from pytest_llmbench.stats.significance import p_below

    both = [prompt for prompt in now if prompt in before]
    if not both:
        return []
    gains = np.array([float(now[prompt]) - float(before[prompt]) for prompt in both])
    if not gains.any() or (test := p_below(gains)).p_value > alpha:
        return []
    right = [sum(answers[prompt] for prompt in both) for answers in (before, now)]
    return [
        (
            f"held-out routing {right[1]} of {len(both)} was {right[0]}: worse beyond chance (p {test.p_value:.3f}, "
            f"{test.method})"
        )
    ]
