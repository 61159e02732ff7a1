"""Answers per second and peak memory of the main job, beside what else could do it, in one run on one machine.

usage: python benchmarks/generation.py [--rounds 3] [--harness-python PATH] [--harness-best 30 2 float32]
                                       [--commit 4835f24]
       python benchmarks/generation.py --commit 4835f24 --only-commit [--rounds 3] [--limit 30] [--system-words 250]

The contestants take turns, round by round, so that a busy neighbour slows all of them; medians and ratios are reported.
lm-evaluation-harness is installed into a throw-away environment unless the Python of one that has it is given. With
`--commit` an earlier build of this project is a contestant, from a git worktree; with `--only-commit` the only one.
With `--system-words` that comparison's cases share a system text of so many words, answers are of 32 tokens, and the
result is one of its own, `generation_long_prompts`.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from contestants.prompts import ROOT
from measuring import machine, save

HERE = Path(__file__).parent / "contestants"
HARNESS_BATCH_SIZES = (16, 30)
REFERENCE = "reference loop (1 round)"
SCORES_ALONE = {
    "LLMBENCH_METRICS__COSINE_SIMILARITY": "false",
    "LLMBENCH_OUTPUT__PNG": "false",
    "LLMBENCH_OUTPUT__HTML": "false",
}
"""What leaves the work that the harness does: answers, scores of each answer, and a JSON file."""


def main() -> None:
    """Measure, then write `results/generation.json` and a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--harness-python", type=Path)
    parser.add_argument("--harness-best", nargs=3, metavar=("BATCH", "THREADS", "DTYPE"), help="as found here before")
    parser.add_argument("--commit")
    parser.add_argument("--only-commit", action="store_true")
    parser.add_argument("--limit", type=int, default=30, help="cases of the comparison with an earlier build")
    parser.add_argument("--system-words", type=int, default=0)
    chosen = parser.parse_args()
    if chosen.only_commit:
        with tempfile.TemporaryDirectory() as folder, _earlier(chosen.commit, Path(folder)) as root:
            _beside_earlier(Path(folder), root, chosen)
        return
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        inputs = Path(folder) / "inputs.json"
        # not in this process: the peak memory that the system tells of a child is at least what its parent had
        _run([sys.executable, HERE / "prompts.py", inputs], prints_json=False)
        harness = chosen.harness_python or _install_harness(Path(folder) / "harness")
        ours = _ours(Path(folder))
        batch, cores = ours["batch_size"], os.cpu_count() or 1
        if chosen.harness_best:
            best, threads, dtype = int(chosen.harness_best[0]), int(chosen.harness_best[1]), chosen.harness_best[2]
        else:
            best, threads, dtype = _harness_at_its_best(harness, inputs, cores)
        bare = [sys.executable, HERE / "bare_generate.py", inputs, batch, threads, dtype]
        contestants: dict[str, Callable[[], dict[str, Any]]] = {
            "pytest-llmbench": functools.partial(_ours, Path(folder)),
            "pytest-llmbench, the harness's work": functools.partial(_ours, Path(folder), SCORES_ALONE),
            "bare generate": functools.partial(_run, bare),
            "lm-evaluation-harness": functools.partial(_harness, harness, inputs, best, threads, dtype),
            "base only": functools.partial(_run, [*bare, "base"]),
        }
        if chosen.commit:
            root = stack.enter_context(_earlier(chosen.commit, Path(folder)))
            contestants[f"pytest-llmbench at {chosen.commit}"] = functools.partial(_ours, Path(folder), root=root)
        rounds = _in_turns(contestants, chosen.rounds)
        setting = {"batch_size": batch, "threads": threads, "dtype": dtype, "harness_batch_size": best}
        about = {"machine": machine(), "setting": setting | {"rounds": chosen.rounds}, "rounds": rounds}
        medians = {name: _median(runs) for name, runs in rounds.items()}
        _save_medians(about, medians)
        medians[REFERENCE] = _run([sys.executable, HERE / "reference_loop.py", inputs, threads])
        print("reference loop", json.dumps(medians[REFERENCE]), flush=True)
        _save_medians(about, medians)


def _save_medians(about: Mapping[str, Any], medians: Mapping[str, Mapping[str, float]]) -> None:
    result = {**about, "medians": medians, "ratios": _ratios(medians)}
    save("generation", result, _table(result))


def _in_turns(
    contestants: Mapping[str, Callable[[], dict[str, Any]]], count: int
) -> dict[str, list[Mapping[str, Any]]]:
    rounds: dict[str, list[Mapping[str, Any]]] = {}
    for _ in range(count):
        for name, run in contestants.items():
            rounds.setdefault(name, []).append(run())
            print(name, json.dumps(rounds[name][-1]), flush=True)
    return rounds


@contextlib.contextmanager
def _earlier(commit: str, folder: Path) -> Iterator[Path]:
    """A worktree of an earlier commit, gone afterwards."""
    root = folder / commit
    git = ["git", "-C", str(ROOT), "worktree"]
    subprocess.run([*git, "add", "-q", "--detach", str(root), commit], check=True)
    try:
        yield root
    finally:
        subprocess.run([*git, "remove", "--force", str(root)], check=True)


