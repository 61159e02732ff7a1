"""The search for a server's capacity beside servebench's, guidellm's and aiperf's, over real HTTP.

One server, 8 slots, time to the first token at most 250 ms, in truth 16 users; some requests are stalled by 400 ms.
Every search sees the same model of a server, in a process of its own, with other random draws.

    python benchmarks/search_peers.py [--peers FOLDER] [--rounds 8] [--long-rounds 1]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from measuring import machine, save
from peers import VERSIONS, byte_tokenizer, program
from queueing import Promise, Server, long_run_share

from pytest_llmbench.autotune.trials import observation
from pytest_llmbench.load.client import ChatServer
from pytest_llmbench.load.conversations import Conversation, Conversations
from pytest_llmbench.load.records import SLO
from pytest_llmbench.load.search import SearchPlan, find_capacity
from pytest_llmbench.load.trial import LoadTest
from pytest_llmbench.load.users import Habits

TRUTH = 16
MOST = 64
LIMIT_S = 0.25
SERVER = Server(8, 0.03, 0.155, 0.0, 0.1, jitter=0.0, stall_s=0.4, stall_holds_slot=False)
ANSWERS = 60_000
LONGEST_S = 590.0  # of a peer's search


@dataclass(frozen=True)
class Scenario:
    """How many requests are stalled, which share of answers must be in time, what a search of ours may cost."""

    stalls: float
    share: float
    budget: int

    @property
    def model(self) -> dict[str, Any]:
        """The server's."""
        return {**asdict(SERVER), "stall_share": self.stalls}


SCENARIOS = (Scenario(0.06, 0.90, 999), Scenario(0.03, 0.95, 1999))


@dataclass(frozen=True)
class Found:
    """What a search said, what it sent by the server's own count, and how long it took."""

    users: int | None
    requests: int
    seconds: float
    note: str = ""


Search = Callable[[str, Scenario, Path], int | None]


