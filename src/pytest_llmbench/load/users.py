"""The people of a trial: when they come, what they send, how long they think."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import itertools
import math
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from typing import Any, Literal

from pytest_llmbench.core.errors import ServerError, UsageError
from pytest_llmbench.load.client import Call, UserConnection
from pytest_llmbench.load.conversations import Conversation, Conversations

_PAUSE_AFTER_ERROR_S = 0.25
"""The least pause after a failed message, so that people without a cooldown do not hammer a server that refuses. It
doubles with each further failure in a row."""

_LONGEST_PAUSE_S = 8.0


@dataclasses.dataclass(frozen=True, slots=True)
class Habits:
    """How people come and behave.

    arrivals: "staggered" spreads the users over one cycle of theirs; "burst" starts all at once, and again all at once
        with each new conversation; "poisson" is no fixed crowd but single messages at random moments (open loop).
    messages: of one conversation, after which the same user begins another.
    history: how many earlier messages at most, answers included, are sent along.
    cooldown_s: between an answer and the next message; each time it varies by up to `jitter` of it, either way.

    Raises:
        UsageError: a value that no person can have.
    """

    arrivals: Literal["staggered", "burst", "poisson"] = "staggered"
    messages: int = 3
    history: int = 4
    cooldown_s: float = 10.0
    jitter: float = 0.2
    seed: int = 42

    def __post_init__(self) -> None:
        if self.messages < 1 or self.history < 0:
            raise UsageError("a conversation needs at least 1 message, and a history of at least 0 messages")
        if not (0 <= self.cooldown_s < math.inf and 0 <= self.jitter <= 1):
            raise UsageError("the cooldown must be at least 0 s, and its jitter between 0 and 1")


@dataclasses.dataclass(frozen=True, slots=True)
class UserShare:
    """Which part of a crowd lives in one process: every `of`-th user from number `first` on, or that part of a rate."""

    first: int = 0
    of: int = 1


_WHOLE = UserShare()


async def _nobody_else() -> None:
    """All of a burst are in this process."""


class Crowd:
    """Keeps a level of load up until it is cancelled; then every connection is closed at once.

    `calls` are all that was asked, in the order of asking. `gone` says why no connection could be made, `fatal` why
    asking more is no use. `gather` waits until those of a burst who live in other processes are there too.
    """

    def __init__(
        self,
        connect: Callable[[], UserConnection],
        habits: Habits,
        conversations: Conversations,
        cycle_s: float,
        share: UserShare = _WHOLE,
        gather: Callable[[], Awaitable[None]] = _nobody_else,
    ) -> None:
        self.calls: list[Call] = []
        self.fatal: ServerError | None = None
        self.gone: str | None = None
        self._connect = connect
        self._habits = habits
        self._conversations = conversations
        self._cycle_s = cycle_s
        self._share = share
        self._gather = gather
        self._random = random.Random(f"{habits.seed} {share.first}")  # noqa: S311  # think times, not secrets
        self._free: list[UserConnection] = []
        self._failures = Counter[int]()

    async def live(self, level: float) -> None:
        """Be its share of so many users in a closed loop, or of requests per second, until cancelled."""
        users = range(self._share.first, int(level), self._share.of)
        if self._habits.arrivals == "poisson":
            await self._visitors(level / self._share.of)
        elif self._habits.arrivals == "burst":
            together = asyncio.Barrier(len(users))
            await self._all(self._burst_user(user, together) for user in users)
        else:
            phases = self._phases(int(level))
            await self._all(self._staggered_user(user, phases[user]) for user in users)

    def _phases(self, level: int) -> list[float]:
        """When each user of all processes begins: the seed makes every process draw the same."""
        draw = random.Random(self._habits.seed)  # noqa: S311  # moments, not secrets
        return [(place + draw.random()) * self._cycle_s / level for place in range(level)]

    async def _all(self, people: Iterator[Coroutine[Any, Any, None]]) -> None:
        async with asyncio.TaskGroup() as group:
            for person in people:
                group.create_task(person)

    async def _staggered_user(self, user: int, phase_s: float) -> None:
        """The first conversation is a late part of one: else all would be at their first message together."""
        await asyncio.sleep(phase_s)
        habits, count = self._habits, itertools.count()
        turns = self._random.randint(1, habits.messages)
        async with self._connect() as connection:
            while True:
                await self._converse(user, connection, self._conversations.deal(turns), count)
                turns = habits.messages

    async def _burst_user(self, user: int, together: asyncio.Barrier) -> None:
        count = itertools.count()
        async with self._connect() as connection:
            while True:
                talk = self._conversations.deal(self._habits.messages)
                await self._meet(together)
                await self._converse(user, connection, talk, count)

    async def _meet(self, together: asyncio.Barrier) -> None:
        if await together.wait() == 0:
            await self._gather()
        await together.wait()

    async def _converse(self, user: int, connection: UserConnection, talk: Conversation, count: Iterator[int]) -> None:
        history = list(talk.past)
        for turn in talk.turns:
            question = {"role": "user", "content": turn}
            sent = [*_system(talk), *_window(history, self._habits.history), question]
            call = await self._ask(connection, user, next(count), sent)
            if call.error is None or call.cut_in_mid_answer:
                history += [question, {"role": "assistant", "content": call.answer.text}]
            await self._think(call)

    async def _visitors(self, rate: float) -> None:
        """Single messages at exponentially spaced moments, kept to their schedule even when one comes late."""
        clock = asyncio.get_running_loop().time
        due = clock()
        async with contextlib.AsyncExitStack() as connections, asyncio.TaskGroup() as group:
            for visitor in itertools.count(self._share.first, self._share.of):
                due += self._random.expovariate(rate)
                await asyncio.sleep(due - clock())
                group.create_task(self._visit(visitor, connections))

    async def _visit(self, visitor: int, connections: contextlib.AsyncExitStack) -> None:
        connection = self._free.pop() if self._free else await connections.enter_async_context(self._connect())
        talk = self._conversations.deal(1)
        await self._ask(connection, visitor, 0, [*_system(talk), {"role": "user", "content": talk.turns[0]}])
        self._free.append(connection)

    async def _ask(
        self, connection: UserConnection, user: int, message: int, messages: list[Mapping[str, str]]
    ) -> Call:
        call = Call(user, message)
        self.calls.append(call)
        try:
            await connection.ask(call, messages)
        except ServerError as error:
            self.fatal = self.fatal or error
        if call.failure == "unreachable":
            self.gone = call.error
        return call

    async def _think(self, call: Call) -> None:
        await asyncio.sleep(self.pause_s(call, time.monotonic()))

    def pause_s(self, call: Call, now: float) -> float:
        """How long its user waits from now on before asking again.

        People read from an answer's end on, and do not wait for a stream that the server leaves open after it: else
        such a server would be asked less than it is in earnest.
        """
        habits = self._habits
        cooldown_s = habits.cooldown_s * (1 + habits.jitter * self._random.uniform(-1, 1))
        ended = now if call.ended is None else call.ended
        return max(cooldown_s - (now - ended), self._patience_s(call))

    def _patience_s(self, call: Call) -> float:
        """The least pause after this message: what the server asked for, and longer each time it fails again."""
        if call.error is None or call.cut_in_mid_answer:
            self._failures[call.user] = 0
            return 0.0
        self._failures[call.user] += 1
        doubled_s = _PAUSE_AFTER_ERROR_S * 2.0 ** min(self._failures[call.user] - 1, 10)
        return max(call.retry_after_s, min(_LONGEST_PAUSE_S, doubled_s))


def _system(talk: Conversation) -> list[Mapping[str, str]]:
    return [] if talk.system is None else [{"role": "system", "content": talk.system}]


def _window(history: list[Mapping[str, str]], size: int) -> list[Mapping[str, str]]:
    """The last messages, beginning with one of the user's: chat templates refuse a conversation that does not."""
    recent = history[-size:] if size else []
    return recent[1:] if recent and recent[0]["role"] == "assistant" else recent
