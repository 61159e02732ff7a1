"""Datasets from sources to sides: made, validated, checked and split, in files of any size."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from pytest_llmbench.cases.suites import Case
from pytest_llmbench.core.files import replacing
from pytest_llmbench.core.settings import ModelSettings
from pytest_llmbench.datasets.checking import NO_TEMPLATE, DatasetCheck, RowFinding
from pytest_llmbench.datasets.contamination import Match, contamination
from pytest_llmbench.datasets.record_files import Progress, no_progress
from pytest_llmbench.datasets.rows import stream_rows
from pytest_llmbench.datasets.splitting import (
    SHARES,
    SIDES,
    Split,
    refuse_earlier_sides,
    refuse_same_files,
    side_paths,
    split_rows,
)
from pytest_llmbench.datasets.summary import Summary, summarise_rows

if TYPE_CHECKING:
    from pytest_llmbench.models.prompt_form import PromptForm
    from pytest_llmbench.models.registry import ModelEntry


_ROWS_AT_ONCE = 2048


@dataclasses.dataclass(frozen=True, slots=True)
class Limit:
    """The most tokens that a row may have, and what says so."""

    tokens: int
    origin: str


@dataclasses.dataclass(frozen=True, slots=True)
class Checked:
    """What a check found. `contaminated` are the rows that come near to a case, by their places from 0.

    `limit` is what the rows' lengths were compared with; None when no model and no length was given.
    """

    rows: int
    limit: Limit | None
    findings: tuple[RowFinding, ...]
    contaminated: tuple[Match, ...]


def validate_dataset(path: Path, progress: Progress = no_progress) -> Summary:
    """Read a whole dataset and count what it holds.

    Raises:
        UsageError: a row is wrong; see `datasets.rows.stream_rows`.
    """
    return summarise_rows(stream_rows(path, progress))


def check_dataset(
    path: Path,
    *,
    cases: Sequence[Case] = (),
    model: str | None = None,
    read_as: ModelSettings | None = None,
    max_length: int | None = None,
    progress: Progress = no_progress,
) -> Checked:
    """Look for what is wrong with a dataset that reads well.

    `cases` are what no row may come near; `model` is a spec whose tokenizer and chat template are to be used, as
    `finetune` uses them: with the template arguments and system role that `read_as` has, and, where that is of the same
    base, with its revision and its trust in the base's code.
    `max_length` is the most tokens of a row; when None, those that `finetune` takes of the model's rows by default, and
    that the model can read.

    Raises:
        UsageError: the dataset is wrong; see `datasets.rows.stream_rows`.
        ModelError: no such model.
    """
    base = _base_of(model, read_as or ModelSettings()) if model else None
    limit = base.limit if base else None
    if max_length is not None:
        limit = Limit(max_length, "max_length")
    rows = stream_rows(path, progress)
    form = base.form if base else None
    missing = [RowFinding("error", "template", NO_TEMPLATE)] if base and not base.has_form else []
    with DatasetCheck(path, cases=cases, form=form, limit=limit.tokens if limit else None) as checking:
        while batch := list(itertools.islice(rows, _ROWS_AT_ONCE)):
            checking.add(batch)
        return Checked(len(checking.lines), limit, (*missing, *checking.findings()), tuple(checking.matches))


def contaminated(path: Path, cases: Sequence[Case]) -> list[Match]:
    """The rows of a dataset file that come near to a case; see `datasets.contamination`.

    Raises:
        UsageError: the dataset is wrong.
    """
    return contamination((numbered.row for numbered in stream_rows(path)), cases)


def split_file(
    path: Path,
    output: Path,
    *,
    shares: Sequence[int] = SHARES,
    seed: int = 42,
    progress: Progress = no_progress,
) -> tuple[Split, dict[str, Path]]:
    """Split a dataset into `<output>_train.jsonl`, `_val.jsonl` and `_test.jsonl`, near questions on one side.

    `output` is a file whose ending does not count. Sides without a share get no file. The file is read twice.

    Raises:
        UsageError: the dataset is wrong, its questions are too alike to be split, or a side would replace it.
        NotReadyError: the disk is full.
    """
    sides = side_paths(output, shares).items()
    refuse_earlier_sides(output, shares)
    refuse_same_files([("the dataset", path)], [(f"the {side} side", file) for side, file in sides])
    split = split_rows((numbered.row for numbered in stream_rows(path, progress)), shares, seed=seed)
    rows = (numbered.row for numbered in stream_rows(path, progress))
    return split, write_sides(rows, split, output)


def write_sides(rows: Iterable[Mapping[str, Any]], split: Split, output: Path) -> dict[str, Path]:
    """Write each row to the file of its side; all files appear together, when all rows are written."""
    paths = side_paths(output, split.targets)
    with contextlib.ExitStack() as stack:
        temporary = {side: stack.enter_context(replacing(path)) for side, path in paths.items()}
        files: dict[str, IO[str]] = {
            side: stack.enter_context(path.open("w", encoding="utf-8")) for side, path in temporary.items()
        }
        for row, side in zip(rows, split.sides, strict=True):
            files[SIDES[side]].write(_line(row))
    return paths


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> int:
    """Write rows as JSON Lines, whole or not at all; tells how many."""
    count = 0
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(_line(row))
            count += 1
    return count


class _Base(NamedTuple):
    """How `finetune` would write rows for a base, whether it would do so, and how long they may be."""

    form: PromptForm
    has_form: bool
    limit: Limit


def _base_of(spec: str, read_as: ModelSettings) -> _Base:
    """What is to be known of a model spec.

    Raises:
        ModelError: no such model, or it has no tokenizer.
        NotReadyError: a package is missing.
    """
    from pytest_llmbench.models.chat_templates import base_form
    from pytest_llmbench.models.loading_errors import explained, needs_local_extra
    from pytest_llmbench.models.quiet import quiet_libraries
    from pytest_llmbench.models.registry import load_registry
    from pytest_llmbench.models.sources import locate
    from pytest_llmbench.models.tokenizers import context_tokens, describe, embedding_rows

    own = read_as.of_base(spec)
    location = locate(spec)
    try:
        with quiet_libraries(), explained(location):
            config, tokenizer = describe(spec, revision=own.revision, trust_remote_code=own.trust_remote_code)
    except ImportError as error:
        raise needs_local_extra(error) from error
    registry = load_registry()
    entry = registry.find(spec)
    form = base_form(tokenizer, read_as.template_arguments, read_as.system_role, embedding_rows(config))
    has_form = form.origin is not None or (entry is not None and not entry.chat_template)
    trained = registry.preset(spec).max_length
    return _Base(form, has_form, _limit(spec, entry, trained, context_tokens(config)))


def _limit(spec: str, entry: ModelEntry | None, trained: int, context: int | None) -> Limit:
    if context is not None and context < trained:
        return Limit(context, f"the context of {spec}")
    return Limit(trained, f"the preset of {entry.alias}" if entry else "the default of llmbench finetune")


def find_dataset(record: Mapping[str, Any], folders: Iterable[Path]) -> Path | None:
    """The file an adapter was trained on: of the name and the SHA-256 in its training record, in one of the folders."""
    told = record.get("dataset")
    if not isinstance(told, Mapping):
        return None
    for folder in folders:
        path = folder / str(told.get("name"))
        if path.is_file() and file_sha256(path) == told.get("sha256"):
            return path
    return None


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file of any size."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _line(row: Mapping[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False) + "\n"
