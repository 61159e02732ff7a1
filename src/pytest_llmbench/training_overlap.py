"""Whether an adapter was trained on what it is about to be asked: its answers would then show its memory."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llmbench.atomic import write_text
from pytest_llmbench.cases import Case
from pytest_llmbench.datasets.files import contaminated, find_dataset
from pytest_llmbench.errors import UsageError
from pytest_llmbench.models.adapters import TRAINING_RECORD
from pytest_llmbench.models.cache import cache_dir
from pytest_llmbench.starter import present
from pytest_llmbench.training.contamination import contamination_sentence

if TYPE_CHECKING:
    from pytest_llmbench.models.adapters import Adapter

_DATA = Path("data")
_VERSION = 2  # of what is kept

_log = logging.getLogger("pytest_llmbench")


def check_training_rows(adapters: Mapping[str, Adapter], cases: Sequence[Case], *, strict: bool) -> dict[str, Any]:
    """Announce, or with `strict` refuse, adapters whose training rows come near to the cases; tells what was found.

    For each adapter: its `dataset`, and `rows_near_cases`, None where the rows could not be read: their file, known by
    name and SHA-256 from the training's record, is looked for in `data`, in the adapter's folder and beside it.

    Raises:
        UsageError: `strict`, and a row comes near to a case.
    """
    found = {name: _overlap(Path(adapter.path), cases) for name, adapter in adapters.items()}
    for name, overlap in found.items():
        if told := overlap.pop("sentence", None):
            if strict:
                raise UsageError(f"adapter {name}: {told}; train it on other rows, or leave --llmbench-strict out")
            _log.warning("adapter %s: %s", name, told)
        elif strict and overlap["rows_near_cases"] is None:
            _log.warning(
                "adapter %s: its training rows (%s) were not found, so they are not held against the cases",
                name,
                overlap["dataset"] or "not recorded",
            )
    return found


def _overlap(folder: Path, cases: Sequence[Case]) -> dict[str, Any]:
    record = _record(folder)
    told = record.get("dataset")
    name = str(told.get("name")) if isinstance(told, Mapping) else None
    path = find_dataset(record, [present(_DATA), folder, folder.parent])
    if path is None or not isinstance(told, Mapping):
        return {"dataset": name, "rows_near_cases": None}
    kept = cache_dir() / "overlap" / f"{_key(str(told['sha256']), cases)}.json"  # large files take minutes to read
    if kept.is_file():
        known: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
        return known
    matches = contaminated(path, cases)
    overlap = {
        "dataset": name,
        "rows_near_cases": len(matches),
        "sentence": contamination_sentence(matches, path.name) if matches else None,
    }
    kept.parent.mkdir(parents=True, exist_ok=True)
    write_text(kept, json.dumps(overlap, ensure_ascii=False))
    return overlap


def _record(folder: Path) -> dict[str, Any]:
    """The training's record; an adapter of another tool has none."""
    path = folder / TRAINING_RECORD
    if not path.is_file():
        return {}
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UsageError(f"{path}: not valid JSON ({error}); train or copy the adapter again") from error
    return record if isinstance(record, dict) else {}


def _key(dataset: str, cases: Iterable[Case]) -> str:
    asked = sorted({(case.name, case.prompt, case.reference or "") for case in cases})
    return hashlib.sha256(json.dumps([_VERSION, dataset, asked]).encode()).hexdigest()
