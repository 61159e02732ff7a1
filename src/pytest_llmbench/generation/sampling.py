"""How the next token is chosen, and which noise an answer meets: alike for every engine."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is chosen. `do_sample=False` or a temperature of 0 is greedy decoding."""

    temperature: float
    top_p: float
    do_sample: bool

    @property
    def greedy(self) -> bool:
        """Whether no randomness is wanted."""
        return not self.do_sample or self.temperature == 0


def noise_key(seed: int, case: str, epoch: int) -> int:
    """A signed 64-bit key for one answer's noise."""
    digest = hashlib.sha256(f"{seed}\0{case}\0{epoch}".encode()).digest()
    return int.from_bytes(digest[:8], "little", signed=True)
