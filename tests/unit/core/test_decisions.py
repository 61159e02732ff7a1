"""The code decides by codes and types; a sentence of its own is for people and may be worded anew at any time."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import get_args, get_type_hints

from support.sources import modules

from pytest_llmbench.metrics.routing import Misrouting

OF_OTHERS = {
    "core/csv_files.py",  # Python's csv module has one exception for all that it refuses
    "finetune/sft.py",  # torch tells that memory is lacking by a plain RuntimeError on the CPU
    "generation/local/backend.py",  # the same
    "finetune/checkpoints.py",  # tokenizers and safetensors name a full disk in words alone
    "models/loading_errors.py",  # transformers has no type for an architecture that it does not know
}
"""Files that read the messages of other libraries, which tell no other way."""
CODES = get_args(get_type_hints(Misrouting)["reason"])
"""Reasons of several words that are codes: fields of files, and the only ones that are allowed."""
SENTENCES = {"reason", "error", "message", "verdict", "sentence", "advice"}
ASKING = {"startswith", "endswith", "partition", "rpartition", "replace", "removeprefix", "find", "index"}


def told(node: ast.expr) -> bool:
    """Whether this is a sentence for people: an error as text, or what a record keeps of one."""
    match node:
        case ast.Call(func=ast.Name("str"), args=[ast.Name(name)]):
            return name in {"error", "fault", "failure", "exception"}
        case ast.Attribute(attr=name) | ast.Subscript(slice=ast.Constant(str(name))):
            return name in SENTENCES
        case ast.Call(func=ast.Name("suggestion")):
            return True
    return False


def decisions(tree: ast.AST) -> Iterator[int]:
    """The lines on which something is decided by what a sentence says."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(attr=how, value=text)) if how in ASKING and told(text):
                yield node.lineno
            case ast.Call(func=ast.Attribute(attr="search" | "match" | "fullmatch"), args=arguments) if any(
                map(told, arguments)
            ):
                yield node.lineno
            case ast.Compare(ops=[ast.In() | ast.NotIn()], comparators=[text]) if told(text):
                yield node.lineno
            case ast.Compare(left=ast.Constant(str(words)), ops=[ast.In() | ast.NotIn()]) if (
                " " in words.strip() and words not in CODES
            ):
                yield node.lineno


def test_nothing_is_decided_by_the_words_of_a_message() -> None:
    found = {f"{name}:{line}" for name, tree in modules().items() if name not in OF_OTHERS for line in decisions(tree)}
    assert found == set()


def test_the_ways_that_code_once_decided_by_words_are_seen() -> None:
    ways = (
        'trial["reason"].startswith(BOTTLENECK)',
        "_TOO_LARGE.search(str(error))",
        'str(error).replace("--server", "--url")',
        'look.verdict.partition(",")[0] in VERDICTS',
        '"did you mean" not in known',
        "request.error.startswith(GONE)",
    )
    assert [way for way in ways if not list(decisions(ast.parse(way)))] == []
