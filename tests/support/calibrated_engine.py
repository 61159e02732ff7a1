"""A queueing model of an inference server: slots, shared prefill and decode, noise, stalls, a prefix cache.

It has no clock of its own: `step` says how long the next step takes and what it gives. A server sleeps for that long,
a simulation adds it up, and both see the same model.
"""

from __future__ import annotations

import dataclasses
import math
import random
from collections import deque
from collections.abc import Sequence


@dataclasses.dataclass(frozen=True)
class Calibration:
    """The rates of the model; seconds are the model's own.

    slots: requests that run at once, the rest wait in line.
    prefill_tokens_per_s: for new tokens of prompts; while a prompt is read nobody decodes.
    decode_tokens_per_s: of a request that runs alone.
    full_speed: how many requests decode at that rate each; more of them share what those would have.
    noise: sigma of the lognormal factor (mean 1) on each request's decoding time.
    stall_share, stall_s: requests that hold their slot so long before they begin.
    prefix_cache: whether messages read before, from the first one on, cost nothing.
    aborts_free_slots: whether a request whose client left stops, or runs on to its end.
    """

    slots: int = 4
    prefill_tokens_per_s: float = 2000.0
    decode_tokens_per_s: float = 100.0
    full_speed: int = 4
    noise: float = 0.0
    stall_share: float = 0.0
    stall_s: float = 0.0
    prefix_cache: bool = True
    aborts_free_slots: bool = True
    seed: int = 0


@dataclasses.dataclass(eq=False)
class Job:
    """One request inside the model. `done` counts its tokens so far."""

    prompt: Sequence[str]
    wanted: int
    pace: float = 1.0
    stalled_s: float = 0.0
    unread: float | None = None
    progress: float = 0.0
    done: int = 0


class Engine:
    """The model's state. Draws for each job come in the order of submission, so that a seed fixes them."""

    def __init__(self, calibration: Calibration) -> None:
        self.calibration = calibration
        self.waiting: deque[Job] = deque()
        self.running: list[Job] = []
        self._random = random.Random(calibration.seed)
        self._read: set[tuple[str, ...]] = set()

    def submit(self, prompt: Sequence[str], wanted: int) -> Job:
        """Put a request in line: its messages, and how many tokens it will get."""
        model, draw = self.calibration, self._random
        pace = math.exp(draw.gauss(0, 1) * model.noise - model.noise**2 / 2)
        stalled_s = model.stall_s if draw.random() < model.stall_share else 0.0
        job = Job(prompt, wanted, pace, stalled_s)
        self.waiting.append(job)
        return job

    def abort(self, job: Job) -> None:
        """The client left."""
        if job in self.waiting:
            self.waiting.remove(job)
        elif job in self.running and self.calibration.aborts_free_slots:
            self.running.remove(job)

    def step(self) -> tuple[float, list[tuple[Job, int]]]:
        """Seconds until the end of the next step, and the new tokens of each job at that moment."""
        while self.waiting and len(self.running) < self.calibration.slots:
            self.running.append(self.waiting.popleft())
        for job in self.running:
            if job.unread is None:
                job.unread = self._tokens_to_read(job)
        if reading_s := sum(job.unread or 0.0 for job in self.running) / self.calibration.prefill_tokens_per_s:
            for job in self.running:
                job.unread = 0.0
            return reading_s, []
        return self._decode()

    def _decode(self) -> tuple[float, list[tuple[Job, int]]]:
        awake = [job for job in self.running if job.stalled_s <= 0]
        seconds = max(1.0, len(awake) / self.calibration.full_speed) / self.calibration.decode_tokens_per_s
        given = []
        for job in self.running:
            if job.stalled_s > 0:
                job.stalled_s -= seconds
                continue
            job.progress += 1 / job.pace
            new = min(job.wanted, math.floor(job.progress + 1e-9)) - job.done
            if new > 0:
                job.done += new
                given.append((job, new))
        self.running = [job for job in self.running if job.done < job.wanted]
        return seconds, given

    def _tokens_to_read(self, job: Job) -> float:
        known, unread = self.calibration.prefix_cache, 0
        for count in range(1, len(job.prompt) + 1):
            prefix = tuple(job.prompt[:count])
            known = known and prefix in self._read
            unread += 0 if known else len(prefix[-1].split())
            self._read.add(prefix)
        return float(unread)
