"""What is wrong with a dataset that reads well: duplicates, over-long rows, a template that does not fit."""

from __future__ import annotations

import dataclasses
import itertools
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

from pytest_llmbench.cases.suites import Case
from pytest_llmbench.core.errors import located
from pytest_llmbench.datasets.contamination import CaseTexts, Match
from pytest_llmbench.datasets.near_duplicates import NearTexts, identity
from pytest_llmbench.datasets.row_formats import answer_text, user_text
from pytest_llmbench.datasets.rows import NumberedRow, in_quotes
from pytest_llmbench.models.prompt_form import PromptError, PromptForm

_SHOWN = 5
_MOST_SYSTEMS = 100  # more different system prompts than this are not told apart
_CHARACTERS_A_TOKEN = 3.0  # of French; about, where no tokenizer counts

_NEARNESS = {"same": "the same as", "near": "near", "part": "partly"}

_Severity = Literal["error", "warning", "note"]

NO_TEMPLATE = "the base has no chat template: its tokenizer cannot tell who speaks; take an instruct model"

QUOTED = (
    "all answers are in quotes, which are learnt with them; if a Parquet file was converted, do it with "
    "Dataset.from_parquet(...).to_json(...) of `datasets`"
)

_SAID: Mapping[str, str] = {"system": "llmbench-one", "user": "llmbench-two", "assistant": "llmbench-three"}


