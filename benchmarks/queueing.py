"""A server of known capacity, simulated without waiting: slots, a queue, noise, stalls, and users in a closed loop."""

from __future__ import annotations

import functools
import heapq
import math
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

Random = np.random.Generator

_TRUTH_SEED = 20_250_101
_LONG_MESSAGES = 60  # of a user in one of the many trials that the truth is averaged over
_BURST_S = 0.001


@dataclass(frozen=True)
class Server:
    """A queueing model. Times are seconds; answers are served in the order of arrival, as many at once as slots.

    `noise` is the coefficient of variation of the lognormal factors of prefill and decode. `stall_share` of the
    requests take `stall_s` longer to their first token: in their slot, so that others wait too, or on the way to the
    user (`stall_holds_slot`). Users cool down `cooldown_s`, plus or minus `jitter` of it.
    """

    slots: int
    prefill_s: float
    decode_s: float
    cooldown_s: float
    noise: float = 0.0
    jitter: float = 0.2
    stall_share: float = 0.0
    stall_s: float = 0.4
    stall_holds_slot: bool = True


@dataclass(frozen=True)
class Promise:
    """What is searched: `share` of answers within `limit_s`, to the first token or to the end, with these arrivals."""

    limit_s: float
    share: float
    first_token: bool = False
    burst: bool = False
    messages: tuple[int, int] = (3, 10)


@dataclass(frozen=True)
class Answers:
    """(requests,) in the order of arrival: who asked, the how manyth message, when, when it came, whether in time."""

    user: NDArray[np.int64]
    message: NDArray[np.int64]
    sent_s: NDArray[np.float64]
    seen_s: NDArray[np.float64]
    good: NDArray[np.bool_]

    def only(self, chosen: NDArray[np.bool_]) -> Answers:
        """Only the chosen ones."""
        return Answers(*(getattr(self, column.name)[chosen] for column in fields(self)))


def simulate(server: Server, promise: Promise, users: int, messages: int, random: Random) -> Answers:
    """Let so many users send so many messages each. Served in order, each answer's end is known when it arrives."""
    prefill, decode, late, cooldown = (column.tolist() for column in _draws(server, users * messages, random))
    cycle = server.prefill_s + server.decode_s + server.cooldown_s
    starts = random.random(users) * (_BURST_S if promise.burst else cycle)
    waiting = [(start, user, 0) for user, start in enumerate(starts.tolist())]
    heapq.heapify(waiting)
    free, rows = [0.0] * server.slots, []
    for index in range(users * messages):
        sent, user, message = waiting[0]
        first = max(sent, free[0]) + prefill[index]
        end = first + decode[index]
        heapq.heapreplace(free, end)
        seen = (first if promise.first_token else end) + late[index]
        rows.append((user, message, sent, seen, seen - sent <= promise.limit_s))
        if message + 1 < messages:
            heapq.heapreplace(waiting, (end + late[index] + cooldown[index], user, message + 1))
        else:
            heapq.heappop(waiting)
    return Answers(*(np.array(column) for column in zip(*rows, strict=True)))


@functools.cache
def long_run_share(server: Server, promise: Promise, users: int, answers: int) -> float:
    """The truth at a level: the share of good answers over many trials with the same arrivals.

    A burst is the first messages of all users, so it is repeated; otherwise users come and go on for long.
    """
    random = np.random.default_rng(_TRUTH_SEED)
    messages = promise.messages[0] if promise.burst else _LONG_MESSAGES
    good = total = 0
    while total < answers:
        seen = simulate(server, promise, users, messages, random)
        counted = seen.good[seen.message >= warm_up(promise)]
        good, total = good + int(counted.sum()), total + len(counted)
    return good / total


def warm_up(promise: Promise) -> int:
    """Messages of each user that do not count, while staggered users are still arriving."""
    return 0 if promise.burst else 1


def _draws(server: Server, size: int, random: Random) -> tuple[NDArray[np.float64], ...]:
    sigma = math.sqrt(math.log1p(server.noise**2))
    factors = np.exp(random.normal(-(sigma**2) / 2, sigma, (2, size)))
    stalls = server.stall_s * (random.random(size) < server.stall_share)
    held = stalls if server.stall_holds_slot else np.zeros(size)
    cooldown = server.cooldown_s * (1 + server.jitter * (2 * random.random(size) - 1))
    return server.prefill_s * factors[0] + held, server.decode_s * factors[1], stalls - held, cooldown
