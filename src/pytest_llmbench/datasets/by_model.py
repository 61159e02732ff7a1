"""Datasets that a served model writes: the work is parted, its answers are read strictly, what is refused is told."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import hashlib
import itertools
import json
import math
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llmbench.cases.suites import load_vocabulary
from pytest_llmbench.core.errors import NotReadyError, ServerError, UsageError
from pytest_llmbench.core.journal import Journal
from pytest_llmbench.core.languages import told_language
from pytest_llmbench.core.starter import present
from pytest_llmbench.datasets.chunks import read_chunks
from pytest_llmbench.datasets.disk_sequence import Computed, shuffled, spooled
from pytest_llmbench.datasets.llm_prompts import Assignment, again, read_answer
from pytest_llmbench.datasets.near_duplicates import identity
from pytest_llmbench.datasets.record_files import OnProgress, Progress, reading
from pytest_llmbench.datasets.row_formats import answer_text, new_row
from pytest_llmbench.datasets.rows import stream_rows

if TYPE_CHECKING:
    from pytest_llmbench.datasets.order import Order
    from pytest_llmbench.datasets.row_languages import Origin, RowLanguages


_TIMEOUT_S = 120.0
_OPEN_TIMEOUT_S = 10.0
_RETRIES = 3
_MOST_TOKENS = 2048
_FEW = 4  # questions, the first ones: where the server fails them all alike, asking on is no use
_SEED_BITS = 0x7FFFFFFF

_NO_ANSWER = "no whole answer came"
_NUMBER = re.compile(r"\d+")

_ROWS_A_TIME = 5  # without a count
_MOST_A_TIME = 10  # small models lose count of more
_SPARE = 1.25  # rows asked for per row ordered, since some are refused

RowMaker = Callable[[str, str], dict[str, Any]]
Subject = tuple[Callable[[int], Assignment], RowMaker]
Job = tuple[Assignment, RowMaker]


@dataclasses.dataclass(frozen=True, slots=True)
class _Failure:
    """Why an assignment has no whole answer."""

    reason: str


class _AnswerJournal:
    """Answers by the question they belong to, one JSON line each. A line that a crash cut off is asked again.

    Raises:
        NotReadyError: the file that is there cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._lines = Journal(path)
        self._answers: dict[str, str] = {}
        try:
            lines = list(self._lines.unread())
        except OSError as error:
            raise NotReadyError(f"the answers in {path} cannot be read: {error.strerror}; move it away") from error
        for line in lines:
            with contextlib.suppress(ValueError, KeyError, TypeError):
                data = json.loads(line)
                self._answers[data["key"]] = data["answer"]

    def get(self, key: str) -> str | None:
        """The answer of this key, if it was given."""
        return self._answers.get(key)

    def add(self, key: str, answer: str) -> None:
        """Append an answer. Raises NotReadyError when the disk refuses."""
        self._lines.append({"key": key, "answer": answer})
        self._answers[key] = answer


def _ask_all(
    assignments: Sequence[Assignment],
    *,
    url: str,
    model: str | None,
    key: str,
    seed: int,
    journal: _AnswerJournal,
    concurrency: int,
    on_answer: Callable[[], None],
) -> list[str | _Failure]:
    """The server's answer to each assignment, or why there is none. What the journal holds is not asked again.

    `model` may be left out where the server serves one. `key` is the server's, empty when it wants none.

    Raises:
        ServerError: nobody answers there, key or model are refused, or the server fails the first questions all alike;
            what was answered before is in the journal.
        UsageError: the URL is none.
        NotReadyError: the disk is full.
    """
    from pytest_llmbench.generation.client.background_loop import BackgroundLoop
    from pytest_llmbench.generation.client.server_address import api_url, request_headers

    loop = BackgroundLoop()
    try:
        session = _Session(api_url(url), request_headers({}, key), seed, journal, on_answer)
        return loop.run(session.ask_all(assignments, model, concurrency))
    finally:
        loop.close()


