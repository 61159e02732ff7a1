"""Who is asked what: every question is waiting, in flight with one actor, or answered, whoever dies in between."""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pytest_llmbench.cases.suites import Case
from pytest_llmbench.core.errors import UsageError
from pytest_llmbench.core.records import Completion

_Key = tuple[str, int, str]


@dataclass(frozen=True, slots=True)
class Asked:
    """One question: a case and who answers it. `done` is its answer where only an embedding is wanted of it."""

    case: Case
    variant: str
    done: Completion | None = None

    @property
    def key(self) -> _Key:
        """What tells it from others: the case's name, its epoch and the variant."""
        return self.case.name, self.case.epoch, self.variant


@dataclass(frozen=True, slots=True, eq=False)
class Share:
    """What one actor is asked at once. Two shares are never equal, even when they ask the same."""

    asked: tuple[Asked, ...]


class Assignments:
    """The questions of one call, divided into shares of near equal size.

    A share whose actor dies goes back, without what was answered by then. The first time it is asked again as it was;
    after that, and always the last time, each of its questions alone, so that one that kills its actor takes no other
    with it. A question that was in flight at `attempts` deaths is given up.

    Args:
        asked: every question, those of one case next to each other or not.
        size: the most cases of a share; every variant of a case is in the same one.
        actors: over how many of them shares should come out even.
        attempts: after how many deaths a question is given up.
    """

    def __init__(self, asked: Sequence[Asked], *, size: int, actors: int, attempts: int) -> None:
        self._open = {one.key: one for one in asked}
        self._attempts = attempts
        self._deaths = Counter[_Key]()
        self._in_flight: set[Share] = set()
        cases: dict[tuple[str, int], list[Asked]] = {}
        for one in asked:
            cases.setdefault((one.case.name, one.case.epoch), []).append(one)
        longest_first = list(cases.values())[
            ::-1
        ]  # the planner gives them by length; a long one last keeps all waiting
        self._waiting = deque(_shares(longest_first, _even(len(cases), size, actors)))

    @property
    def finished(self) -> bool:
        """Whether nothing is waiting or in flight."""
        return not self._open

    def take(self) -> Share | None:
        """The next share, which is in flight from now on; None where nothing waits."""
        if not self._waiting:
            return None
        share = self._waiting.popleft()
        self._in_flight.add(share)
        return share

    def answered(self, share: Share, completion: Completion) -> bool:
        """Note an answer; False where the share is no longer in flight, so that the answer comes from elsewhere.

        Raises:
            UsageError: the share does not ask for it, or has its answer.
        """
        if share not in self._in_flight:
            return False
        key = completion.case, completion.epoch, completion.variant
        if key not in self._open or all(one.key != key for one in share.asked):
            place = f"{completion.case} (epoch {completion.epoch})"
            raise UsageError(f"the backend answered {place} twice, or was not asked for it; mend the backend")
        del self._open[key]
        return True

    def ended(self, share: Share) -> list[Asked]:
        """The actor has nothing more to say; what it left unanswered is not asked again."""
        return self._closed(self._returned(share))

    def lost(self, share: Share) -> tuple[list[Asked], list[Asked]]:
        """The actor died: its questions wait again. Those that do are returned, and those that are given up."""
        back = self._returned(share)
        self._deaths.update(one.key for one in back)
        given_up = self._closed([one for one in back if self._deaths[one.key] >= self._attempts])
        again = [one for one in back if one.key in self._open]
        enough = min(2, self._attempts - 1)
        alone = [(one,) for one in again if self._deaths[one.key] >= enough]
        once = [one for one in again if self._deaths[one.key] < enough]
        self._waiting.extendleft(Share(part) for part in [tuple(once), *alone] if part)
        return again, given_up

    def too_large(self, share: Share) -> list[Asked]:
        """Memory did not suffice: two halves wait. A single question that does not fit is given up and returned."""
        back = self._returned(share)
        if len(back) == 1:
            return self._closed(back)
        half = math.ceil(len(back) / 2)
        self._waiting.extendleft(Share(tuple(part)) for part in (back[half:], back[:half]) if part)
        return []

    def _returned(self, share: Share) -> list[Asked]:
        self._in_flight.discard(share)
        return [one for one in share.asked if one.key in self._open]

    def _closed(self, given_up: list[Asked]) -> list[Asked]:
        for one in given_up:
            del self._open[one.key]
        return given_up


def _even(cases: int, size: int, actors: int) -> int:
    """The size of a share with which all actors have as many shares, and no share is larger than it may be."""
    rounds = math.ceil(cases / (size * actors))
    return max(1, math.ceil(cases / (rounds * actors))) if rounds else size


def _shares(cases: Sequence[Iterable[Asked]], size: int) -> list[Share]:
    return [Share(tuple(one for case in cases[at : at + size] for one in case)) for at in range(0, len(cases), size)]