def main() -> None:
    """Run every search on every server and save the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers", type=Path, help="where their environments are, or are made")
    parser.add_argument("--rounds", type=int, default=8, help="searches of ours and of servebench")
    parser.add_argument("--long-rounds", type=int, default=1, help="searches of guidellm and aiperf: minutes each")
    parser.add_argument("--only", default="ours,servebench,guidellm,aiperf")
    chosen = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = chosen.peers or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        searches = _searches(chosen.only.split(","), folder, byte_tokenizer(folder / "tokenizer"))
        rounds = {"guidellm": chosen.long_rounds, "aiperf": chosen.long_rounds}
        rows = [
            _row(name, scenario, [_timed(search, scenario, seed) for seed in range(rounds.get(name, chosen.rounds))])
            for scenario in SCENARIOS
            for name, search in searches.items()
        ]
    truths = {f"{one.stalls:.0%}": [_truth(one, users) for users in (TRUTH, TRUTH + 1)] for one in SCENARIOS}
    save("search_peers", {"machine": machine(), "shares_at_16_and_17": truths, "rows": rows}, _table(rows, truths))


def _searches(wanted: list[str], folder: Path, tokenizer: Path) -> dict[str, Search]:
    """By name; each with its command installed."""
    found: dict[str, Search] = {"pytest-llmbench": _ours} if "ours" in wanted else {}
    for name, search in (("servebench", _servebench), ("guidellm", _guidellm), ("aiperf", _aiperf)):
        if name in wanted:
            command = program(name, folder)

            def run(url: str, scenario: Scenario, work: Path, search: Any = search, command: Path = command) -> Any:
                return search(command, tokenizer.resolve(), url, scenario, work)

            found[name] = run
    return found


def _ours(url: str, scenario: Scenario, _work: Path) -> int | None:
    slo = SLO(scenario.share, LIMIT_S, "first_token")
    said = [Conversation((f"raconte une histoire numéro {number}",)) for number in range(500)]
    plan = SearchPlan(share=scenario.share, highest=MOST, budget=scenario.budget, warm_up=2.0)  # and what is left open

    async def search() -> int:
        server = ChatServer.at(url, body={"max_tokens": 8})
        habits = Habits(cooldown_s=0.0, jitter=0.0, history=0)
        async with LoadTest(server, Conversations(said), habits, slo) as load:

            async def run(level: int, requests: int) -> Any:
                return observation(await load.trial(level, requests), slo)

            return (await find_capacity(run, plan)).capacity.users

    return asyncio.run(search())


def _servebench(command: Path, _tokenizer: Path, url: str, scenario: Scenario, work: Path) -> int | None:
    out = work / "run.json"
    _run(
        [command, "find-capacity", "--url", url, "--model", "slots", "--target", f"{scenario.share}",
         "--slo-ttft-ms", f"{LIMIT_S * 1000:g}", "--slo-tpot-ms", "1000", "--max", f"{MOST}", "--tolerance", "0.05",
         "--input-len", "16", "--output-len", "8", "--out", out], work,
    )  # fmt: skip
    capacity = json.loads(out.read_text(encoding="utf-8"))["capacity"]
    users = capacity if isinstance(capacity, int | float) else (capacity or {}).get("capacity")
    return None if users is None else int(users)


def _guidellm(command: Path, tokenizer: Path, url: str, scenario: Scenario, work: Path) -> int | None:
    out = work / "g.json"
    profile = f"kind=goodput,target_attainment={scenario.share},initial_streams=4,max_streams={MOST},tolerance=0.05"
    metrics = {"kind": "generative", "slo": {"ttft_ms": LIMIT_S * 1000}}
    said = _run(
        [command, "run", "--backend", f"kind=openai_http,target={url.removesuffix('/v1')},model=slots",
         "--profile", profile, "--metrics", json.dumps(metrics), "--constraint", "kind=max_requests,count=250",
         "--data", json.dumps({"kind": "synthetic_text", "prompt_tokens": 16, "output_tokens": 8}),
         "--tokenizer", json.dumps({"kind": "huggingface_auto", "model": str(tokenizer)}),
         "--output", f"kind=json,path={out}", "--disable-console-interactive"], work,
    )  # fmt: skip
    (work / "said.txt").write_text(said, encoding="utf-8")
    return _goodput(json.loads(out.read_text(encoding="utf-8")), scenario.share)


def _goodput(report: dict[str, Any], share: float) -> int | None:
    """The most streams of those probed that reached the share, which is what its search goes by."""
    passed = [
        benchmark["config"]["strategy"]["streams"]
        for benchmark in report["benchmarks"]
        if _attainment(benchmark) >= share
    ]
    return max(passed, default=None)


def _attainment(benchmark: dict[str, Any]) -> float:
    times = [request["time_to_first_token_ms"] for request in benchmark["requests"]["successful"]]
    return sum(one is not None and one <= LIMIT_S * 1000 for one in times) / max(1, len(times))


def _aiperf(command: Path, tokenizer: Path, url: str, scenario: Scenario, work: Path) -> int | None:
    share = f"p{scenario.share * 100:.0f}"
    _run(
        [command, "profile", "-m", "slots", "-u", url.removesuffix("/v1"), "--endpoint-type", "chat", "--streaming",
         "--search-recipe", "max-concurrency-under-sla", "--e2e-sla-ms", "100000",
         "--search-sla", f"time_to_first_token:{share}:lt:{LIMIT_S * 1000:g}",
         "--concurrency-min", "1", "--concurrency-max", f"{MOST}", "--tokenizer", tokenizer,
         "--isl", "16", "--osl", "8", "--request-count", "150", "--ui", "none", "--artifact-dir", work / "ai"], work,
    )  # fmt: skip
    history = json.loads((work / "ai" / "search_history.json").read_text(encoding="utf-8"))
    feasible = (history.get("boundary_summary") or {}).get("feasible_max") or {}
    return feasible.get("value")


def _run(command: list[Any], work: Path) -> str:
    """A peer's search; one that takes too long is ended, and what it wrote by then counts."""
    environment = {**os.environ, "HOME": str(work), "NO_COLOR": "1"}
    environment.pop("HF_HUB_OFFLINE", None)  # aiperf does not start with it
    with contextlib.suppress(subprocess.TimeoutExpired):
        done = subprocess.run(
            [str(part) for part in command], cwd=work, env=environment, timeout=LONGEST_S, check=False,
            capture_output=True, text=True,
        )  # fmt: skip
        if done.returncode:
            print(done.stderr[-500:], file=sys.stderr)
        return done.stdout + done.stderr
    return f"ended after {LONGEST_S:g} s"


