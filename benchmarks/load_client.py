"""What the load generator itself costs and how true its clock is, beside its peers, in one run on one machine.

usage: python benchmarks/load_client.py [--rounds 3] [--requests 1000] [--users 64] [--peers DIR] [--tokenizer DIR]
       [--crowd 2000] [--only NAME] [--dry]

All ask the same server (`contestants/latency_server.py`), which runs in its own process and answers each question with
its first token after 50 ms and 19 more, 10 ms apart. It notes when it wrote each first token: the error is that of the
time to first token that a client reports. CPU time is that of the client's whole process tree; what it needs to start,
measured by a run of one request a user, is also taken off. The contestants take turns, round by round, so that a busy
neighbour slows all of them; medians are reported.

The peers are installed into throw-away environments, unless `--peers` has some: DIR/servebench, DIR/guidellm and
DIR/aiperf. Two of them want a tokenizer for their prompts; without `--tokenizer` one is made that takes each byte for
a token.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from measuring import machine, save
from peers import VERSIONS, NotInstalledError, byte_tokenizer, program

HERE = Path(__file__).parent / "contestants"
BARE, STAGGERED, AT_ONCE = "bare aiohttp loop", "pytest-llmbench, staggered", "pytest-llmbench, all at once"
_LONGEST_S = 600
_CROWD_SERVER = ("--first-ms", "8000", "--gap-ms", "100")
"""Slow enough that all users' answers are open at the same time."""


class DidNotRunError(Exception):
    """A contestant ended without a result."""


@dataclasses.dataclass(frozen=True)
class Work:
    """What a contestant is asked to do."""

    url: str
    users: int
    requests: int
    folder: Path


@dataclasses.dataclass(frozen=True)
class Contestant:
    """How it is started, and how its times to first token are read: (p50, p99) in seconds, from its output or files."""

    command: Callable[[Work], Sequence[Path | str]]
    reported: Callable[[Work, str], tuple[float, float]]


