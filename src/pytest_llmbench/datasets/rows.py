"""Reading training rows of any form into the one that training takes: TRL's conversational prompt-completion form."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pytest_llmbench.core.documents import MOST_FAULTS, Faults
from pytest_llmbench.core.errors import UsageError, located
from pytest_llmbench.datasets.messages import FormError
from pytest_llmbench.datasets.record_files import Progress, no_progress, read_records
from pytest_llmbench.datasets.row_formats import GOOD, bad_answer, form_of, to_row

FEWEST_ROWS = 2
"""One row can be neither split nor told from what it teaches by heart."""

_ENCODED = (
    'texts here are JSON in themselves (some in quotes, "\\"monte\\"", some lists of parts), as Parquet holds what '
    "`datasets` calls Json, columns of mixed types; read that with `datasets`: "
    "Dataset.from_parquet('it.parquet').to_json('it.jsonl')"
)
_PYTHON = frozenset({"True", "False"})
_TRUTH = _PYTHON | {"true", "false", "TRUE", "FALSE"}
_PARTS = frozenset({"text", "image", "image_url", "video", "audio", "input_audio"})


class NumberedRow(NamedTuple):
    """A row with the line it starts on and the form it was written in."""

    line: int
    form: str
    row: dict[str, Any]


def read_rows(path: Path | str) -> list[dict[str, Any]]:
    """The rows of a dataset, each with a `prompt` and a `completion`: lists of `{"role", "content"}` messages.

    Raises:
        UsageError: as `stream_rows`.
    """
    return [numbered.row for numbered in stream_rows(path)]


def stream_rows(path: Path | str, progress: Progress = no_progress) -> Iterator[NumberedRow]:
    """The rows of a `.jsonl`, `.csv` or `.json` dataset one by one; `row_formats.FORMS` are read, one form a file.

    Raises:
        UsageError: the file is unreadable, has fewer than two rows, or a row is wrong or of another form than the
            first; one `file:line: ...` for each of the first faults. Good rows may have been yielded before.
    """
    reader = _Reader(Path(path))
    for line, record in read_records(path, reader.faults, progress):
        if numbered := reader.take(line, record):
            yield numbered
    reader.end()


class _Reader:
    def __init__(self, path: Path) -> None:
        self.faults = Faults()
        self._path = path
        self._first: tuple[str, int] | None = None
        self._good = self._wrong = self._last = 0
        truth = _TRUTH if path.suffix.lower() == ".csv" else _PYTHON  # JSON has a true and a false of its own
        self._labels = {key: _Labels(truth) for key in GOOD}
        self._texts = {"prompt": _Texts(), "completion": _Texts()}

    def take(self, line: int, record: Any) -> NumberedRow | None:
        self._last = line
        try:
            form = self._form(line, record)
            row = to_row(record, form)
        except FormError as error:
            self.faults.at(self._path, line, str(error))
            self._wrong += 1
            if self._wrong == MOST_FAULTS:  # a wrong file of a gigabyte need not be read to its end
                self.faults.raise_any()
            return None
        self._good += 1
        for key, labels in self._labels.items():
            labels.note(line, row.get(key))
        for side, texts in self._texts.items():
            texts.note(row[side])
        return NumberedRow(line, form, row)

    def _form(self, line: int, record: Any) -> str:
        form = form_of(record)
        first_form, first_line = self._first = self._first or (form, line)
        if form != first_form:
            what = f"has the form '{form}' where line {first_line} began with '{first_form}'"
            raise FormError(f"{what}; give each form a file of its own")
        return form

    def end(self) -> None:
        for key, labels in self._labels.items():
            for line in labels.false():
                self.faults.at(self._path, line, bad_answer(key))
        self.faults.raise_any()
        if self._first and any(texts.are_encoded for texts in self._texts.values()):
            raise UsageError(located(self._path, self._first[1], _ENCODED))
        if not self._good:
            raise UsageError(f"{self._path}: the file holds no row to learn from")
        if self._good < FEWEST_ROWS:
            raise UsageError(located(self._path, self._last, "this is the only row; a dataset needs at least two"))


class _Texts:
    """Whether all texts of a side are JSON in themselves, some in quotes and some lists of parts, as no person writes.

    Quotes alone are no proof: a dataset of quotations, or of JSON to be answered, has them too.
    """

    def __init__(self) -> None:
        self._all = True
        self._kinds: set[type] = set()

    @property
    def are_encoded(self) -> bool:
        return self._all and self._kinds == {str, list}

    def note(self, messages: Sequence[Mapping[str, str]]) -> None:
        said = (message["content"] for message in messages if message["role"] != "system")
        for text in said if self._all else ():
            value = _json_in(text)
            self._kinds.add(type(value))
            self._all = self._all and value is not None


def in_quotes(row: Mapping[str, Any]) -> bool:
    """Whether all of a row's answer is the JSON of a text, in quotes, which would be learnt with it."""
    return all(isinstance(_json_in(message["content"]), str) for message in row["completion"])


def _json_in(text: str) -> Any:
    """The text or the parts of a message that a text is the JSON of; None where it is neither."""
    if text[:1] not in {'"', "["}:
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, str) or (value and all(map(_is_part, value))) else None


def _is_part(value: Any) -> bool:
    return isinstance(value, dict) and (value.get("type") in _PARTS or {"role", "content"} <= value.keys())


class _Labels:
    """Whether texts under a label are true and false, which CSV has no other way to write: all of them together tell.

    Beside others than `truth`, as in true, false and neither, they are the names of classes, and an answer of each is
    to be learnt.
    """

    def __init__(self, truth: frozenset[str]) -> None:
        self._truth = truth
        self._texts: set[str] = set()
        self._false: list[int] = []

    def note(self, line: int, label: Any) -> None:
        text = label.strip() if isinstance(label, str) else ""
        if not text or not self._texts <= self._truth:
            return
        self._texts.add(text)
        if text.casefold() == "false" and len(self._false) < MOST_FAULTS:
            self._false.append(line)

    def false(self) -> list[int]:
        """The lines of the first false ones. False alone is Python's, true and false come together."""
        folded = {text.casefold() for text in self._texts}
        return self._false if self._texts <= self._truth and (len(folded) > 1 or "False" in self._texts) else []
