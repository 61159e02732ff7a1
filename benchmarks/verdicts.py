"""How far verdicts can be trusted: false alarms, power and coverage, by simulation over the real statistics code.

usage: python benchmarks/verdicts.py [--gates 2000] [--real 20] [--peers FOLDER] [--kept FOLDER] [--only PART...]

Simulated models answer through `compare_runs`, as real runs do. The lines of an audit (`verdict_lines.py`) are asked of
this source and of the one before its findings were mended. With `--kept` each part is kept in a file there and not
measured again, and `--only` measures some parts for it. `--real N` adds N runs of the embedded model, each
gated against the one before, and one gate on the demo adapter with half of its weights zeroed. The peers are the
two-sample z test of lm-evaluation-harness's `scripts/model_comparator.py`, evalsig and evalstats, on the same scores;
`--peers` keeps the environment of the latter two. The first is a script of its repository that no release has (the
wheel of 0.4.13 has no `scripts/`), so its formula is written out here.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from measuring import machine, save
from numpy.typing import NDArray
from peers import environment
from scipy import stats
from verdict_lines import least_worse

from pytest_llmbench.runs.baseline import Comparable
from pytest_llmbench.runs.gate import compare_runs
from pytest_llmbench.stats.significance import Changes, change_interval, p_below

ROOT = Path(__file__).resolve().parents[1]
METRICS = ("relevance", "keywords", "tool_accuracy")
CATEGORIES = ("voice_commands", "voice_corrections", "tool_routing")
ALPHA = 0.05
SIZES = (10, 30, 50, 100)
EARLIER = "f6292ed"  # the source that was audited
VERDICT_PEERS = {"evalsig": "0.1.2", "evalstats": "0.3.3"}
PEER_SIZES = (30, 100)
PEER_FALLS = ((0, 0.1), (0.02, 0.1), (0.1, 0.1), (0.1, 0.15), (0.1, 0.2))

Floats = NDArray[np.float64]
Random = np.random.Generator


@dataclass(frozen=True)
class Design:
    """What is asked: how many cases, how often, of how many metrics and categories."""

    cases: int
    epochs: int = 1
    metrics: int = 1
    categories: int = 1

    def __str__(self) -> str:
        return f"{self.cases} cases x {self.epochs} epochs, {self.metrics} metrics x {self.categories} categories"


def main() -> None:
    """Simulate, then write `results/verdicts.json` and a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gates", type=int, default=2000)
    parser.add_argument("--real", type=int, default=0)
    parser.add_argument("--peers", type=Path)
    parser.add_argument("--kept", type=Path)
    parser.add_argument("--only", nargs="*", default=())
    chosen = parser.parse_args()
    result: dict[str, Any] = {"machine": machine(), "gates": chosen.gates, "alpha": ALPHA}
    for name, measure in (
        ("audit", lambda: audit(chosen.gates, chosen.kept)),
        ("peers", lambda: peers(chosen.peers)),
        ("false alarms", lambda: false_alarms(chosen.gates)),
        ("power", lambda: power(chosen.gates)),
        ("against model_comparator", lambda: against_model_comparator(chosen.gates)),
        ("coverage", lambda: coverage(chosen.gates)),
        ("speed", speed),
        ("real model", lambda: real_model(chosen.real)),
    ):
        if chosen.only and name not in chosen.only:
            continue
        result[name] = _kept(chosen.kept, name, measure)
        print(name, json.dumps(result[name], indent=1), flush=True)
    if not chosen.only:
        save("verdicts", result, _table(result))


def _kept(folder: Path | None, name: str, measure: Callable[[], Any]) -> Any:
    path = folder and folder / f"{name}.json"
    if path and path.exists():
        return json.loads(path.read_text(encoding="utf-8"))
    found = measure()
    if path:
        path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return found


def audit(gates: int, kept: Path | None) -> dict[str, Any]:
    """Each line before and after, by the same script: only the source that it imports differs."""
    with tempfile.TemporaryDirectory() as folder:
        earlier = Path(folder) / "earlier"
        earlier.mkdir()
        packed = subprocess.run(["git", "archive", EARLIER, "src"], cwd=ROOT, capture_output=True, check=True).stdout
        subprocess.run(["tar", "-x", "-C", earlier], input=packed, check=True)
        found = {}
        for name, source in (("before", earlier / "src"), ("after", ROOT / "src")):
            output = (kept or Path(folder)) / f"{name}.json"
            if not output.exists():
                subprocess.run(
                    [sys.executable, ROOT / "benchmarks/verdict_lines.py", output, f"--gates={gates}"],
                    env={**os.environ, "PYTHONPATH": str(source)},
                    check=True,
                )
            found[name] = json.loads(output.read_text(encoding="utf-8"))
        return found