def main() -> None:
    """Measure, then write `results/load_client.json` and a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--users", type=int, default=64)
    parser.add_argument("--crowd", type=int, default=2000, help="users that are open at once in the last measurement")
    parser.add_argument("--peers", type=Path, help="folder with an environment of each peer")
    parser.add_argument("--tokenizer", type=Path, help="folder of a Hugging Face tokenizer")
    parser.add_argument("--only", default="", help="contestants whose name has this, beside our own and the bare loop")
    parser.add_argument("--dry", action="store_true", help="show the table, write nothing")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        found, missing = contestants(folder, chosen.peers, chosen.tokenizer or byte_tokenizer(folder / "tokenizer"))
        found = {name: one for name, one in found.items() if chosen.only in name or name not in VERSIONS}
        rounds: dict[str, list[dict[str, Any]]] = {name: [] for name in found}
        for number in range(chosen.rounds):
            for name, contestant in found.items():
                if name not in missing:
                    _take_turn(name, contestant, chosen, folder / f"{number} {name}", rounds, missing)
        crowd = open_at_once(chosen.crowd, folder)
    rows = {name: _summary(measured) for name, measured in rounds.items() if measured}
    result = {"machine": machine(), **{key: getattr(chosen, key) for key in ("rounds", "users", "requests")}}
    result |= {"peers": VERSIONS, "rows": rows, "did not run": missing, "open at once": crowd}
    result["claims"] = _claims(rows, crowd, chosen.users)
    if chosen.dry:
        print(_table(result))
    else:
        save("load_client", result, _table(result))


def contestants(folder: Path, peers: Path | None, tokenizer: Path) -> tuple[dict[str, Contestant], dict[str, str]]:
    """All that take part, and why those that cannot do not."""
    programs, missing = dict[str, Path](), dict[str, str]()
    for name in VERSIONS:
        try:
            programs[name] = program(name, peers or folder)
        except NotInstalledError as error:
            missing[name] = str(error)
    return {
        STAGGERED: _own("load_ours.py"),
        AT_ONCE: _own("load_ours.py", "burst"),
        BARE: _own("load_bare_aiohttp.py"),
        "servebench": Contestant(lambda work: _servebench(programs["servebench"], work), _of_servebench),
        "guidellm": Contestant(lambda work: _guidellm(programs["guidellm"], work, tokenizer), _of_guidellm),
        "aiperf": Contestant(lambda work: _aiperf(programs["aiperf"], work, tokenizer), _of_aiperf),
    }, missing


def open_at_once(users: int, folder: Path) -> dict[str, Any]:
    """So many users whose answers are all open at the same time."""
    work = Work("", users, users, folder)
    ours = _own("load_ours.py", "burst")
    measured = _measure(ours, work, _CROWD_SERVER)
    ran = json.loads(measured["output"])
    print(json.dumps({"open at once": measured["server"] | {"failed": len(ran["failed"])}}), flush=True)
    about = {"users": users, "failed": len(ran["failed"]), "why": sorted(set(ran["failed"]))[:3]}
    return about | {"CPU s": measured["cpu_s"], "loop lag s": ran["loop_lag_s"], "server": measured["server"]}


def _take_turn(
    name: str,
    contestant: Contestant,
    chosen: argparse.Namespace,
    folder: Path,
    rounds: Mapping[str, list[dict[str, Any]]],
    missing: dict[str, str],
) -> None:
    """One round of one contestant: to start and stop, then the work."""
    folder.mkdir(exist_ok=True)
    try:
        start = _measure(contestant, Work("", chosen.users, chosen.users, folder))
        work = Work("", chosen.users, chosen.requests + chosen.users, folder)
        measured = _measure(contestant, work)
        p50, p99 = contestant.reported(work, measured["output"])
    except (DidNotRunError, OSError, KeyError, ValueError) as error:
        missing[name] = f"{error!s:.500}"
        print(f"{name} did not run: {error}", file=sys.stderr)
        return
    server = measured["server"]
    row = {
        "CPU s a 1,000": measured["cpu_s"] / work.requests * 1000,
        "CPU s a 1,000, without the start": (measured["cpu_s"] - start["cpu_s"]) / chosen.requests * 1000,
        "CPU s to start": start["cpu_s"],
        "wall s": measured["wall_s"],
        "reported p50 ms": p50 * 1000,
        "reported p99 ms": p99 * 1000,
        "p50 error ms": abs(p50 - server["p50 s"]) * 1000,
        "p99 error ms": abs(p99 - server["p99 s"]) * 1000,
        "server": server,
    }
    rounds[name].append(row)
    print(json.dumps({name: row}), flush=True)


def _measure(contestant: Contestant, work: Work, server_options: Sequence[str] = ()) -> dict[str, Any]:
    """Run it against a server of its own: what it printed, its CPU and wall seconds, what the server saw."""
    command = [sys.executable, str(HERE / "latency_server.py"), *server_options]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        url = f"http://127.0.0.1:{server.stdout.readline().strip()}"
        try:
            ran = _run(contestant.command(dataclasses.replace(work, url=url)), work.folder)
        finally:
            seen = json.loads(server.communicate()[0])
    first_s = seen.pop("first_s")
    return {**ran, "server": {**seen, "p50 s": _quantile(first_s, 0.5), "p99 s": _quantile(first_s, 0.99)}}


def _run(command: Sequence[Path | str], folder: Path) -> dict[str, Any]:
    """Run a program to its end, its children's CPU time included."""
    started, log = time.monotonic(), folder / "output.txt"
    environ = {**os.environ, "NO_COLOR": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    environ.pop("HF_HUB_OFFLINE", None)  # aiperf does not start with it
    with log.open("w") as output, log.with_suffix(".err").open("w") as errors:
        process = subprocess.Popen(list(map(str, command)), stdout=output, stderr=errors, env=environ, cwd=folder)
        usage = _wait(process)
    if process.returncode:
        said = (log.with_suffix(".err").read_text() or log.read_text()).strip()
        said = " ".join(said[-400:].translate(dict.fromkeys(map(ord, "|│╰╯─"), " ")).split())
        raise DidNotRunError(f"it ended with {process.returncode}: {said}")
    return {"output": log.read_text(), "cpu_s": usage, "wall_s": time.monotonic() - started}


def _wait(process: subprocess.Popen[bytes]) -> float:
    """Its CPU seconds; `wait4` adds those of all descendants that were waited for."""
    ends = time.monotonic() + _LONGEST_S
    while True:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            process.returncode = os.waitstatus_to_exitcode(status)
            return usage.ru_utime + usage.ru_stime
        if time.monotonic() > ends:
            process.kill()
            ends = math.inf
        time.sleep(0.05)


def _own(script: str, *more: str) -> Contestant:
    """One of the scripts beside this one, which print their times."""

    def reported(_work: Work, output: str) -> tuple[float, float]:
        first_s = json.loads(output)["first_s"]
        return _quantile(first_s, 0.5), _quantile(first_s, 0.99)

    return Contestant(
        lambda work: [sys.executable, HERE / script, work.url, str(work.users), str(work.requests), *more], reported
    )


def _servebench(program: Path, work: Work) -> list[Path | str]:
    found: list[Path | str] = [program, "run", "--url", f"{work.url}/v1", "--model", "known-latency", "--no-gpu"]
    found += ["--concurrency", str(work.users), "--num-requests", str(work.requests), "--warmup", "0"]
    return [*found, "--input-len", "32", "--output-len", "20", "--out", work.folder / "servebench.json"]


def _of_servebench(work: Work, _output: str) -> tuple[float, float]:
    [level] = json.loads((work.folder / "servebench.json").read_text())["levels"]
    first_s = [request["ttft"] for request in level["requests"] if request["ok"]]
    return _quantile(first_s, 0.5), _quantile(first_s, 0.99)


def _guidellm(program: Path, work: Work, tokenizer: Path) -> list[Path | str]:
    found: list[Path | str] = [program, "run", "--disable-console-interactive"]
    found += ["--backend", f"kind=openai_http,target={work.url},model=known-latency"]
    found += ["--profile", f"kind=concurrent,streams={work.users}"]
    found += ["--constraint", f"kind=max_requests,count={work.requests}"]
    found += ["--data", "kind=synthetic_text,prompt_tokens=32,output_tokens=20"]
    found += ["--tokenizer", f"kind=huggingface_auto,model={tokenizer}"]
    return [*found, "--output", f"kind=json,path={work.folder / 'guidellm.json'}"]


def _of_guidellm(work: Work, _output: str) -> tuple[float, float]:
    [benchmark] = json.loads((work.folder / "guidellm.json").read_text())["benchmarks"]
    shares = benchmark["metrics"]["time_to_first_token_ms"]["successful"]["percentiles"]
    return shares["p50"] / 1000, shares["p99"] / 1000


def _aiperf(program: Path, work: Work, tokenizer: Path) -> list[Path | str]:
    found: list[Path | str] = [program, "profile", "-m", "known-latency", "--url", work.url, "--endpoint-type", "chat"]
    found += ["--streaming", "--concurrency", str(work.users), "--request-count", str(work.requests)]
    found += ["--tokenizer", tokenizer, "--prompt-input-tokens-mean", "32", "--prompt-output-tokens-mean", "20"]
    found += ["--use-server-token-count", "--no-server-metrics", "--no-gpu-telemetry"]
    return [*found, "--output-artifact-dir", work.folder / "aiperf"]


def _of_aiperf(work: Work, _output: str) -> tuple[float, float]:
    first_ms = json.loads((work.folder / "aiperf" / "profile_export_aiperf.json").read_text())["time_to_first_token"]
    return first_ms["p50"] / 1000, first_ms["p99"] / 1000


def _quantile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else math.nan


def _summary(rounds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Medians; of what the server counted, the most."""
    medians = {key: statistics.median(one[key] for one in rounds) for key in rounds[0] if key != "server"}
    counted = ("connections", "most_connections", "most_open", "aborted")
    return medians | {key: max(one["server"][key] for one in rounds) for key in counted} | {"rounds": list(rounds)}


def _claims(rows: Mapping[str, Mapping[str, Any]], crowd: Mapping[str, Any], users: int) -> list[dict[str, Any]]:
    """What was promised, and what was measured."""
    cost, whole, claims = "CPU s a 1,000, without the start", "CPU s a 1,000", list[dict[str, Any]]()

    def claim(text: str, measured: float, most: float) -> None:
        claims.append({"claim": text, "measured": measured, "at most": most, "holds": measured <= most})

    ours = rows[AT_ONCE]  # the peers' users begin all at once too, which saves wake-ups
    claim("CPU over the bare loop's", ours[cost] / rows[BARE][cost], 1.3)
    for peer, share in (("servebench", 1.0), ("guidellm", 1 / 8), ("aiperf", 1 / 8)):
        if peer in rows:
            claim(f"CPU over that of {peer}", ours[whole] / rows[peer][whole], share)
            claim(f"CPU over that of {peer}, without the start", ours[cost] / rows[peer][cost], share)
    best = min((rows[peer]["p99 error ms"] for peer in VERSIONS if peer in rows), default=math.inf)
    for name in (STAGGERED, AT_ONCE):
        claim(f"{name}: error of the p50 time to first token, ms", rows[name]["p50 error ms"], 2.0)
        claim(f"{name}: error of the p99, ms, beside the best peer's", rows[name]["p99 error ms"], best)
        claim(f"{name}: connections", rows[name]["connections"], users)
    claim("users open at once that failed", crowd["failed"] + crowd["users"] - crowd["server"]["most_open"], 0)
    return claims


_COLUMNS = (
    *("CPU s a 1,000", "CPU s a 1,000, without the start", "reported p50 ms", "p50 error ms", "reported p99 ms"),
    *("p99 error ms", "connections"),
)


def _table(result: Mapping[str, Any]) -> str:
    rows, crowd, cost = result["rows"], result["open at once"], "CPU s a 1,000, without the start"
    about = f"{result['users']} users, {result['requests']} streamed answers of 20 tokens, 50 ms to the first; medians "
    lines = [
        about + f"of {result['rounds']} rounds. Errors are against the server's own clock.",
        "",
        f"| client | {' | '.join(_COLUMNS)} | CPU over the bare loop's |",
        f"|{'---|' * (len(_COLUMNS) + 2)}",
    ]
    for name, row in rows.items():
        version = f" {VERSIONS[name]}" if name in VERSIONS else ""
        cells = [f"{row[key]:.0f}" if key == "connections" else f"{row[key]:.2f}" for key in _COLUMNS]
        over = row[cost] / rows[BARE][cost] if BARE in rows else math.nan
        lines.append(f"| {name}{version} | {' | '.join(cells)} | {over:.2f} |")
    lines += [
        f"| {name} {VERSIONS.get(name, '')} | did not run: {why} |" for name, why in result["did not run"].items()
    ]
    server = crowd["server"]
    lines += ["", f"{crowd['users']} users at once: {server['most_open']} open at the same time over "]
    lines[-1] += f"{server['connections']} connections, {crowd['failed']} failed, {crowd['CPU s']:.1f} s of CPU."
    lines += ["", "| claim | measured | at most | holds |", "|---|---|---|---|"]
    for one in result["claims"]:
        holds = "yes" if one["holds"] else "no"
        lines.append(f"| {one['claim']} | {one['measured']:.3g} | {one['at most']:.3g} | {holds} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
