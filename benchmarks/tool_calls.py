r"""Our verdicts on tool calls beside those of BFCL's published checker, on the same answers.

usage: python benchmarks/tool_calls.py --bfcl /path/to/python/with/bfcl-eval [--questions N]

    python -m venv bfcl && bfcl/bin/pip install --no-deps bfcl-eval==2026.3.23 tree_sitter==0.21.3 \
        tree-sitter-java==0.21.0 tree-sitter-javascript==0.21.4

Each question of a category that needs no execution is answered right and wrong in every way below that applies to it.
Our side loads BFCL's files as suites, reads each answer out of the text that a model would write, and scores it with
`call_accuracy`; BFCL's side is its `ast_checker`, run in its own environment, given the calls themselves.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import json
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from measuring import machine, save

from pytest_llmbench.cases.suites import Case, load_cases
from pytest_llmbench.core.records import Completion
from pytest_llmbench.metrics.calls import call_accuracy
from pytest_llmbench.metrics.text import Spelling

CATEGORIES = (
    *("simple_python", "simple_java", "simple_javascript", "multiple", "parallel", "parallel_multiple", "irrelevance"),
    *("live_simple", "live_multiple", "live_parallel", "live_parallel_multiple", "live_irrelevance", "live_relevance"),
)
JUDGE = Path(__file__).parent / "contestants" / "bfcl_judge.py"
WHERE = "import bfcl_eval, pathlib; print(pathlib.Path(bfcl_eval.__file__).parent / 'data')"
VERSION = "from importlib.metadata import version; print(version('bfcl-eval'))"

Calls = list[dict[str, Any]]
Change = Callable[[Any], Any]


def _pick(allowed: Sequence[Any], choice: int) -> Any:
    """One of the allowed values; of an object, its entries hold allowed values of their own."""
    given = [value for value in allowed if value != ""]
    value = given[min(choice, len(given) - 1)] if given else ""
    return _whole(value)


def _whole(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _pick(one, 0) if isinstance(one, list) else one for key, one in value.items()}
    return [_whole(item) for item in value] if isinstance(value, list) else value


def _written(value: Any, kind: str, language: str) -> Any:  # noqa: PLR0911
    """A value as an answer in Java or JavaScript has it: a literal in a string."""
    if language == "python" or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return str(value).lower()
    suffix = {"long": "L", "float": "f" if language == "java" else "", "Bigint": "n"}.get(kind, "")
    if isinstance(value, int | float):
        return f"{float(value) if kind == 'double' else value}{suffix}"
    items = [json.dumps(item) for item in value] if isinstance(value, list) else []
    if kind == "ArrayList":
        return f"new ArrayList<>(Arrays.asList({', '.join(items)}))"
    if kind == "Array":
        return f"new Object[]{{{', '.join(items)}}}"
    if kind == "HashMap":
        puts = " ".join(f"put({json.dumps(key)}, {json.dumps(item)});" for key, item in value.items())
        return f"new HashMap<String, Object>() {{{{ {puts} }}}}"
    return json.dumps(value)


def _answer(row: Mapping[str, Any], language: str, choice: int = 0, *, optional: bool = True) -> Calls:
    """The right calls with one of their allowed values each."""
    kinds = {function["name"]: function["parameters"]["properties"] for function in row["function"]}
    calls = []
    for truth in row["ground_truth"]:
        for name, arguments in truth.items():
            given = {
                key: _written(_pick(values, choice), kinds[name].get(key, {}).get("type", ""), language)
                for key, values in arguments.items()
                if [value for value in values if value != ""] and (optional or "" not in values)
            }
            calls.append({"name": name.replace(".", "_"), "arguments": given})
    return calls


CHANGES: Mapping[str, Mapping[type, Change]] = {
    "wrong value": {
        str: lambda value: f"{value}x",
        bool: lambda value: not value,
        int: lambda value: value + 7,
        float: lambda value: value * 1.5 + 1,
        list: lambda value: [*value, "x"],
        dict: lambda value: {**value, "llmbench": 1},
    },
    "wrong type": {
        str: lambda _: 5,
        bool: str,
        int: str,
        float: str,
        list: json.dumps,
        dict: json.dumps,
    },
    "int for float": {float: int},
    "float for int": {int: float},
    "number for true": {bool: int},
    "string normalised": {str: lambda value: f" {value.upper().replace(' ', '_')}."},
    "text for quotes": {str: lambda value: value.replace("'", '"')},
    "list turned round": {list: lambda value: value[::-1]},
    "list cut short": {list: lambda value: value[:-1]},
    "empty list": {list: lambda _: []},
    "list of text": {list: lambda value: [str(item) for item in value]},
    "list item normalised": {list: lambda v: [item.upper() if isinstance(item, str) else item for item in v]},
    "object without an entry": {dict: lambda value: dict(list(value.items())[1:])},
    "object in capitals": {dict: lambda v: {k: i.upper() if isinstance(i, str) else i for k, i in v.items()}},
    "null": dict.fromkeys((str, bool, int, float, list, dict), lambda _: None),
    "empty text": {str: lambda _: ""},
}
"""What is done to one argument, by its type."""


def _answers(row: Mapping[str, Any], language: str) -> Iterator[tuple[str, Calls]]:
    """Every answer to a question, with what is special about it."""
    if "ground_truth" not in row:
        name = row["function"][0]["name"].replace(".", "_") if row["function"] else "anything"
        yield "no call", []
        yield "a call", [{"name": name, "arguments": {}}]
        yield "unreadable call", [{"name": name, "arguments": '{"a": '}]
        return
    right = _answer(row, language)
    yield "right", right
    yield "another allowed value", _answer(row, language, 1)
    yield "optional arguments left out", _answer(row, language, optional=False)
    yield "no call", []
    yield "extra call", [*right, right[-1]]
    yield "wrong tool", [{**right[0], "name": "llmbench"}, *right[1:]]
    yield "dots for underlines", [{**right[0], "name": right[0]["name"].replace("_", ".")}, *right[1:]]
    yield "extra argument", [{**right[0], "arguments": {**right[0]["arguments"], "llmbench": 1}}, *right[1:]]
    yield "unreadable call", [{**right[0], "arguments": '{"a": '}, *right[1:]]
    if len(right) > 1:
        yield "swapped order", right[::-1]
        yield "missing call", right[:-1]
        yield "the same call twice", [right[0], *right[:-1]]
    yield from _changed(right)


def _changed(right: Calls) -> Iterator[tuple[str, Calls]]:
    for number, call in enumerate(right[:3]):
        for argument, value in call["arguments"].items():
            yield (
                "missing argument",
                _with(right, number, {k: v for k, v in call["arguments"].items() if k != argument}),
            )
            for what, changes in CHANGES.items():
                if change := changes.get(type(value)):
                    yield what, _with(right, number, {**call["arguments"], argument: change(copy.deepcopy(value))})


def _with(calls: Calls, number: int, arguments: Mapping[str, Any]) -> Calls:
    return [*calls[:number], {**calls[number], "arguments": dict(arguments)}, *calls[number + 1 :]]


def _text(calls: Calls) -> str:
    """What a model of Hermes' manner writes."""
    bodies = [
        f'{{"name": {json.dumps(call["name"])}, "arguments": {call["arguments"]}'
        if isinstance(call["arguments"], str)
        else json.dumps(call)
        for call in calls
    ]
    return "\n".join(f"<tool_call>\n{body}\n</tool_call>" for body in bodies) or "I cannot help with that."