class _Session:
    def __init__(
        self, url: str, headers: dict[str, str], seed: int, journal: _AnswerJournal, on_answer: Callable[[], None]
    ) -> None:
        self._url = url
        self._headers = headers
        self._seed = seed
        self._journal = journal
        self._on_answer = on_answer
        self._answered = False
        self._failed_first: list[str] = []

    async def ask_all(
        self, assignments: Sequence[Assignment], model: str | None, concurrency: int
    ) -> list[str | _Failure]:
        from pytest_llmbench.generation.client.chat_client import ChatClient

        client = ChatClient(self._url, self._headers, concurrency, _TIMEOUT_S, _RETRIES)
        answers: list[str | _Failure] = [_Failure("not asked")] * len(assignments)
        waiting = iter(enumerate(assignments))
        try:
            name = await self._model(client, model)

            async def keep_a_slot_busy() -> None:
                for place, assignment in waiting:
                    answers[place] = await self._answer(client, place, assignment, name)

            async with asyncio.TaskGroup() as slots:
                for _ in range(concurrency):
                    slots.create_task(keep_a_slot_busy())
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from failures
        finally:
            await client.close()
        return answers

    async def _model(self, client: Any, model: str | None) -> str:
        from pytest_llmbench.generation.client.served_models import VariantTarget, with_models
        from pytest_llmbench.generation.client.server_pages import engine_behind, reach

        reached = await reach(client, _OPEN_TIMEOUT_S, named=model is not None)
        engine, wanted = await engine_behind(client, reached), {"base": VariantTarget(model, {})}
        models = engine.named(reached.models)
        target = with_models(wanted, models, reached.url, all_listed=engine.lists_all)["base"]
        return str(target.model)

    async def _answer(self, client: Any, place: int, assignment: Assignment, model: str) -> str | _Failure:
        body = {"model": model, "messages": assignment.messages, "temperature": 0.7, "max_tokens": _MOST_TOKENS}
        digest = hashlib.sha256(json.dumps([self._seed, body], sort_keys=True).encode())
        key = digest.hexdigest()
        text = self._journal.get(key)
        if text is None:
            seed = int.from_bytes(digest.digest()[:4]) & _SEED_BITS
            reply, most = await _whole(client, {**body, "seed": seed, "stream": False}, assignment.most_tokens)
            if reply.finish != "stop":
                self._on_answer()
                if reply.error and place < _FEW:
                    self._note_failure(reply.error)
                cut_off = f"cut off at {most} tokens" if reply.finish == "length" else f"it ended with {reply.finish}"
                return _Failure(reply.error or cut_off)
            text = reply.text
            self._journal.add(key, text)
        self._answered = True
        self._on_answer()
        return text

    def _note_failure(self, reason: str) -> None:
        """Of one of the first questions, which are asked at the same time as others. What a model writes too long, or
        not at all, is of its own question and no failure of the server.
        """
        self._failed_first.append(_NUMBER.sub("", reason))
        if not self._answered and len(self._failed_first) == _FEW and len(set(self._failed_first)) == 1:
            raise ServerError(f"{self._url}: the first {_FEW} questions had no whole answer: {reason}")


async def _whole(client: Any, body: dict[str, Any], enough: int) -> tuple[Any, int]:
    """The reply, and the tokens it might have: those that are enough for its rows, else, as for a model that thinks
    before it writes, the most. A server with a short context refuses the most.
    """
    for most in sorted({min(enough, _MOST_TOKENS), _MOST_TOKENS}):
        reply = await client.ask({**body, "max_tokens": most})
        if reply.finish != "length":
            break
    return reply, most


def write_rows_of_model(
    order: Order, origin: Origin, languages: RowLanguages, on_progress: OnProgress
) -> tuple[list[dict[str, Any]], list[str]]:
    """The rows that the model wrote, and notes on what was refused. The source is kept on disk, the answers are not.

    Raises:
        UsageError: no server is named, or the source is wrong.
        ServerError: the server is gone; its answers so far are in the journal.
        NotReadyError: the temporary folder is full.
    """
    writer = order.writer
    if writer is None:
        told = "the method llm needs the server that writes the rows, such as http://127.0.0.1:8000"
        raise UsageError(told, names=("server",))
    with _subjects(order, origin, languages, reading(order.source, on_progress)) as subjects:
        jobs = _jobs(subjects, order.count, order.seed)
        done = itertools.count(1)
        journal = _CountingJournal(writer.journal)
        answers = _ask_all(
            Computed(len(jobs), lambda place: jobs[place][0]),
            url=writer.url,
            model=writer.model,
            key=writer.key,
            seed=order.seed,
            journal=journal,
            concurrency=writer.concurrency,
            on_answer=lambda: on_progress("asking the model", next(done), len(jobs)),
        )
        rows, notes = _read(jobs, answers)
    answered = sum(isinstance(answer, str) for answer in answers)
    return rows, notes + _kept(writer.journal, answered, answered - journal.added)


