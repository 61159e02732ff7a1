"""Whether an adapter was trained on what it is about to be asked: its answers would then show its memory."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llmbench.cases.suites import Case
from pytest_llmbench.core.errors import NotReadyError, UsageError
from pytest_llmbench.core.files import locked, write_text
from pytest_llmbench.core.locale import N_
from pytest_llmbench.core.starter import cache_dir, present
from pytest_llmbench.datasets.contamination import contamination_sentence
from pytest_llmbench.datasets.files import contaminated, find_dataset
from pytest_llmbench.models.adapters import training_record

if TYPE_CHECKING:
    from pytest_llmbench.models.adapters import Adapter

_DATA = Path("data")
_VERSION = 3  # of what is kept

_log = logging.getLogger("pytest_llmbench")


def check_training_rows(adapters: Mapping[str, Adapter], cases: Sequence[Case], *, strict: bool) -> dict[str, Any]:
    """Announce adapters whose training rows come near to the cases, or refuse them when `strict`; tell what was found.

    For each adapter: its `dataset`, and `rows_near_cases`, None where the rows could not be read: their file, known by
    name and SHA-256 from the training's record, is looked for in `data`, in the adapter's folder and beside it.

    Raises:
        UsageError: they are refused, and a row comes near to a case; or an adapter's training record cannot be read.
    """
    found = {name: _overlap(Path(adapter.path), cases) for name, adapter in adapters.items()}
    for name, overlap in found.items():
        if told := overlap.pop("sentence", None):
            if strict:
                raise UsageError(
                    f"adapter {name}: {told}; train it on other rows, or leave benchmark.strict out",
                    names=("benchmark.strict",),
                )
            _log.warning(N_("adapter %s: %s"), name, told)
        elif fault := overlap.pop("fault", None):
            unread = N_("adapter %s: its training rows are not held against the cases, since they cannot be read: %s")
            _log.warning(unread, name, fault)
        elif strict and overlap["rows_near_cases"] is None:
            _log.warning(
                N_("adapter %s: its training rows (%s) were not found, so they are not held against the cases"),
                name,
                overlap["dataset"] or "not recorded",
            )
    return found


def _overlap(folder: Path, cases: Sequence[Case]) -> dict[str, Any]:
    record = training_record(folder)
    told = record.get("dataset")
    name = str(told.get("name")) if isinstance(told, Mapping) else None
    path = find_dataset(record, [present(_DATA), folder, folder.parent])
    if path is None or not isinstance(told, Mapping):
        return {"dataset": name, "rows_near_cases": None}
    kept = cache_dir() / "overlap" / f"{_key(str(told['sha256']), cases)}.json"
    try:
        return _read_once(kept, path, cases)
    except UsageError as error:  # rows that an older version took, say
        return {"dataset": name, "rows_near_cases": None, "fault": str(error).splitlines()[0]}


def _read_once(kept: Path, dataset: Path, cases: Sequence[Case]) -> dict[str, Any]:
    """What was found and `kept`. A large file takes minutes: of several processes one reads it, the others wait."""
    found: dict[str, Any] = {}
    try:
        with locked(kept.with_suffix(".lock")):
            found = _known(kept)
            if not found:
                found = _read(dataset, cases)
                write_text(kept, json.dumps(found, ensure_ascii=False))
    except NotReadyError as error:
        _log.warning(N_("%s is held against the cases again next time: %s"), dataset.name, error)
    return found or _read(dataset, cases)


def _known(kept: Path) -> dict[str, Any]:
    """What was kept; nothing when there is none, or it is damaged."""
    try:
        known = json.loads(kept.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _read(dataset: Path, cases: Sequence[Case]) -> dict[str, Any]:
    matches = contaminated(dataset, cases)
    return {
        "dataset": dataset.name,
        "rows_near_cases": len(matches),
        "sentence": contamination_sentence(matches, dataset.name) if matches else None,
    }


def _key(dataset: str, cases: Iterable[Case]) -> str:
    asked = sorted({(case.name, case.prompt, case.reference or "") for case in cases})
    return hashlib.sha256(json.dumps([_VERSION, dataset, asked]).encode()).hexdigest()