def _rows(data: Path, category: str) -> list[dict[str, Any]]:
    def read(path: Path) -> list[dict[str, Any]]:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]

    name = f"BFCL_v4_{category}.json"
    rows, answers = read(data / name), data / "possible_answer" / name
    truths = {row["id"]: row["ground_truth"] for row in read(answers)} if answers.is_file() else {}
    return [{**row, "ground_truth": truths[row["id"]]} if truths else row for row in rows]


def _compare(python: str, data: Path, category: str, questions: int) -> list[dict[str, Any]]:
    """Every answer with both verdicts."""
    language = next((one for one in ("javascript", "java") if category.endswith(f"_{one}")), "python")
    rows = _rows(data, category)[:questions]
    cases = {case.id: case for case in load_cases([data / f"BFCL_v4_{category}.json"])}
    jobs = [
        {"category": category, "id": row["id"], "what": what, "answer": answer, "row": row}
        for row in rows
        for what, answer in _answers(row, language)
    ]
    theirs = _theirs(python, jobs)
    return [
        {**job, "ours": _ours(cases[job["id"]], job["answer"]), "theirs": told}
        for job, told in zip(jobs, theirs, strict=True)
    ]


def _theirs(python: str, jobs: Sequence[Mapping[str, Any]]) -> list[Any]:
    asked = [
        {
            "category": job["category"],
            "answer": job["answer"],
            "function": job["row"]["function"],
            "ground_truth": job["row"].get("ground_truth"),
        }
        for job in jobs
    ]
    done = subprocess.run([python, JUDGE], input=json.dumps(asked), capture_output=True, text=True, check=True)
    return list(json.loads(done.stdout.splitlines()[-1]))


