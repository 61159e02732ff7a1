"""What the plugin costs where it is not used, and what 100,000 cases cost to collect, beside pytest alone.

usage: python benchmarks/overhead.py [--rounds 15]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from measuring import machine, save

CASES = 100_000
OTHERS = [part for plugin in ("asyncio", "benchmark", "randomly", "xdist") for part in ("-p", f"no:{plugin}")]


def main() -> None:
    """Measure, then write `results/overhead.json` and a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as name:
        unused, many = Path(name) / "unused", Path(name) / "many"
        _write_unused(unused)
        _write_many(many)
        cpu = _in_turn(
            rounds, {"with": ["test_trivial.py"], "without": ["test_trivial.py", "-p", "no:llmbench"]}, unused
        )
        left = sorted(path.name for path in unused.iterdir())
        collected = _in_turn(
            3,
            {"suite": ["test_suite.py", "--llmbench-chunk=off"], "plain": ["test_plain.py", "-p", "no:llmbench"]},
            many,
        )
    result: dict[str, Any] = {
        "machine": machine(),
        "collect_100_trivial_tests_cpu_s": cpu,
        "cost_when_unused_cpu_s (wanted: at most 0.03)": cpu["with"] - cpu["without"],
        "files_left_by_unused_plugin": [file for file in left if file not in {"test_trivial.py", "pytest.ini"}],
        f"collect_{CASES}_cases_cpu_s": collected,
        "ratio_of_collecting (wanted: at most 2)": collected["suite"] / collected["plain"],
    }
    rows = [f"| {key} | {value} |" for key, value in result.items() if key != "machine"]
    save("overhead", result, "\n".join(["| what | measured |", "|---|---|", *rows]))


def _in_turn(rounds: int, contestants: Mapping[str, Sequence[str]], folder: Path) -> dict[str, float]:
    """Median CPU seconds of `pytest --collect-only`, the contestants taking turns."""
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds + 1):
        for name, arguments in contestants.items():
            seconds[name].append(_cpu_s(arguments, folder))
    return {name: round(statistics.median(taken[1:]), 4) for name, taken in seconds.items()}


def _cpu_s(arguments: Sequence[str], folder: Path) -> float:
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *OTHERS, *arguments]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    process = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command}: exit {process.returncode}")
    return usage.ru_utime + usage.ru_stime


def _write_unused(folder: Path) -> None:
    folder.mkdir()
    (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    tests = "\n".join(f"def test_{number}(): pass" for number in range(100))
    (folder / "test_trivial.py").write_text(tests + "\n", encoding="utf-8")


def _write_many(folder: Path) -> None:
    (folder / "prompts").mkdir(parents=True)
    (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    (folder / "prompts/tools.yaml").write_text("language: fr\ntools: {volume_up: [son]}\n", encoding="utf-8")
    rows = (
        json.dumps({"id": f"case-{number}", "prompt": f"monte le son de {number}", "keywords": ["son"]})
        for number in range(CASES)
    )
    (folder / "prompts/many.jsonl").write_text("\n".join(rows), encoding="utf-8")
    (folder / "test_suite.py").write_text("def test_case(answers): answers.check()\n", encoding="utf-8")
    (folder / "test_plain.py").write_text(
        "import pytest\n"
        f"IDS = [f'many/case-{{number}}' for number in range({CASES})]\n"
        "@pytest.mark.parametrize('case', IDS, ids=IDS)\ndef test_case(case): pass\n",
        encoding="utf-8",
    )


if __name__ == "__main__":
    main()