def peers(kept: Path | None) -> list[dict[str, Any]]:
    """False alarms (greatest, whatever share differs) and power, exactly, of yes-or-no scores asked once."""
    with tempfile.TemporaryDirectory() as folder:
        python = environment("verdict-peers", VERDICT_PEERS, kept or Path(folder))
        output = Path(folder) / "peers.json"
        script = ROOT / "benchmarks/contestants/verdict_peers.py"
        subprocess.run([python, script, output, *map(str, PEER_SIZES)], check=True, stdout=subprocess.DEVNULL)
        least = json.loads(output.read_text(encoding="utf-8"))
    least["ours"] = {
        str(cases): [least_worse(cases, moved, ALPHA) for moved in range(1, min(cases, 60) + 1)] for cases in PEER_SIZES
    }
    found = []
    for cases in PEER_SIZES:
        for tool in ("ours", *VERDICT_PEERS):
            told = np.array(least[tool][str(cases)])
            row: dict[str, Any] = {"cases": cases, "tool": tool}
            shares = np.linspace(0.002, 0.4, 200).tolist()
            row["false alarms at most"] = max(_chance(told, cases, share / 2, share / 2) for share in shares)
            row |= {
                f"{churn:.0%} + {fall:.0%}": _chance(told, cases, churn / 2, churn / 2 + fall)
                for churn, fall in PEER_FALLS
            }
            found.append(row)
    return found


def _chance(least: NDArray[np.int64], cases: int, better: float, worse: float) -> float:
    moved = np.arange(1, len(least) + 1)
    return float(
        stats.binom.pmf(moved, cases, better + worse) @ stats.binom.sf(least - 1, moved, worse / (better + worse))
    )


def false_alarms(gates: int) -> list[dict[str, Any]]:
    """Two samples of one model: how often a gate fails, and how often an improvement is claimed."""
    designs = [Design(30), Design(30, 3)]
    found = []
    for design in designs:
        random = np.random.default_rng(1)
        regressions = improvements = 0
        for _ in range(gates):
            before, after = _pair(random, design, _hard_and_easy)
            regressions += _gate(before, after, design, "regression")["outcome"] == "fail"
            improvements += _gate(before, after, design, "improvement")["outcome"] == "pass"
        found.append({"design": str(design), "regression": regressions / gates, "improvement": improvements / gates})
    return found


def power(gates: int) -> list[dict[str, Any]]:
    """A planted drop of 15 points, 0.80 to 0.65, of a yes-or-no metric with independent errors."""
    found = []
    for design in (Design(200), Design(200, 1, 1, 3), Design(30), Design(30, 3)):
        random = np.random.default_rng(2)
        caught = 0
        for _ in range(gates):
            before, after = (_run(random, design, np.full((design.cases,), chance)) for chance in (0.80, 0.65))
            caught += _gate(before, after, design, "regression")["outcome"] == "fail"
        found.append({"design": str(design), "caught": caught / gates})
    return found


def against_model_comparator(gates: int) -> list[dict[str, Any]]:
    """Its verdict and ours on the same 200 yes-or-no scores, with and without a drop of 10 points.

    `shared` is how alike the two models find the cases: at 0 errors are independent, at 1 each case is always right or
    always wrong but for the drop. Its test takes the two samples for independent.
    """
    cases, found = 200, []
    for shared in (0.0, 0.5, 0.9):
        for drop in (0.0, 0.10):
            random = np.random.default_rng(3)
            ours = two_sided = one_sided = 0
            for _ in range(gates):
                difficulty = random.random(cases)
                scores = [_answered(random, difficulty, shared, 0.80 - lost) for lost in (0.0, drop)]
                ours += p_below(scores[1] - scores[0]).p_value <= ALPHA
                p_worse = _model_comparator(*scores)
                two_sided += 2 * p_worse < ALPHA
                one_sided += p_worse < ALPHA
            found.append(
                {
                    "shared": shared,
                    "drop": drop,
                    "ours": ours / gates,
                    "model_comparator": two_sided / gates,
                    "model_comparator, one-sided": one_sided / gates,
                }
            )
    return found