class _CountingJournal(_AnswerJournal):
    """Tells how many answers are new."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.added = 0

    def add(self, key: str, answer: str) -> None:
        super().add(key, answer)
        self.added += 1


def _kept(journal: Path, answered: int, reused: int) -> list[str]:
    """Where the answers are, and how to get others."""
    if not answered:
        return []
    anew = "delete it, or give another seed, to ask anew"
    if reused:
        return [f"{reused} of {answered} answers were not asked for again but taken from {journal}; {anew}"]
    return [f"the model's answers are kept in {journal}, where the same command finds them; {anew}"]


@contextlib.contextmanager
def _subjects(order: Order, origin: Origin, languages: RowLanguages, progress: Progress) -> Iterator[Sequence[Subject]]:
    """What the model is asked about, on disk while in the `with`."""

    def plain(question: str, answer: str) -> dict[str, Any]:
        return new_row(question, answer, order.system, kind="llm")

    def of_chunk(title: str | None, text: str, told: str | None) -> Subject:
        more = {"language": told} if told else {}
        return (
            functools.partial(languages.writing(told).about_chunk, title, text),
            lambda question, answer: plain(question, answer) | more,
        )

    match origin:
        case "chunks":
            with spooled(_chunks(order, languages, progress)) as chunks:
                yield Computed(len(chunks), lambda place: of_chunk(*chunks[place]))
        case "rows":
            with spooled(_rows(order, languages, progress)) as rows:
                yield Computed(len(rows), lambda place: _rephrasing(rows[place], languages))
        case "templates" | "vocabulary":
            words = load_vocabulary(order.source if origin == "vocabulary" else present(order.vocabulary))
            about_tool = languages.writing(None).about_tool
            yield [(functools.partial(about_tool, tool, words.about(tool)), plain) for tool in words.tools]


def _chunks(order: Order, languages: RowLanguages, progress: Progress) -> Iterator[tuple[str | None, str, str | None]]:
    """What a model is told of each chunk; that there are words for its language is made sure of before it is asked."""
    for chunk in read_chunks(order.source, progress):
        languages.writing(chunk.language, chunk.line)
        yield chunk.title, chunk.text, chunk.language


def _rows(order: Order, languages: RowLanguages, progress: Progress) -> Iterator[dict[str, Any]]:
    for numbered in stream_rows(order.source, progress):
        languages.writing(told_language(numbered.row), numbered.line)
        yield numbered.row


def _rephrasing(row: dict[str, Any], languages: RowLanguages) -> Subject:
    question, answer = row["prompt"][-1], answer_text(row)

    def to_row(asked: str, _said: str) -> dict[str, Any]:
        return {**row, "prompt": [*row["prompt"][:-1], {**question, "content": asked}], "kind": "llm"}

    like_row = languages.writing(told_language(row)).like_row
    return functools.partial(like_row, question["content"], answer), to_row


def _jobs(subjects: Sequence[Subject], count: int | None, seed: int) -> Sequence[Job]:
    """What is asked for, evenly over the subjects."""
    rng = random.Random(f"{seed}/subjects")  # noqa: S311 - reproducible on purpose, nothing secret
    order = shuffled(len(subjects), rng)
    if count is None or not subjects:
        each, jobs = _ROWS_A_TIME, len(subjects)
    else:
        wanted = math.ceil(count * _SPARE)
        each = min(_MOST_A_TIME, math.ceil(wanted / len(subjects)))
        jobs = math.ceil(wanted / each)

    def job(place: int) -> Job:
        series, turn = divmod(place, len(subjects))
        ask, to_row = subjects[order[turn]]
        return again(ask(each), series + 1) if series else ask(each), to_row

    return Computed(jobs, job)


def _read(jobs: Sequence[Job], answers: Sequence[str | _Failure]) -> tuple[list[dict[str, Any]], list[str]]:
    rows: list[dict[str, Any]] = []
    refused: Counter[str] = Counter()
    failed: Counter[str] = Counter()
    seen: set[str] = set()
    for (assignment, to_row), answer in zip(jobs, answers, strict=True):
        if isinstance(answer, _Failure):
            refused[_NO_ANSWER] += assignment.count
            failed[answer.reason] += 1
            continue
        written = read_answer(answer, assignment)
        refused.update(written.refused)
        for question, said in written.pairs:
            if identity(question) in seen:
                refused["repeated"] += 1
            else:
                seen.add(identity(question))
                rows.append(to_row(question, said))
    most_often = {_NO_ANSWER: f"; {failed.most_common(1)[0][0]}"} if failed else {}
    reasons = ", ".join(f"{why} ({number}{most_often.get(why, '')})" for why, number in refused.most_common())
    return rows, [f"{sum(refused.values())} of what the model wrote refused: {reasons}"] if refused else []
