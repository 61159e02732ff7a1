"""Greedy answers of real servers beside those of the local backend in fp32, and a capacity search on each.

usage: python benchmarks/servers.py [--environments DIR] [--only TEXT] [--cases 12] [--tokens 64] [--dry]

Every server serves the embedded model and its demo fine-tune, and is asked through this project's own backend. An
answer that differs is held against both models' log-probabilities (`answer_differences.py`). vLLM, transformers and
LiteLLM are installed below `--environments`, 5 GB, unless they are there.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from answer_differences import Differences, served_tokens
from measuring import machine, save
from real_servers import NotStartedError, Pair, Running, litellm, llamacpp, transformers_serve, vllm

from pytest_llmbench.cases.suites import Case, load_cases, load_vocabulary
from pytest_llmbench.core.records import Completion
from pytest_llmbench.core.settings import Settings, load_settings
from pytest_llmbench.generation.backend import Backend
from pytest_llmbench.generation.client.backend import ServerBackend
from pytest_llmbench.generation.local.backend import LocalBackend
from pytest_llmbench.models.adapter_loading import attach
from pytest_llmbench.models.adapters import find_adapters
from pytest_llmbench.models.loaded import LoadedModel
from pytest_llmbench.models.loading import load_base
from pytest_llmbench.models.sources import Source, resolve

HOME = Path(__file__).parents[1]
SEARCH = ("--max-users", "3", "--budget", "60", "--cooldown", "1", "--messages", "2", "--max-new-tokens", "8")
SEARCH_S = 900.0
IN_FP32, QUANTIZED = "llama.cpp, the same weights in fp32", "llama.cpp, the file as packaged (Q4_1)"
Asked = tuple[str, str]
"""Case and variant."""

Answers = Mapping[Asked, Completion]


@dataclass(frozen=True)
class Local:
    """The cases, the local backend's answers to them, and its model."""

    cases: Sequence[Case]
    loaded: LoadedModel
    answers: Answers
    tokens: int


def main() -> None:
    """Start, ask and load each server, then write `results/servers.json` and a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--environments", type=Path, help="folder of the servers' environments, kept")
    parser.add_argument("--only", default="", help="servers whose name has this")
    parser.add_argument("--cases", type=int, default=12)
    parser.add_argument("--tokens", type=int, default=64, help="the longest answers")
    parser.add_argument("--dry", action="store_true", help="show the table, write nothing")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        source = resolve("smollm2-135m")
        local = answer_locally(source, chosen.cases, chosen.tokens)
        pair = Pair(Path(source.path), Path(source.origin), Path(local.loaded.adapters["finetuned"].path), work)
        rows = list(measured(pair, local, (chosen.environments or work).resolve(), chosen.only))
    result = {"machine": machine(), "cases": [case.name for case in local.cases], "tokens": chosen.tokens, "rows": rows}
    if chosen.dry:
        print(_table(result))
    else:
        save("servers", result, _table(result))


def answer_locally(source: Source, count: int, tokens: int) -> Local:
    """Evenly spread cases of the suites, answered by base and fine-tune in fp32."""
    suites = load_cases([HOME / "prompts"], load_vocabulary(HOME / "prompts/tools.yaml"))
    cases = suites[:: len(suites) // count][:count]
    settings = _settings({"generation.max_new_tokens": str(tokens)})
    loaded = load_base(source, settings.model)
    attach(loaded, find_adapters(("auto",), HOME / "adapters", source))
    answers = _answers(LocalBackend(loaded, settings.generation, {}), cases)
    return Local(cases, loaded, answers, tokens)


def measured(pair: Pair, local: Local, environments: Path, only: str) -> Iterator[dict[str, Any]]:
    """One row a server, also of one that could not be had."""
    servers: Mapping[str, Callable[[], AbstractContextManager[Running]]] = {
        IN_FP32: lambda: llamacpp(pair, full_precision=True),
        QUANTIZED: lambda: llamacpp(pair, full_precision=False),
        "transformers serve": lambda: transformers_serve(pair, environments),
        "vLLM on the CPU": lambda: vllm(pair, environments),
        "LiteLLM's proxy before that vLLM": lambda: litellm(pair, environments),
    }
    equal_in_fp32: Collection[Asked] = ()
    for name, server in servers.items():
        if only.lower() not in name.lower():
            continue
        try:
            with server() as running:
                compared = _compared(running, local, equal_in_fp32 if name == QUANTIZED else ())
                row = {"server": name, **compared, "search": _search(running, pair.work)}
        except NotStartedError as error:
            row = {"server": name, "not_had": str(error)}
        else:
            if name == IN_FP32:
                differing = {(one["case"], one["variant"]) for one in compared["differences"]}
                equal_in_fp32 = local.answers.keys() - differing
        print(json.dumps(row), file=sys.stderr, flush=True)
        yield row


def _compared(running: Running, local: Local, equal_in_fp32: Collection[Asked]) -> dict[str, Any]:
    """How many of the server's answers are the local ones, and why the others are not."""
    os.environ["LLMBENCH_API_KEY"] = running.key
    backend = ServerBackend(_settings({**running.settings, "generation.max_new_tokens": str(local.tokens)}))
    try:
        served, described = _answers(backend, local.cases), backend.describe()
    finally:
        backend.close()
    explain = Differences(local.loaded).explain
    equal, differences, ends = Counter(dict.fromkeys(backend.variants, 0)), [], []
    for case, variant in itertools.product(local.cases, backend.variants):
        asked = case.name, variant
        ours, theirs = local.answers[asked], served[asked]
        if ours.text == theirs.text:
            equal[variant] += 1
            ends += [(*asked, ours.finish, theirs.finish)] if ours.finish != theirs.finish else []
            continue
        body = {"model": described["models"][variant], "messages": [dict(one) for one in case.messages]}
        tokens = served_tokens(running.url, {**body, **described["requests"][variant]}, running.key)
        found = explain(case, ours, theirs, tokens, equal_in_fp32=asked in equal_in_fp32)
        differences.append(found.to_json())
    return {"version": running.version, "equal": equal, "differences": differences, "other_ends": ends}