def coverage(repetitions: int) -> list[dict[str, Any]]:
    """How often the 95 % interval holds the true mean difference, by kind of score and number of cases."""
    found = []
    for name, (draw, truth) in _DIFFERENCES.items():
        row: dict[str, Any] = {"scores": name}
        missing = 0
        for cases in SIZES:
            random = np.random.default_rng(4)
            held = none = 0
            for _ in range(repetitions):
                differences = draw(random, cases)
                scale = 1.0 if np.abs(differences).max() <= 1 and "heavy" not in name else None
                interval = change_interval(Changes(differences, scale))
                none += interval is None
                held += interval is not None and interval[0] <= truth <= interval[1]
            row[str(cases)] = held / repetitions
            missing += none * (cases >= 30)
        row["without an interval, from 30 cases"] = missing
        found.append(row)
    return found


def speed() -> dict[str, float]:
    """CPU seconds: the statistics of 100,000 cases x 3 epochs, the first in their process, and `llmbench --help`."""
    with multiprocessing.get_context("spawn").Pool(1) as process:
        statistics_s = process.apply(_statistics_s)
    helps = []
    for _ in range(5):
        earlier = os.times()
        subprocess.run([Path(sys.executable).parent / "llmbench", "--help"], check=True, stdout=subprocess.DEVNULL)
        now = os.times()
        helps.append(now.children_user + now.children_system - earlier.children_user - earlier.children_system)
    return {"100,000 cases x 3 epochs, CPU s": statistics_s, "llmbench --help, CPU s": sorted(helps)[2]}


def _statistics_s() -> float:
    random, design = np.random.default_rng(5), Design(100_000, 3)
    before, after = _pair(random, design, _hard_and_easy)
    started = time.process_time()
    _gate(before, after, design, "regression")
    return time.process_time() - started


def real_model(runs: int) -> dict[str, Any] | None:
    """The embedded model against itself with other seeds, and against its fine-tune with half of the weights gone."""
    if not runs:
        return None
    with tempfile.TemporaryDirectory() as folder:
        reports = Path(folder) / "reports"
        _benchmark(reports, 1000, "run-0")
        outcomes = [_benchmark(reports, 1000 + run, f"run-{run}", f"run-{run - 1}") for run in range(1, runs + 1)]
        halved = _halved_adapter(Path(folder) / "halved")
        planted = _benchmark(reports, 1000, "halved", "run-0", halved)
    worst = [min((v for v in gate["verdicts"]), key=lambda v: v["p_adjusted"])["p_adjusted"] for gate in outcomes]
    return {
        "date": machine()["date"],
        "runs": runs,
        "outcomes": {
            name: sum(gate["outcome"] == name for gate in outcomes) for name in ("pass", "inconclusive", "fail")
        },
        "least adjusted p": sorted(worst)[:5],
        "half of the adapter zeroed": {"outcome": planted["outcome"], "reason": planted["reason"]},
    }


def _benchmark(
    reports: Path, seed: int, name: str, baseline: str | None = None, adapter: Path | None = None
) -> dict[str, Any]:
    command = [Path(sys.executable).parent / "pytest", "-q", "-m", "benchmark", "tests/suites/test_benchmark.py"]
    command += [f"--llmbench-report-dir={reports}", f"--llmbench-seed={seed}", f"--llmbench-save={name}"]
    if baseline:
        command += ["--llmbench-gate=regression", f"--llmbench-compare={baseline}"]
    if adapter:
        command += [f"--llmbench-adapter={adapter}"]
    off = {f"LLMBENCH_OUTPUT__{kind}": "false" for kind in ("PNG", "HTML", "TEXT", "MARKDOWN")}
    environment = {**os.environ, **off, "HF_HUB_OFFLINE": "1", "LLMBENCH_METRICS__COSINE_SIMILARITY": "false"}
    subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, check=False)
    gate: dict[str, Any] = json.loads((reports / "benchmark.json").read_text(encoding="utf-8"))["gate"]
    return gate