class DatasetCheck:
    """Takes rows in batches and tells what is wrong in the end. Memory is about 50 bytes a row; use it in a `with`.

    `limit` is the most tokens of a row; without the base's `form` they are estimated from its characters.
    """

    def __init__(
        self, path: Path, *, cases: Sequence[Case] = (), form: PromptForm | None = None, limit: int | None = None
    ) -> None:
        self.matches: list[Match] = []
        self.lines = array("L")
        self._path = path
        self._cases, self._reserved = cases, CaseTexts(cases)
        self._form = form
        self._limit = limit
        self._texts = NearTexts()
        self._answers = array("q")
        self._contexts = array("q")
        self._systems: Counter[str | None] = Counter()
        self._roles: set[str] = set()
        self._broken = False
        self._too_long = _Rows()
        self._refused = _Rows()
        self._why: list[str] = []
        self._indented = _Rows()
        self._quoted = _Rows()
        self._estimated = False
        self._longest = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._texts.__exit__()

    def add(self, batch: Sequence[NumberedRow]) -> None:
        """Take some more rows."""
        rows = [numbered.row for numbered in batch]
        start = len(self.lines)
        self.lines.extend(numbered.line for numbered in batch)
        self._texts.add(map(user_text, rows))
        self._answers.extend(hash(answer_text(row)) for row in rows)
        self._contexts.extend(map(_context, rows))
        for match in self._reserved.contaminated(rows):
            self.matches.append(dataclasses.replace(match, row=match.row + start))
        for place, row in enumerate(rows, start):
            self._look_at(place, row)

    def findings(self) -> Iterator[RowFinding]:
        """All findings, the worst kinds first."""
        yield from self._contamination()
        yield from self._template()
        yield from self._lengths()
        yield from self._white_space()
        yield from self._quotes()
        yield from self._system_prompts()
        yield from self._duplicates()

    def _look_at(self, place: int, row: Mapping[str, Any]) -> None:
        messages = [*row["prompt"], *row["completion"]]
        first = messages[0]
        system = first["content"] if first["role"] == "system" else None
        if system in self._systems or len(self._systems) < _MOST_SYSTEMS:
            self._systems[system] += 1
        new_roles = {message["role"] for message in messages} - self._roles
        self._roles |= new_roles
        if new_roles and self._form is not None:
            found = template_findings(self._form, sorted(self._roles))
            self._broken = any(finding.severity == "error" for finding in found)
        if row["completion"][0]["content"][:1].isspace():
            self._indented.add(place)
        if in_quotes(row):
            self._quoted.add(place)
        tokens = self._tokens(place, row, messages)
        self._longest = max(self._longest, tokens)
        if self._limit is not None and tokens > self._limit:
            self._too_long.add(place)

    def _tokens(self, place: int, row: Mapping[str, Any], messages: Sequence[Mapping[str, str]]) -> int:
        """The tokens of a row, noting why it cannot be learnt; an estimate where they cannot be counted."""
        if self._form is not None and not self._broken:
            try:
                return len(self._form.example(row)[0])
            except PromptError as error:
                self._refused.add(place)
                self._why = [*self._why, str(error)][:_SHOWN]
        self._estimated = True
        return round(sum(len(message["content"]) for message in messages) / _CHARACTERS_A_TOKEN)

    def _contamination(self) -> Iterator[RowFinding]:
        if not self.matches:
            return
        where = tuple(
            f"{self._at(match.row)}: {match.text!r:.80} is {_NEARNESS[match.kind]} {match.case} {match.asked!r:.80} "
            f"({match.similarity:.0%})"
            for match in sorted(self.matches, key=lambda match: -match.similarity)[:_SHOWN]
        )
        message = "rows ask what the suites ask: the benchmark would measure memory; leave them out"
        yield RowFinding("error", "contamination", message, len(self.matches), where)

    def _template(self) -> Iterator[RowFinding]:
        if self._form is None:
            return
        yield from template_findings(self._form, sorted(self._roles))
        if self._refused.count:
            where = (f"{at}: {why}" for at, why in zip(self._first(self._refused), self._why, strict=False))
            yield RowFinding(
                "error", "template", "rows cannot be learnt as they are", self._refused.count, tuple(where)
            )

    def _white_space(self) -> Iterator[RowFinding]:
        if self._indented.count:
            message = (
                "answers begin with white space: it is learnt, and left out where answers are read; remove it unless "
                "it is wanted"
            )
            where = self._first(self._indented)
            yield RowFinding("warning", "white space", message, self._indented.count, where)

    def _quotes(self) -> Iterator[RowFinding]:
        if self._quoted.count == len(self.lines) > 0:
            yield RowFinding("warning", "quotes", QUOTED, self._quoted.count, self._first(self._quoted))

    def _lengths(self) -> Iterator[RowFinding]:
        if self._too_long.count:
            about = "about " if self._estimated else ""
            message = (
                f"rows have more than {self._limit} tokens ({about}{self._longest} at most); shorten or split them"
            )
            severity: _Severity = "warning" if self._estimated else "error"
            yield RowFinding(severity, "length", message, self._too_long.count, self._first(self._too_long))

    def _system_prompts(self) -> Iterator[RowFinding]:
        asked = {_system(case.messages) for case in self._cases}
        trained = set(self._systems)
        if not self._cases or trained <= asked:
            return
        others = sorted(map(_shown, trained - asked))
        suites = ", ".join(sorted(map(_shown, asked)))
        message = f"the system prompt is {', '.join(others[:3])} where the suites have {suites}"
        yield RowFinding("warning", "system", message, sum(self._systems[system] for system in trained - asked))

    def _duplicates(self) -> Iterator[RowFinding]:
        same, other, near = _Pairs(len(self.lines)), _Pairs(len(self.lines)), _Pairs(len(self.lines))
        leading, answered = -1, _Answered()
        for first, second, similarity in self._texts.pairs():
            if similarity < 1:
                near.add(first, second)
                continue
            if first != leading:
                leading, answered = first, _Answered()
                answered.add(first, self._contexts[first], self._answers[first])
            earlier = answered.add(second, self._contexts[second], self._answers[second])
            if earlier is not None:
                kind = same if self._answers[earlier] == self._answers[second] else other
                kind.add(earlier, second)
        kinds: tuple[tuple[_Severity, str, str, _Pairs], ...] = (
            ("warning", "duplicates", "rows ask what another asks, with the same answer; leave them out", same),
            ("warning", "contradictions", "rows ask what another asks, with another answer; choose one", other),
            ("note", "near-duplicates", "rows ask nearly what another asks; split with llmbench dataset split", near),
        )
        for severity, check, message, pairs in kinds:
            if pairs.count:
                where = tuple(f"{self._at(second)}: as line {self.lines[first]}" for first, second in pairs.shown)
                yield RowFinding(severity, check, message, pairs.count, where)
        if not self._texts.exact:
            message = "the dataset is large: only rows that begin alike, end alike or share their words were compared"
            yield RowFinding("note", "near-duplicates", message, len(self.lines))

    def _first(self, rows: _Rows) -> tuple[str, ...]:
        return tuple(map(self._at, rows.shown))

    def _at(self, place: int) -> str:
        return located(self._path, self.lines[place], "").rstrip(": ")


