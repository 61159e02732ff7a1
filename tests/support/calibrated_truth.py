"""What is true of a calibrated server at a level: the same model and habits, on a clock that is only counted."""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterator

from pytest_llmbench.load.users import Habits
from support.calibrated_engine import Calibration, Engine, Job


class Simulation:
    """Users in a closed loop on the model. Every message has two words, every answer `answer_tokens`."""

    def __init__(self, calibration: Calibration, level: int, habits: Habits, answer_tokens: int = 8) -> None:
        self._engine = Engine(calibration)
        self._level, self._habits, self._answer_tokens = level, habits, answer_tokens
        self._random = random.Random(habits.seed)
        self._burst = habits.arrivals == "burst"
        firsts = [habits.messages if self._burst else self._random.randint(1, habits.messages) for _ in range(level)]
        self._prompts = [self._conversations(user, first) for user, first in enumerate(firsts)]
        self._due = [
            (0.0 if self._burst else self._random.uniform(0, habits.cooldown_s), user) for user in range(level)
        ]
        heapq.heapify(self._due)
        self._asked = [0] * level
        self._ready: list[tuple[float, int]] = []
        self._jobs: dict[Job, tuple[float, int]] = {}
        self._now = 0.0

    def latencies(self, answers: int, warm_up: int = 0) -> list[float]:
        """Seconds of the model's time of so many answers, in the order they ended, after those of the warm-up."""
        found: list[float] = []
        while len(found) < warm_up + answers:
            if not self._jobs:
                self._now = max(self._now, self._due[0][0])
            self._submit()
            seconds, given = self._engine.step()
            self._now += seconds
            found += [self._end(job) for job, _ in given if job.done == job.wanted]
        return found[warm_up : warm_up + answers]

    def _submit(self) -> None:
        while self._due and self._due[0][0] <= self._now:
            moment, user = heapq.heappop(self._due)
            self._asked[user] += 1
            job = self._engine.submit(next(self._prompts[user]), self._answer_tokens)
            self._jobs[job] = moment, user

    def _end(self, job: Job) -> float:
        started, user = self._jobs.pop(job)
        habits = self._habits
        ready = self._now + habits.cooldown_s * (1 + habits.jitter * self._random.uniform(-1, 1))
        if self._burst and self._asked[user] % habits.messages == 0:
            self._ready.append((ready, user))
            if len(self._ready) == self._level:  # the last one is there: all begin again together
                self._due += [(max(self._ready)[0], one) for _, one in self._ready]
                self._ready.clear()
        else:
            heapq.heappush(self._due, (ready, user))
        return self._now - started

    def _conversations(self, user: int, turns: int) -> Iterator[list[str]]:
        """The messages of each prompt, one after the other."""
        conversation = 0
        while True:
            history: list[str] = []
            for turn in range(turns):
                said = f"user {user}.{conversation}.{turn}"
                yield [*history[max(0, len(history) - self._habits.history) :], said]
                history += [said, f"answer {user}.{conversation}.{turn}" + " t" * (self._answer_tokens - 2)]
            conversation, turns = conversation + 1, self._habits.messages


def good_share(simulation: Simulation, limit_s: float, answers: int = 2000) -> float:
    """The long-run share of answers within the limit."""
    return sum(latency <= limit_s for latency in simulation.latencies(answers, warm_up=answers // 5)) / answers