def _halved_adapter(folder: Path) -> Path:
    """The demo adapter with every second weight, drawn at random, set to zero."""
    from safetensors.numpy import load_file, save_file

    shutil.copytree(ROOT / "adapters/smollm2-135m-jarvis-fr", folder)
    weights = load_file(folder / "adapter_model.safetensors")
    random = np.random.default_rng(6)
    halved = {name: np.where(random.random(tensor.shape) < 0.5, tensor, 0) for name, tensor in weights.items()}
    save_file(
        {name: tensor.astype(weights[name].dtype) for name, tensor in halved.items()},
        folder / "adapter_model.safetensors",
        {"format": "pt"},
    )
    return folder


def _pair(random: Random, design: Design, chances: Callable[[Random, int], Floats]) -> tuple[Comparable, Comparable]:
    chance = chances(random, design.cases)
    return _run(random, design, chance), _run(random, design, chance)


def _hard_and_easy(random: Random, cases: int) -> Floats:
    """Each case's chance of a right answer: most are easy or hard, few in between."""
    return random.beta(0.7, 0.5, cases)


def _run(random: Random, design: Design, chances: Floats) -> Comparable:
    """A model that answers each case rightly with its chance; keywords come in threes, relevance in any share."""
    rows = []
    for epoch in range(design.epochs):
        by_metric = {
            "tool_accuracy": random.random(design.cases) < chances,
            "keywords": random.binomial(3, chances) / 3,
            "relevance": np.clip(random.normal(chances, 0.25), 0, 1),
        }
        chosen = list(by_metric)[: design.metrics]
        lists = {metric: by_metric[metric].astype(float).tolist() for metric in chosen}
        rows += [
            {
                "case": f"c{case}",
                "category": CATEGORIES[case % design.categories],
                "epoch": epoch,
                "prompt_sha": "",
                "scores": {metric: {"finetuned": scores[case]} for metric, scores in lists.items()},
            }
            for case in range(design.cases)
        ]
    return Comparable("simulated", {"variants": ["base", "finetuned"]}, rows)  # type: ignore[arg-type]


def _gate(before: Comparable, after: Comparable, design: Design, kind: Any) -> dict[str, Any]:
    metrics = ("tool_accuracy", "keywords", "relevance")[: design.metrics]
    return compare_runs(before, after, kind=kind, alpha=ALPHA, metrics=metrics)


def _answered(random: Random, difficulty: Floats, shared: float, chance: float) -> Floats:
    own = random.random(len(difficulty))
    return (np.where(random.random(len(difficulty)) < shared, difficulty, own) < chance).astype(float)


def _model_comparator(before: Floats, after: Floats) -> float:
    """One side of its z test: standard errors as `lm_eval.api.metrics.mean_stderr` gives them, samples independent."""
    errors = [scores.std(ddof=1) / len(scores) ** 0.5 for scores in (before, after)]
    return float(stats.norm.sf((before.mean() - after.mean()) / np.hypot(*errors)))


def _yes_no_pair(before: float, after: float, shared: float) -> tuple[Callable[[Random, int], Floats], float]:
    def draw(random: Random, cases: int) -> Floats:
        difficulty = random.random(cases)
        return _answered(random, difficulty, shared, after) - _answered(random, difficulty, shared, before)

    return draw, after - before


def _gains(share: float) -> tuple[Callable[[Random, int], Floats], float]:
    """Most cases stay as they are, a share of them gains."""
    return lambda random, cases: np.where(random.random(cases) < share, random.beta(2, 2, cases), 0.0), share / 2


_DIFFERENCES: Mapping[str, tuple[Callable[[Random, int], Floats], float]] = {
    "yes-or-no, 5 in 100 lost": (lambda random, n: -(random.random(n) < 0.05).astype(float), -0.05),
    "yes-or-no, 1 in 100 lost": (lambda random, n: -(random.random(n) < 0.01).astype(float), -0.01),
    "yes-or-no 0.80 to 0.65": _yes_no_pair(0.80, 0.65, 0.0),
    "yes-or-no 0.80 to 0.80, alike": _yes_no_pair(0.80, 0.80, 0.5),
    "yes-or-no 0.90 to 0.95": _yes_no_pair(0.90, 0.95, 0.0),
    "yes-or-no 0.30 to 0.90": _yes_no_pair(0.30, 0.90, 0.0),
    "share of 3 keywords": (lambda random, n: (random.binomial(3, 0.5, n) - random.binomial(3, 0.4, n)) / 3, 0.1),
    "share of 5 keywords, high": (
        lambda random, n: (random.binomial(5, 0.8, n) - random.binomial(5, 0.9, n)) / 5,
        -0.1,
    ),
    "any share": (lambda random, n: random.beta(2, 4, n) - random.beta(2, 5, n), 2 / 6 - 2 / 7),
    "any share, skewed": (lambda random, n: random.beta(5, 0.5, n) - random.beta(0.5, 0.5, n), 5 / 5.5 - 0.5),
    "three in ten gain": _gains(0.3),
    "one in ten gains (few change)": _gains(0.1),
    "heavy tails: t, 3 degrees": (lambda random, n: random.standard_t(3, n), 0.0),
    "heavy tails: lognormal": (lambda random, n: random.lognormal(0, 1, n), float(np.exp(0.5))),
}