class _Rows:
    """How many rows have a fault, and the places of the first of them."""

    def __init__(self) -> None:
        self.count = 0
        self.shown: list[int] = []

    def add(self, place: int) -> None:
        self.count += 1
        if len(self.shown) < _SHOWN:
            self.shown.append(place)


class _Pairs:
    """How many rows come after one they resemble, each counted once, and the first such pairs."""

    def __init__(self, rows: int) -> None:
        self.count = 0
        self.shown: list[tuple[int, int]] = []
        self._counted = bytearray(rows)

    def add(self, first: int, second: int) -> None:
        first, second = sorted((first, second))
        if not self._counted[second]:
            self._counted[second] = 1
            self.count += 1
            if len(self.shown) < _SHOWN:
                self.shown.append((first, second))


class _Answered:
    """The rows that ask one question, by what was said before it and by their answers."""

    def __init__(self) -> None:
        self._firsts: dict[int, dict[int, int]] = {}

    def add(self, place: int, context: int, answer: int) -> int | None:
        """Take a row. Gives the first one with its context and its answer, else the first with its context."""
        firsts = self._firsts.setdefault(context, {})
        earlier = firsts.get(answer, next(iter(firsts.values()), None))
        firsts.setdefault(answer, place)
        return earlier


def _context(row: Mapping[str, Any]) -> int:
    """What is said before the answer beside the user's words, system prompt and earlier answers, as a number."""
    return hash(
        tuple(
            (message["role"], message["role"] != "user" and identity(message["content"])) for message in row["prompt"]
        )
    )


def _system(messages: Sequence[Mapping[str, str]]) -> str | None:
    return messages[0]["content"] if messages and messages[0]["role"] == "system" else None


def _shown(system: str | None) -> str:
    return "none" if system is None else f"{system!r:.60}"


@dataclasses.dataclass(frozen=True, slots=True)
class RowFinding:
    """What a check found: how bad, which check, in words, on how many rows, and the first of them (`file:line`)."""

    severity: _Severity
    check: str
    message: str
    count: int = 1
    where: tuple[str, ...] = ()


def template_findings(form: PromptForm, roles: Sequence[str]) -> Iterator[RowFinding]:
    """What the base's chat template does to a conversation of these roles (of system, user and assistant)."""
    messages = [{"role": role, "content": said} for role, said in _SAID.items() if role in roles]
    try:
        rendered = form.write(messages, answer_follows=False)
    except PromptError as error:
        yield RowFinding("error", "template", f"a conversation of {', '.join(roles)}: {error}")
        return
    for dropped in (message["role"] for message in messages if message["content"] not in rendered):
        message = f"the base's chat template drops what the {dropped} says: it would be neither read nor learnt"
        yield RowFinding("error", "template", message)
    if not form.writes_an_end:
        message = (
            "the base's chat template writes nothing after an answer: the fine-tune would never learn to end, and its "
            "answers run to their limit; have the template write {{ eos_token }} after what the assistant says"
        )
        yield RowFinding("warning", "template", message)
    yield from _default_system(form, messages)


def _default_system(form: PromptForm, messages: Sequence[Mapping[str, str]]) -> Iterator[RowFinding]:
    """What stands before a first user turn and not before a second one is the template's own system prompt."""
    if messages[0]["role"] == "system":
        return
    again = [{"role": "user", "content": "llmbench-four"}]
    try:
        rendered = form.write([*messages, *again], answer_follows=False)
    except PromptError:
        return
    opening, _, rest = rendered.partition(_SAID["user"])
    between = rest.partition(_SAID["assistant"])[2].partition(again[0]["content"])[0]
    common = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(opening[::-1], between[::-1], strict=False))
    own = opening[: len(opening) - len(list(common))]
    own = own.removeprefix(form.tokenizer.bos_token or "").strip()
    if " " in own:
        message = f"the rows have no system prompt, and the base's chat template writes its own: {own!r:.120}"
        yield RowFinding("note", "template", message)
