"""The rows of a training as tokens and labels, the prompt masked in the loss, in an Arrow file.

A dataset of any size takes little memory.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llmbench.core.documents import MOST_FAULTS, Faults
from pytest_llmbench.core.files import locked, replacing, write_text
from pytest_llmbench.datasets.record_files import Progress, no_progress
from pytest_llmbench.datasets.rows import stream_rows
from pytest_llmbench.models.prompt_form import WRITTEN_ON, PromptError, PromptForm

if TYPE_CHECKING:
    from datasets import Dataset

IGNORED = -100
"""The label of a token that is not learnt."""

_RULES = 2
"""Of how a row becomes tokens: raised where a row is written otherwise than before, so that none of before is taken."""

_TOKENS_AT_ONCE = 200_000  # some 7 MB as numbers of Python

Example = Mapping[str, list[int]]


@dataclasses.dataclass(frozen=True, slots=True)
class TokenizedRows:
    """`examples` have `input_ids` and `labels`, and stay in their file. The longest row and answer are in tokens."""

    examples: Dataset
    longest: int
    longest_answer: int


def tokenize_file(
    dataset: Path,
    form: PromptForm,
    limit: int,
    *,
    kept: Path,
    identity: Mapping[str, str],
    progress: Progress = no_progress,
) -> TokenizedRows:
    """The rows of a dataset in the base's form, none longer than `limit` tokens.

    They are written to `<kept>.arrow`, unless those of the same `identity` (the hashes of dataset and tokenizer) are
    there, by the same rules; of several processes one writes and the others wait.

    Raises:
        UsageError: a row is wrong or longer than `limit`, so it would be cut before its answer ends; or its answer
            cannot be told from its prompt.
        NotReadyError: the disk is full, or the folder cannot be written.
    """
    file, told = kept.with_suffix(".arrow"), kept.with_suffix(".json")
    key = {**identity, "limit": limit, "rules": _RULES}
    with locked(kept.with_suffix(".lock")):
        known = _known(told)
        if known.get("key") != key or known.get("bytes") != _size(file):
            told.unlink(missing_ok=True)
            for left in file.parent.glob(f".{file.name}.*"):  # by a process that was killed while it wrote
                left.unlink()
            known = {"key": key, **_write(dataset, form, limit, file, progress), "bytes": _size(file)}
            write_text(told, json.dumps(known))
    return TokenizedRows(_opened(file), known["longest"], known["longest_answer"])


def form_hash(form: PromptForm) -> str:
    """Of what makes tokens of messages, but for the date that a template writes: a training may go on tomorrow."""
    lasting = {name: told for name, told in form.key.items() if name != WRITTEN_ON}
    return hashlib.sha256(json.dumps(lasting, sort_keys=True).encode()).hexdigest()


def _known(told: Path) -> dict[str, Any]:
    """What was written down of the file; nothing when it was not finished or is damaged."""
    try:
        known = json.loads(told.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _size(file: Path) -> int | None:
    return file.stat().st_size if file.is_file() else None


def _write(dataset: Path, form: PromptForm, limit: int, file: Path, progress: Progress) -> dict[str, int]:
    import pyarrow as pa

    tokens = pa.list_(pa.int32())
    schema = pa.schema([("input_ids", tokens), ("labels", tokens)])
    longest = longest_answer = 0
    examples = _examples(dataset, form, limit, progress)
    with replacing(file) as temporary, pa.OSFile(str(temporary), "wb") as sink, pa.ipc.new_stream(sink, schema) as out:
        for batch in _batches(examples):
            out.write_batch(pa.RecordBatch.from_pylist(batch, schema=schema))
            longest = max(longest, *(len(example["input_ids"]) for example in batch))
            answers = (len(example["labels"]) - example["labels"].count(IGNORED) for example in batch)
            longest_answer = max(longest_answer, *answers)
    return {"longest": longest, "longest_answer": longest_answer}


def _batches(examples: Iterable[Example]) -> Iterator[list[Example]]:
    batch: list[Example] = []
    tokens = 0
    for example in examples:
        batch.append(example)
        tokens += len(example["input_ids"])
        if tokens >= _TOKENS_AT_ONCE:
            yield batch
            batch, tokens = [], 0
    if batch:
        yield batch


def _examples(dataset: Path, form: PromptForm, limit: int, progress: Progress) -> Iterator[Example]:
    """The examples; once a row is at fault only faults are looked for, to tell several at once."""
    faults, wrong, too_long = Faults(), 0, False
    for numbered in stream_rows(dataset, progress):
        try:
            whole, prompt = form.example(numbered.row)
            fault = _too_long(whole, limit)
            too_long = too_long or fault is not None
        except PromptError as error:
            fault = str(error)
        if fault:
            faults.at(dataset, numbered.line, fault)
            wrong += 1
            if wrong == MOST_FAULTS:
                break
        elif not wrong:
            yield _example(whole, prompt)
    faults.raise_any(names=("max_length",) if too_long else ())


def _example(whole: list[int], prompt: list[int]) -> Example:
    return {"input_ids": whole, "labels": [IGNORED] * len(prompt) + whole[len(prompt) :]}


def _too_long(whole: list[int], limit: int) -> str | None:
    if len(whole) <= limit:
        return None
    return f"the row has {len(whole)} tokens, more than max_length {limit}; raise it, or shorten the row"


def _opened(file: Path) -> Dataset:
    from datasets import Dataset

    return Dataset.from_file(str(file))