def _answers(backend: Backend, cases: Sequence[Case]) -> Answers:
    return {
        (done.case, variant): done for variant in backend.variants for done in backend.complete(list(cases), variant)
    }


def _search(running: Running, work: Path) -> dict[str, Any]:
    """What `llmbench autotune` comes to on the server."""
    folder = work / "search"
    program = [str(Path(sys.executable).with_name("llmbench")), "autotune", *SEARCH]
    where = ["--server", running.url, "--report-dir", str(folder), "--out", str(folder / "limits.json")]
    if model := running.settings.get("server.model"):
        where += ["--model", model]
    ran = subprocess.run(
        [*program, *where],
        env={**os.environ, "LLMBENCH_API_KEY": running.key},
        capture_output=True,
        text=True,
        check=False,
        timeout=SEARCH_S,
    )
    said = ran.stdout.splitlines() or ran.stderr.splitlines()[-1:] or [""]
    return {"exit_code": ran.returncode, "headline": said[0]}


def _settings(given: Mapping[str, str]) -> Settings:
    fixed = {
        "generation.temperature": "0", "generation.do_sample": "false", "generation.timeout": "300",
        "model.quantization": "none", "model.compute_dtype": "float32", "model.device": "cpu",
        "server.concurrency": "2",
    }  # fmt: skip
    return load_settings(None, {key: (value, "benchmark") for key, value in {**fixed, **given}.items()}, {})


def _table(result: Mapping[str, Any]) -> str:
    cases = len(result["cases"])
    about = (
        f"Greedy answers of at most {result['tokens']} tokens to {cases} cases of the suites, beside those of the "
        "local backend in fp32 in the same run; `llmbench autotune` with at most 3 users. Gaps are nats by which each "
        "side prefers its own token, noise the largest difference of log-probability over the tokens before."
    )
    lines = [
        about,
        "",
        "| server | version | base equal | LoRA equal | differences | autotune: exit code, headline |",
        "|---|---|---|---|---|---|",
    ]
    for row in result["rows"]:
        if "not_had" in row:
            lines.append(f"| {row['server']} | not had: {row['not_had']} | | | | |")
            continue
        equal, found = row["equal"], Counter(one["why"].partition(":")[0] for one in row["differences"])
        why = ", ".join(f"{count} {name}" for name, count in found.items()) or "none"
        search = f"{row['search']['exit_code']}, {row['search']['headline']}"
        counts = f"{equal['base']} of {cases} | {equal['finetuned']} of {cases}"
        lines.append(f"| {row['server']} | {row['version']} | {counts} | {why} | {search} |")
    lines += ["", *_differences(result["rows"])]
    return "\n".join(lines)


def _differences(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = ["| server | case, variant | token | here | there | gap here | gap there | noise before | why |"]
    lines.append("|---|---|---|---|---|---|---|---|---|")
    for row in rows:
        for one in row.get("differences", ()):
            figures = [one[key] for key in ("local_gap", "served_gap", "noise")]
            shown = " | ".join("" if figure is None else f"{figure:.4f}" for figure in figures)
            words = f"`{one['local']!r}` | `{one['served']!r}`"
            lines.append(
                f"| {row['server']} | {one['case']}, {one['variant']} | {one['token']} | {words} | {shown} "
                f"| {one['why']} |"
            )
    return lines if len(lines) > 2 else []


if __name__ == "__main__":
    main()
