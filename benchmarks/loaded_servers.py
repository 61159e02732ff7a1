"""The servers that capacity searches are measured on: what they are like, what is promised, what they truly hold."""

from __future__ import annotations

from dataclasses import dataclass, replace

from queueing import Promise, Random, Server, long_run_share

MOST_DRAWN = 48  # users
_ROUGH = 25_000  # simulated answers a level of a drawn server
_SMALL = 20  # up to this capacity one user is allowed, above 5 %


@dataclass(frozen=True)
class Scenario:
    """A server, what is promised, how many users it truly holds, and what a search may cost."""

    name: str
    server: Server
    promise: Promise
    capacity: int
    budget: int

    @property
    def room(self) -> float:
        """How far off the truth still counts as right."""
        return 1 if self.capacity <= _SMALL else 0.05 * self.capacity


def scenarios() -> list[Scenario]:
    """The servers of the issue: four capacities at three noises, then stalls; cooldowns are calibrated to them."""
    whole = Promise(3.0, 0.95)
    cooldowns = {
        (3, 1): (2.019, 2.231, 2.725),
        (8, 2): (2.725, 2.725, 3.328),
        (17, 4): (2.725, 2.725, 3.011),
        (40, 8): (3.498, 3.498, 3.770),
    }
    found = [
        Scenario(f"noise {noise:.0%}, {slots} slots", Server(slots, 0.3, 0.9, cooldown, noise), whole, capacity, 2000)
        for (capacity, slots), row in cooldowns.items()
        for noise, cooldown in zip((0.0, 0.1, 0.3), row, strict=True)
    ]
    stalling = Server(8, 0.05, 0.25, 0.247, 0.1)
    for stalled, share, budget in ((0.06, 0.90, 1000), (0.03, 0.95, 2000)):
        promise = Promise(0.25, share, first_token=True)
        server = replace(stalling, stall_share=stalled)
        found.append(Scenario(f"stalls {stalled:.0%} in the slot", server, promise, 16, budget - 1))
        server = replace(server, stall_holds_slot=False, cooldown_s=0.178 if stalled > 0.05 else 0.205)
        found.append(Scenario(f"stalls {stalled:.0%} on the way", server, promise, 16, budget - 1))
    waves = Server(8, 0.03, 0.12, 1.0, 0.1, stall_share=0.06, stall_holds_slot=False)
    promise = Promise(0.25, 0.90, first_token=True, burst=True, messages=(3, 3))
    found.append(Scenario("stalls 6 %, burst of 3 messages: a slow fall", waves, promise, 18, 2000))
    return found


def drawn(random: Random) -> Scenario:
    """A random server and promise; its capacity by bisection on long simulations."""
    share = float(random.choice([0.9, 0.95, 0.98]))
    prefill_s, decode_s, cooldown_s = random.uniform([0.05, 0.2, 0.3], [0.5, 1.2, 6.0]).tolist()
    server = Server(
        slots=int(random.integers(1, 9)),
        prefill_s=prefill_s,
        decode_s=decode_s,
        cooldown_s=cooldown_s,
        noise=float(random.uniform(0, 0.4)),
        jitter=float(random.uniform(0, 0.4)),
        stall_share=float(random.uniform(0, 0.6)) * (1 - share),
        stall_s=1.2,
        stall_holds_slot=bool(random.random() < 0.5),
    )
    promise = Promise(float(random.uniform(1.3, 3)) * (prefill_s + decode_s), share)
    scenario = Scenario("drawn", server, promise, 0, 2000)
    held, lost = 0, MOST_DRAWN
    while lost - held > 1:
        middle = (held + lost) // 2
        held, lost = (middle, lost) if roughly(scenario, middle) >= share else (held, middle)
    return replace(scenario, capacity=held if roughly(scenario, MOST_DRAWN) < share else MOST_DRAWN)


def roughly(scenario: Scenario, users: int) -> float:
    """The long-run share of good answers there, from a shorter simulation."""
    return long_run_share(scenario.server, scenario.promise, users, _ROUGH)