def _beside_earlier(folder: Path, root: Path, chosen: argparse.Namespace) -> None:
    """Measure this build and an earlier one alone, then write `results/generation_builds.json` and a table."""
    earlier, asked = f"pytest-llmbench at {chosen.commit}", {"LLMBENCH_BENCHMARK__LIMIT": f"{chosen.limit}"}
    name, wanted = "generation_builds", 3
    if chosen.system_words:
        name, wanted = "generation_long_prompts", 6
        asked |= _with_long_system(folder, chosen.system_words)
    stored = "pytest-llmbench, all answers stored"
    contestants = {
        "pytest-llmbench": functools.partial(_ours, folder, asked),
        earlier: functools.partial(_ours, folder, asked, root=root),
        stored: functools.partial(_ours, folder, asked, again=()),
    }
    _ours(folder, asked, again=())  # stores them
    rounds = _in_turns(contestants, chosen.rounds)
    medians = {name: _median(runs) for name, runs in rounds.items()}
    before, now = medians[earlier], medians["pytest-llmbench"]
    ratios = {
        f"answers/s over the earlier build (wanted: {wanted})": before["generation_s"] / now["generation_s"],
        "CPU seconds of the whole process, now over then (wanted: 0.55)": now["cpu_s"] / before["cpu_s"],
        "wall seconds of the whole process, now over then (wanted: 0.55)": now["process_s"] / before["process_s"],
        "CPU seconds of the whole process where all answers are stored (wanted: 3)": medians[stored]["cpu_s"],
    }
    about = {"machine": machine(), "cases": chosen.limit, "prompt_tokens": _prompt_tokens(folder)}
    result = {**about, "medians": medians, "ratios": ratios, "rounds": rounds}
    save(name, result, f"{chosen.limit} cases, prompts of {about['prompt_tokens']:.0f} tokens.\n\n{_table(result)}")


def _with_long_system(folder: Path, words: int) -> dict[str, str]:
    """Settings to ask the shipped cases after one long text, which tells of the tools again and again."""
    shipped = yaml.safe_load((ROOT / "prompts/tool_routing.yaml").read_text(encoding="utf-8"))
    tools = yaml.safe_load((ROOT / "prompts/tools.yaml").read_text(encoding="utf-8"))["tools"]
    told = (f"{name} se reconnaît à {', '.join(terms)}." for name, terms in itertools.cycle(tools.items()))
    text = itertools.islice((word for sentence in told for word in sentence.split()), words)
    suite = folder / "long/tool_routing.yaml"
    suite.parent.mkdir()
    suite.write_text(yaml.safe_dump(shipped | {"system": " ".join(text)}, allow_unicode=True), encoding="utf-8")
    return {
        "LLMBENCH_BENCHMARK__PROMPTS": str(suite.parent),
        "LLMBENCH_BENCHMARK__VOCABULARY": str(ROOT / "prompts/tools.yaml"),
        "LLMBENCH_GENERATION__MAX_NEW_TOKENS": "32",
    }


def _prompt_tokens(folder: Path) -> float:
    """How long the prompts of the latest session were, in the mean."""
    document = json.loads((folder / "reports/benchmark.json").read_text(encoding="utf-8"))
    return statistics.mean(said["prompt_tokens"] for row in document["results"] for said in row["completions"].values())