def _by_order(python: str, job: Mapping[str, Any]) -> bool:
    """Whether BFCL's checker, which says that order is nothing to it, accepts the same calls in another order."""
    orders = [{**job, "answer": list(calls)} for calls in itertools.permutations(job["answer"])]
    return True in _theirs(python, orders[:120])


def _ours(case: Case, calls: Calls) -> bool:
    completion = Completion(case.name, 0, "base", _text(calls), "stop")
    return bool(call_accuracy(Spelling())(case, completion))


def _table(judged: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    lines = ["| category | questions | answers | right, says BFCL | both agree |", "|---|---:|---:|---:|---:|"]
    for category, found in judged.items():
        told = [one for one in found if isinstance(one["theirs"], bool)]
        agree = sum(one["ours"] == one["theirs"] for one in told)
        questions = len({one["id"] for one in found})
        share = f"{agree}/{len(told)}"
        lines.append(f"| {category} | {questions} | {len(told)} | {sum(one['theirs'] for one in told)} | {share} |")
    return "\n".join(lines)


def _ways(judged: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    every = [one for found in judged.values() for one in found if isinstance(one["theirs"], bool)]
    count, right = Counter(one["what"] for one in every), Counter(one["what"] for one in every if one["theirs"])
    rows = [f"| {what} | {answers} | {right[what]} |" for what, answers in count.most_common()]
    return "\n".join(["| answer | answers | right, says BFCL |", "|---|---:|---:|", *rows])


def main() -> None:
    """Compare, and keep the figures and every difference."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bfcl", required=True, help="a Python that has bfcl-eval")
    parser.add_argument("--questions", type=int, default=10_000, help="of each category, at most")
    options = parser.parse_args()
    told = [
        subprocess.run([options.bfcl, "-c", code], capture_output=True, text=True, check=True)
        for code in (WHERE, VERSION)
    ]
    data, version = (one.stdout.strip() for one in told)
    judged = {name: _compare(options.bfcl, Path(data), name, options.questions) for name in CATEGORIES}
    every = [one for found in judged.values() for one in found]
    unlike = [one for one in every if isinstance(one["theirs"], bool) and one["ours"] != one["theirs"]]
    crashed = Counter((one["category"], str(one["theirs"])[:80]) for one in every if isinstance(one["theirs"], str))
    result = {
        "machine": machine(),
        "bfcl_eval": version,
        "answers": len(every),
        "calls": sum(len(one["answer"]) for one in every),
        "differences": [
            {
                **{key: one[key] for key in ("id", "what", "answer", "ours", "theirs")},
                "accepted_in_another_order": _by_order(options.bfcl, one),
            }
            for one in unlike
        ],
        "without_verdict": [{"category": name, "error": error, "answers": n} for (name, error), n in crashed.items()],
        "categories": {
            name: {"answers": len(found), "agree": sum(one["ours"] == one["theirs"] for one in found)}
            for name, found in judged.items()
        },
    }
    explained = sum(one["accepted_in_another_order"] for one in result["differences"])
    summary = (
        f"{len(every)} answers with {result['calls']} calls, judged by us and by the checker of bfcl-eval {version}: "
        f"{len(unlike)} differences, {explained} of them explained: BFCL's checker accepts the same calls in another "
        "order, since it never takes back a call that it has given to an expected one. "
        f"{sum(crashed.values())} answers on which it ends in an error."
    )
    save("tool_calls", result, f"{summary}\n\n{_table(judged)}\n\n{_ways(judged)}")


if __name__ == "__main__":
    main()
