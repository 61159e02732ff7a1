"""The rows that a training takes: read through once before anything is loaded, so that what is wrong shows early."""

from __future__ import annotations

import dataclasses
import logging
import shlex
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llmbench.cases.suites import load_cases, load_vocabulary
from pytest_llmbench.core.errors import UsageError, naming
from pytest_llmbench.datasets.checking import NO_TEMPLATE, QUOTED, template_findings
from pytest_llmbench.datasets.contamination import contamination, contamination_sentence
from pytest_llmbench.datasets.files import file_sha256
from pytest_llmbench.datasets.near_duplicates import identity
from pytest_llmbench.datasets.record_files import Progress, reading
from pytest_llmbench.datasets.row_formats import user_text
from pytest_llmbench.datasets.rows import in_quotes, stream_rows
from pytest_llmbench.finetune.sft import TrainingStopped
from pytest_llmbench.finetune.tokenized import TokenizedRows, tokenize_file
from pytest_llmbench.models.prompt_form import PromptForm

if TYPE_CHECKING:
    from pytest_llmbench.finetune.request import FinetuneRequest
    from pytest_llmbench.finetune.sft import Watch


_log = logging.getLogger("pytest_llmbench")


@dataclasses.dataclass(frozen=True, slots=True)
class DatasetFile:
    """A dataset that reads well: how many rows it has, and the roles that speak in them."""

    path: Path
    sha256: str
    rows: int
    roles: frozenset[str]

    def recorded(self) -> dict[str, Any]:
        """What a training's record says of it."""
        return {"name": self.path.name, "sha256": self.sha256, "rows": self.rows}

    def tokenized(self, form: PromptForm, limit: int, *, kept: Path, hashed: str, watch: Watch) -> TokenizedRows:
        """Its rows as the base reads them, kept in a file; `hashed` is the hash of the form."""
        return tokenize_file(
            self.path,
            form,
            limit,
            kept=kept,
            identity={"dataset": self.sha256, "tokenizer": hashed},
            progress=_watched(watch, "tokenizing", self.path),
        )


def read_files(request: FinetuneRequest, watch: Watch, *, tells: bool) -> tuple[DatasetFile, DatasetFile | None]:
    """Look at every row of the request's datasets: the training rows, and the validation rows where there are any.

    Rows that come near to a case of the suites, or that are in both datasets, are told of, if this process `tells`.

    Raises:
        UsageError: a row is wrong; or the request is strict, and one comes near to a case; or all validation rows ask
            what training rows ask.
        TrainingStopped: `watch.stop` said so.
    """
    validated: set[int] = set()
    repeated: set[int] = set()

    def note(row: Mapping[str, Any]) -> None:
        if validated and (asked := _asked(row)) in validated:
            repeated.add(asked)

    held_out = None
    if request.validation:
        held_out = _Reading(request.validation, watch, lambda row: validated.add(_asked(row)))
        held_out.to_its_end()
    learnt = _Reading(request.dataset, watch, note)
    if tells:
        _hold_against_suites(request, learnt)
        if learnt.in_quotes:
            _log.warning("%s: %s", request.dataset, QUOTED)
    else:
        learnt.to_its_end()
    if repeated:
        _tell_of_repeated(request, len(repeated), len(validated))
    return learnt.file(), held_out.file() if held_out else None


def _asked(row: Mapping[str, Any]) -> int:
    """What the user says in a row, as a number."""
    return hash(identity(user_text(row)))


def _tell_of_repeated(request: FinetuneRequest, repeated: int, validated: int) -> None:
    told = f"{request.validation}: {repeated} of its {validated} questions are asked by training rows too"
    split = shlex.join(["llmbench", "dataset", "split", str(request.dataset)])
    advice = f"their loss tells of memory; `{split}` keeps rows apart"
    if repeated == validated:
        raise UsageError(f"{told}; {advice}", names=("validation",))
    _log.warning("%s; %s", told, advice, extra=naming("validation"))


def _hold_against_suites(request: FinetuneRequest, rows: _Reading) -> None:
    vocabulary = load_vocabulary(request.vocabulary) if request.vocabulary else None
    cases = load_cases(list(request.suites), vocabulary) if request.suites else []
    if request.strict and not cases:
        raise UsageError("strict: there are no cases to hold the rows against; name the suites", names=("prompts",))
    if matches := contamination(rows, cases):
        told = contamination_sentence(matches, request.dataset.name)
        lists = request.check_command(request.dataset, "--json")  # without, the nearest few alone
        if request.strict:
            raise UsageError(f"{told}; leave out those that `{lists}` lists")
        _log.warning("%s; %s lists them", told, lists)


def _watched(watch: Watch, doing: str, path: Path) -> Progress:
    """Tells how far a dataset is read, and ends it when it shall stop: large ones take minutes."""
    tell = reading(path, watch.on_reading, f"{doing} {path.name}")

    def progress(done: int) -> None:
        if watch.stop():
            raise TrainingStopped(f"stopped while {doing} {path.name}, before the first step")
        tell(done)

    return progress


class _Reading:
    """The rows of a dataset, read while they are gone through, and what is noted of them then."""

    def __init__(self, path: Path, watch: Watch, note: Callable[[Mapping[str, Any]], None]) -> None:
        self._path, self._watch, self._note = path, watch, note
        self._count = self._quoted = 0
        self._roles: set[str] = set()

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        for numbered in stream_rows(self._path, _watched(self._watch, "reading", self._path)):
            row = numbered.row
            self._count += 1
            self._roles.update(message["role"] for part in ("prompt", "completion") for message in row[part])
            self._quoted += in_quotes(row)
            self._note(row)
            yield row

    def to_its_end(self) -> None:
        """Go through the rows for what is noted of them."""
        for _ in self:
            pass

    @property
    def in_quotes(self) -> bool:
        """Whether all answers were, once all rows are read."""
        return self._quoted == self._count

    def file(self) -> DatasetFile:
        """What was noted, once all rows are read."""
        return DatasetFile(self._path, file_sha256(self._path), self._count, frozenset(self._roles))


def agree_on_template(form: PromptForm, roles: Collection[str], *, may_be_plain: bool) -> None:
    """Check the form against the roles in a dataset; what is odd and harmless is announced.

    Args:
        form: the base's.
        roles: of system, user and assistant, those that speak.
        may_be_plain: whether the base is known to continue text, so that no template is expected of it.

    Raises:
        UsageError: the template refuses or drops what a role says, or there is none and there should be.
    """
    if form.origin is None:
        if not may_be_plain:
            raise UsageError(NO_TEMPLATE)
        _log.warning("the base has no chat template: rows are written as plain lines, the answer last")
    for finding in template_findings(form, sorted(roles)):
        if finding.severity == "error":
            raise UsageError(finding.message)
        if finding.severity == "warning":
            _log.warning("%s", finding.message)
