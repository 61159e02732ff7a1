"""Refuses flags and values that a version of vLLM does not take: it renames and removes them as it goes.

The table is made from the argument parsers of installed versions by `tools/vllm_flags.py`.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from importlib import resources

from pytest_llmbench.core.documents import nearest, suggestion
from pytest_llmbench.core.errors import UsageError

_IN_PLACE = {
    "--disable-log-requests": "--no-enable-log-requests",
    "--guided-decoding-backend": "--structured-outputs-config",
    "--rope-scaling": "--hf-overrides with rope_parameters",
    "--rope-theta": "--hf-overrides with rope_parameters",
    "--task": "--runner",
}
"""What took the place of flags that guides still name."""

_Flags = Mapping[str, list[str] | None]


def check_vllm_flags(words: Sequence[str], version: str) -> None:
    """Let pass a command line whose flags and values this version takes.

    Raises:
        UsageError: the version is not in the table, or does not take a flag or a flag's value; told is which version
            last took it.
    """
    table = _table()
    if version not in table:
        raise UsageError(
            f"flags of vLLM {version} are not known; known are {', '.join(table)}", names=("serving.vllm_version",)
        )
    flags = table[version]
    for place, word in enumerate(words):
        if not word.startswith("--"):
            continue
        flag, _, value = word.partition("=")
        name = flag.split(".")[0].replace("_", "-")  # vLLM takes --hf-overrides.key and underscores too
        if name not in flags:
            raise UsageError(f"vLLM {version} has no {flag}{_history(name, version)}", names=("serving.arguments",))
        following = value or (words[place + 1] if place + 1 < len(words) else "")
        _check_value(name, following, flags[name], version)


def flag_choices(flag: str, version: str) -> list[str] | None:
    """What a flag takes, where it takes only some values; None for any. A version that is not known takes any."""
    return _table().get(version, {}).get(flag)


@functools.cache
def _table() -> Mapping[str, _Flags]:
    text = resources.files("pytest_llmbench.context.serving").joinpath("vllm_flags.json").read_text("utf-8")
    table: Mapping[str, _Flags] = json.loads(text)
    return table


def _check_value(flag: str, value: str, choices: list[str] | None, version: str) -> None:
    if choices and value not in choices and not value.startswith("--"):
        raise UsageError(f"vLLM {version} takes no {flag} {value}; {suggestion(value, choices)}")


def _history(flag: str, version: str) -> str:
    """What is known of a flag in other versions, as the end of a sentence."""
    table = _table()
    if flag in _IN_PLACE:
        return f"; it was replaced by {_IN_PLACE[flag]}"
    having = [other for other, flags in table.items() if flag in flags]
    if not having:
        near = nearest(flag, table[version])
        return f"; did you mean {near}?" if near else "; see `vllm serve --help=all`"
    later = list(table).index(version) < list(table).index(having[0])
    if later:
        return f"; it came after that, {having[0]} has it"
    return f"; it was renamed or removed after {having[-1]}, see `vllm serve --help=all`"
