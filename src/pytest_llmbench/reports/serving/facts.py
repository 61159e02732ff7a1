"""What a document was made of, as named facts: the targets, the code, the machine, the settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pytest_llmbench.reports.serving.answers import Target
from pytest_llmbench.reports.serving.words import ServingWords

Facts = list[tuple[str, str]]


def target_facts(target: Target, say: ServingWords) -> Facts:
    """Which server and model it is."""
    known = [(say("Server"), target["url"]), (say("Model"), target["model_name"]), (say("Engine"), target["engine"])]
    return [(name, value) for name, value in known if value]


def document_facts(document: Mapping[str, Any], say: ServingWords) -> Facts:
    """Everything else, the settings last."""
    metadata = document["metadata"]
    settings = metadata["settings"]
    rest = {key: value for key, value in metadata.items() if key != "settings"}
    return [*worded_facts(rest, say), *worded_facts(settings, say)]


def worded_facts(found: Mapping[str, Any], say: ServingWords) -> Facts:
    """A nested mapping as `a.b.c` and value."""
    return [(key, _value_text(value, say)) for key, value in _flat(found)]


def _flat(found: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in found.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _value_text(value: Any, say: ServingWords) -> str:
    """A recorded value in words."""
    match value:
        case None | "":
            return say("none")
        case bool():
            return say("yes") if value else say("no")
        case float():
            return say.marked(f"{value:.6g}")
        case list():
            return ", ".join(_value_text(item, say) for item in value) or say("none")
        case dict():
            return ", ".join(f"{name} {_value_text(item, say)}" for name, item in value.items()) or say("none")
        case _:
            return str(value)
