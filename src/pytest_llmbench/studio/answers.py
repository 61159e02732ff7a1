"""Questions to a base and its fine-tune: one process holds the pair while it is asked, and ends when it is idle."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from pytest_llmbench.core.errors import LLMBenchError, NotReadyError, error_of
from pytest_llmbench.studio.jobs import WrongStateError
from pytest_llmbench.studio.options import StudioOptions
from pytest_llmbench.studio.store import Job

_LONGEST_LINE = 16 * 2**20
_READY_S = 300.0
_SHOWN = 400  # characters of what a process said that ended by itself


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Question(_Document):
    """What is asked of both."""

    question: str = Field(min_length=1, max_length=20_000, examples=["monte le son"])
    system: str | None = Field(default=None, max_length=20_000, description="a system prompt")


class AnswerEvent(BaseModel):
    """Something that is heard while both answer.

    `begin` says who answers next, `piece` some more of the text, `answer` all of it with how long it took, `done` that
    both have answered, `problem` why not.
    """

    model_config = ConfigDict(frozen=True)

    kind: Literal["begin", "piece", "answer", "done", "problem"]
    variant: str | None = Field(default=None, description="who answers: base, or finetuned")
    text: str | None = None
    answered: bool | None = Field(
        default=None,
        description="of an answer: whether it is one: not failed, nor late, nor thinking alone",
    )
    reasoning: str | None = Field(default=None, description="what the model thought before its answer")
    finish: str | None = Field(default=None, description="stop, length, timeout or error")
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    latency_s: float | None = None
    first_token_s: float | None = None
    tokens_per_s: float | None = None
    error: str | None = None
    code: str | None = Field(default=None, description="of a problem: the kind of error")
    message: str | None = Field(default=None, description="of a problem: what is wrong, and what to do")


class Answers:
    """Asks one question after the other. Of several pairs that are asked in turns, the newest one is held."""

    def __init__(self, options: StudioOptions) -> None:
        self._options = options
        self._turn = asyncio.Lock()
        self._holder: _Holder | None = None
        self._idle: asyncio.TimerHandle | None = None
        self._letting_go: set[asyncio.Task[None]] = set()

    def pair(self, job: Job) -> str:
        """The settings, as JSON, that open the base of a training with its adapter.

        Raises:
            WrongStateError: the job is no training that has finished.
        """
        if job.kind != "finetune" or job.state != "finished" or not job.output:
            told = f"job {job.id} is no finished training ({job.kind}, {job.state}); there is no adapter to ask"
            raise WrongStateError(told)
        settings = self._options.settings
        model = {"base": job.model, "adapter": job.output, "quantization": job.settings.get("quantization", "nf4")}
        changed = settings.model_copy(
            update={
                "model": settings.model.model_copy(update=model),
                "generation": settings.generation.model_copy(update={"batch_size": 1}),  # no looking for the best one
                "server": type(settings.server)(),
            }
        )
        return changed.model_dump_json()

    async def ask(self, pair: str, asked: Question) -> AsyncIterator[AnswerEvent]:
        """Both answers as they are made; the base's comes first. A pair that cannot be loaded is a `problem`."""
        async with self._turn:
            self._stay()
            try:
                holder = await self._held(pair)
                async for event in holder.ask(asked):
                    yield event
            except LLMBenchError as error:
                yield AnswerEvent(kind="problem", code=error.code, message=str(error))
            finally:
                if self._holder and not self._holder.is_idle:  # a reader that left: the rest is answered to nobody
                    await self._let_go()
                self._idle = asyncio.get_running_loop().call_later(self._options.settings.studio.idle_s, self._expire)

    async def close(self) -> None:
        """Free the model."""
        self._stay()
        await self._let_go()
        await asyncio.gather(*self._letting_go)

    def _stay(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None

    def _expire(self) -> None:
        task = asyncio.get_running_loop().create_task(self._end_idle())
        self._letting_go.add(task)
        task.add_done_callback(self._letting_go.discard)

    async def _end_idle(self) -> None:
        """Free the model, unless a question came in the very moment: who asks begins a new time of idleness."""
        if not self._turn.locked():
            await self._let_go()

    async def _held(self, pair: str) -> _Holder:
        if self._holder is None or self._holder.pair != pair or not self._holder.is_alive:
            await self._let_go()
            self._holder = await _Holder.start(pair)
        return self._holder

    async def _let_go(self) -> None:
        holder, self._holder = self._holder, None
        if holder is not None:
            await holder.end()


class _Holder:
    """The process that holds a pair."""

    def __init__(self, pair: str, process: asyncio.subprocess.Process) -> None:
        self.pair, self._process = pair, process
        self.is_idle = True
        self._said = bytearray()
        self._listening = asyncio.create_task(self._listen())

    @classmethod
    async def start(cls, pair: str) -> _Holder:
        """Load the pair.

        Raises:
            LLMBenchError: it cannot be loaded, or not in five minutes.
        """
        pipe = asyncio.subprocess.PIPE
        command = [sys.executable, "-P", "-m", "pytest_llmbench.studio.answering", pair]
        process = await asyncio.create_subprocess_exec(
            *command, stdin=pipe, stdout=pipe, stderr=pipe, limit=_LONGEST_LINE, start_new_session=True
        )
        holder = cls(pair, process)
        try:
            async with asyncio.timeout(_READY_S):
                await holder.hear()
        except TimeoutError as error:
            await holder.end()
            raise NotReadyError(f"the model was not loaded in {_READY_S:g} s; is the machine too busy?") from error
        except BaseException:
            await holder.end()
            raise
        return holder

    @property
    def is_alive(self) -> bool:
        """Whether it can be asked."""
        return self._process.returncode is None

    async def ask(self, asked: Question) -> AsyncIterator[AnswerEvent]:
        """What is heard until both have answered."""
        assert self._process.stdin is not None  # noqa: S101  # it was asked for
        self.is_idle = False
        self._process.stdin.write(asked.model_dump_json().encode() + b"\n")
        await self._process.stdin.drain()
        while True:
            event = AnswerEvent.model_validate(await self.hear())
            self.is_idle = event.kind == "done"
            yield event
            if self.is_idle:
                return

    async def hear(self) -> dict[str, Any]:
        """The next thing that it tells.

        Raises:
            LLMBenchError: it tells of one, or has ended.
        """
        assert self._process.stdout is not None  # noqa: S101
        line = await self._process.stdout.readline()
        if not line:
            code = await self._process.wait()
            await self._listening
            said = self._said.decode(errors="replace")[-_SHOWN:].strip()
            raise NotReadyError(
                f"the process that holds the model ended with code {code}; was the memory enough? {said}"
            )
        told: dict[str, Any] = json.loads(line)
        if told["kind"] == "problem":
            self.is_idle = True
            raise error_of(told["code"], told["message"], tuple(told["names"]))
        return told

    async def end(self) -> None:
        """End it at once; its memory is free then."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()
        await self._listening

    async def _listen(self) -> None:
        """Keep the end of what libraries say: a pipe that nobody reads would stop them."""
        assert self._process.stderr is not None  # noqa: S101
        while said := await self._process.stderr.read(4096):
            self._said += said
            del self._said[: -2 * _SHOWN]