def _timed(search: Search, scenario: Scenario, seed: int) -> Found:
    with _serving({**scenario.model, "seed": seed}) as url, tempfile.TemporaryDirectory() as work:
        started = time.monotonic()
        try:
            users, note = search(f"{url}/v1", scenario, Path(work)), ""
        except (OSError, KeyError, ValueError) as error:
            users, note = None, f"{type(error).__name__}: {error}"
        seconds = time.monotonic() - started
        found = Found(users, _requests(url), round(seconds, 1), note)
    print(scenario, found, file=sys.stderr, flush=True)
    return found


@contextlib.contextmanager
def _serving(model: dict[str, Any]) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    script = Path(__file__).parent / "contestants" / "slots_server.py"
    server = subprocess.Popen([sys.executable, script, f"{port}", json.dumps(model)])
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_for(url)
        yield url
    finally:
        server.terminate()
        server.wait()


def _wait_for(url: str) -> None:
    for _ in range(100):
        with contextlib.suppress(OSError):
            _requests(url)
            return
        time.sleep(0.1)
    raise RuntimeError(f"{url} did not start")


def _requests(url: str) -> int:
    with urllib.request.urlopen(f"{url}/stats", timeout=10) as answer:  # noqa: S310  # loopback
        return int(json.load(answer)["requests"])


def _truth(scenario: Scenario, users: int) -> float:
    server = Server(**{**asdict(SERVER), "stall_share": scenario.stalls})
    return round(long_run_share(server, Promise(LIMIT_S, scenario.share, first_token=True), users, ANSWERS), 3)


def _row(name: str, scenario: Scenario, found: list[Found]) -> dict[str, Any]:
    right = [one.users is not None and abs(one.users - TRUTH) <= 1 for one in found]
    return {
        "tool": name,
        "version": VERSIONS.get(name, ""),
        "stalls": scenario.stalls,
        "share": scenario.share,
        "searches": [asdict(one) for one in found],
        "right": sum(right) / len(right) if right else None,
        "requests": sorted(one.requests for one in found)[len(found) // 2] if found else None,
        "seconds": sorted(one.seconds for one in found)[len(found) // 2] if found else None,
    }


def _table(rows: list[dict[str, Any]], truths: dict[str, list[float]]) -> str:
    lines = [
        "8 slots, first token within 250 ms, no pause between questions; in truth 16 users. Right: 15 to 17.",
        "Share of answers in time at 16 and at 17 users: "
        + "; ".join(f"{stalls} stalled: {at} and {above}" for stalls, (at, above) in truths.items())
        + ".",
        "",
        "| stalled | wanted | tool | found | right | requests, median | seconds, median |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        counted = Counter("none" if one["users"] is None else str(one["users"]) for one in row["searches"])
        found = ", ".join(f"{users} ({times}x)" for users, times in sorted(counted.items()))
        tool = f"{row['tool']} {row['version']}".strip()
        lines.append(
            f"| {row['stalls']:.0%} | {row['share']:.0%} | {tool} | {found} | {row['right']:.0%} | {row['requests']} "
            f"| {row['seconds']:.0f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