def _audited(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    titles = {
        "margin": "Passes of a margin of 5 points, exact",
        "detectable": "The true power of the fall called detectable, exact: as expected, and over what may be seen",
        "power, yes-or-no": "Power and size of yes-or-no scores, exact: churn + fall",
        "unequal epochs": "Unequal epochs",
        "power, shares": "Scores on a lattice, 30 cases",
        "groups": "Ten templates of ten paraphrases",
        "families": "Many questions at once: any false fail",
    }
    yield "\n# The audit, before -> after"
    for name, title in titles.items():
        yield f"\n## {title}\n"
        yield from _grid(
            [
                {key: value if value == new.get(key) else (value, new.get(key)) for key, value in old.items()}
                for old, new in zip(before[name], after[name], strict=True)
            ]
        )


def _grid(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield f"| {' | '.join(rows[0])} |"
    yield f"|{'---|' * len(rows[0])}"
    for row in rows:
        cells = (map(_cell, value if isinstance(value, tuple) else (value,)) for value in row.values())
        yield f"| {' | '.join(map(' -> '.join, cells))} |"


def _cell(value: Any) -> str:
    return "-" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)


def _table(result: Mapping[str, Any]) -> str:
    return "\n".join(_lines(result))


def _lines(result: Mapping[str, Any]) -> Iterator[str]:
    yield f"{result['gates']} simulated gates a line, alpha {ALPHA}; everything through the shipped statistics.\n"
    yield from _audited(result["audit"]["before"], result["audit"]["after"])
    yield "\n## Peers: yes-or-no scores asked once, alpha 0.05, exact\n"
    yield "Columns are chances to call a regression: of none, at the share of differing cases where that is greatest;"
    yield "and where so many cases change either way, and so many more are lost.\n"
    yield from _grid(result["peers"])
    yield "\n## False alarms: two samples of the same model\n\n| design | regression | improvement |\n|---|---|---|"
    for row in result["false alarms"]:
        yield f"| {row['design']} | {row['regression']:.2%} | {row['improvement']:.2%} |"
    yield "\n## Power: a drop from 0.80 to 0.65, independent errors\n\n| design | caught |\n|---|---|"
    for row in result["power"]:
        yield f"| {row['design']} | {row['caught']:.1%} |"
    yield "\n## The same 200 scores, judged by lm-evaluation-harness's model_comparator\n"
    yield "Rows without a drop are false alarms, rows with one are regressions found.\n"
    yield "| alike | drop | ours | model_comparator | one-sided at the same alpha |\n|---|---|---|---|---|"
    for row in result["against model_comparator"]:
        theirs = f"{row['model_comparator']:.2%} | {row['model_comparator, one-sided']:.2%}"
        yield f"| {row['shared']} | {row['drop']} | {row['ours']:.2%} | {theirs} |"
    yield "\n## Coverage of the 95 % interval, by number of cases\n"
    yield from _grid(result["coverage"])
    yield "\n## Speed\n\n| what | measured |\n|---|---|"
    for name, seconds in result["speed"].items():
        yield f"| {name} | {seconds:.2f} |"
    if real := result["real model"]:
        yield f"\n## The embedded model, {real['date']}: {real['runs']} runs of other seeds, each against the last\n"
        yield f"Outcomes: {json.dumps(real['outcomes'])}. With every second weight of the demo adapter set to zero: "
        yield f"{real['half of the adapter zeroed']['outcome']} ({real['half of the adapter zeroed']['reason']})."


if __name__ == "__main__":
    main()