def _ratios(medians: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    ours, bare = medians["pytest-llmbench"], medians["bare generate"]
    harness, only = medians["lm-evaluation-harness"], medians["base only"]
    over_reference = {}
    if REFERENCE in medians:
        ours_s = ours["total_s"] - ours["load_s"]  # all that it does after loading
        over_reference["answers/s over the reference loop, embeddings and reports included (wanted: 4)"] = (
            ours["answers"] / ours_s / _rate(medians[REFERENCE], "answers", "generation_s")
        )
    return over_reference | {
        "answers/s over lm-evaluation-harness, generation alone (wanted: 1)": _rate(ours, "answers", "generation_s")
        / _rate(harness, "answers", "generation_s"),
        "tokens/s over lm-evaluation-harness, generation alone": _rate(ours, "tokens", "generation_s")
        / _rate(harness, "tokens", "generation_s"),
        "whole process over lm-evaluation-harness, the same work (wanted: 1.5)": harness["process_s"]
        / medians["pytest-llmbench, the harness's work"]["process_s"],
        "whole process over lm-evaluation-harness, with embeddings, figures and page on top": harness["process_s"]
        / ours["process_s"],
        "answers/s over bare generate, generation alone (wanted: 0.9)": _rate(ours, "answers", "generation_s")
        / _rate(bare, "answers", "generation_s"),
        "tokens/s over bare generate, generation alone": _rate(ours, "tokens", "generation_s")
        / _rate(bare, "tokens", "generation_s"),
        "peak memory over a process that only loads the base and generates (wanted: at most 1.15)": ours["peak_mb"]
        / only["peak_mb"],
    }


def _rate(run: Mapping[str, float], what: str, seconds: str) -> float:
    return run[what] / run[seconds] if run[seconds] else float("nan")  # nothing was generated


def _ours(
    folder: Path,
    environment: Mapping[str, str] = {},
    *,
    root: Path = ROOT,
    again: Sequence[str] = ("--llmbench-no-cache",),
) -> dict[str, Any]:
    """The main job in a process of its own; without what is in `again` it takes stored answers."""
    settings = folder / "pytest.ini"
    settings.write_text("[pytest]\n", encoding="utf-8")
    command = [  # as in a user's project: without the plugins and the conftest.py that only our own tests need
        *("env", "PYTEST_DISABLE_PLUGIN_AUTOLOAD=1", Path(sys.executable).parent / "pytest"),
        *("-p", "pytest_llmbench.plugin", "--noconftest", "-c", settings),
        "-q",
        "-m",
        "benchmark",
        "tests/suites/test_benchmark.py",
        *again,
    ]
    given = [f"{name}={value}" for name, value in ({"PYTHONPATH": root / "src"} | dict(environment)).items()]
    done = _run(
        ["env", *given, *command[1:], "--llmbench-report-dir", folder / "reports"], root=root, prints_json=False
    )
    document = json.loads((folder / "reports/benchmark.json").read_text(encoding="utf-8"))
    metadata, answers = document["metadata"], document["statistics"]["answers"].values()
    return {
        **metadata["timings"],
        "answers": sum(one["total"] for one in answers),
        "tokens": sum(one["generated_tokens"] for one in answers),
        "batch_size": metadata["backend"]["batch_size"],
        "threads": metadata["backend"]["threads"],
        **done,
    }


def _harness_at_its_best(python: Path, inputs: Path, cores: int) -> tuple[int, int, str]:
    """The batch size, threads and dtype with which the harness answers as the base fastest, looked for in turn."""

    @functools.cache
    def seconds(batch: int, threads: int, dtype: str) -> float:
        took: float = _harness_variant(python, inputs, batch, threads, dtype, "base")["generation_s"]
        print("lm-evaluation-harness, batch, threads, dtype", batch, threads, dtype, f"{took:.1f} s", flush=True)
        return took

    first = HARNESS_BATCH_SIZES[0]
    dtype = min(("float32", "bfloat16"), key=lambda one: seconds(first, cores, one))
    threads = min({1, cores}, key=lambda one: seconds(first, one, dtype))
    batch = min(HARNESS_BATCH_SIZES, key=lambda one: seconds(one, threads, dtype))
    return batch, threads, dtype


def _harness_variant(python: Path, inputs: Path, batch: int, threads: int, dtype: str, variant: str) -> dict[str, Any]:
    return _run([python, HERE / "lm_eval_harness.py", inputs, batch, threads, dtype, variant])


def _harness(python: Path, inputs: Path, batch: int, threads: int, dtype: str) -> dict[str, Any]:
    """Base and fine-tune are two processes there; their times add up, their memory does not."""
    both = [_harness_variant(python, inputs, batch, threads, dtype, variant) for variant in ("base", "adapter")]
    added = {key: sum(one[key] for one in both) for key in both[0]}
    return {**added, "peak_mb": max(one["peak_mb"] for one in both)}


def _run(command: Sequence[object], *, root: Path = ROOT, prints_json: bool = True) -> dict[str, Any]:
    """Run to the end; what it printed last as JSON, with the process's wall and CPU seconds and peak memory."""
    started = time.perf_counter()
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    with subprocess.Popen(
        [str(part) for part in command],
        cwd=root,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        printed = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command}: exit {process.returncode}\n{printed[-2000:]}")
    measured = {
        "process_s": time.perf_counter() - started,
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "peak_mb": usage.ru_maxrss / 1024,
    }
    return {**json.loads(printed.splitlines()[-1]), **measured} if prints_json else measured


def _install_harness(folder: Path) -> Path:
    venv.create(folder, with_pip=True)
    python = folder / "bin/python"
    pip = [python, "-m", "pip", "install", "-q", "-c", ROOT / "constraints.txt"]
    for packages in (["torch"], ["lm_eval", "transformers", "peft", "bitsandbytes", "accelerate"]):
        subprocess.run([str(part) for part in (*pip, *packages)], check=True)
    return python


def _median(runs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {key: statistics.median(run[key] for run in runs) for key in runs[0]}


def _table(result: Mapping[str, Any]) -> str:
    lines = [
        "| contestant | answers/s | tokens/s | generation s | process s | CPU s | peak MB |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, run in result["medians"].items():
        lines.append(
            f"| {name} | {_rate(run, 'answers', 'generation_s'):.2f} | {_rate(run, 'tokens', 'generation_s'):.0f} "
            f"| {run['generation_s']:.1f} | {run['process_s']:.1f} | {run['cpu_s']:.1f} | {run['peak_mb']:.0f} |"
        )
    lines += ["", "| ratio | measured |", "|---|---|"]
    lines += [f"| {name} | {value:.2f} |" for name, value in result["ratios"].items()]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
