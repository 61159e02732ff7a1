"""What a document was made of, as named facts: the targets, the code, the machine, the settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_llmbench.autotune.document import LimitsDocument, TargetLimits
from pytest_llmbench.reports.recorded import recorded_facts
from pytest_llmbench.reports.serving.words import ServingWords

Facts = list[tuple[str, str]]


def target_facts(target: TargetLimits, say: ServingWords) -> Facts:
    """Which server and model it is."""
    known = [(say("Server"), target.url), (say("Model"), target.model_name), (say("Engine"), target.engine)]
    return [(name, value) for name, value in known if value]


def document_facts(document: LimitsDocument, say: ServingWords) -> Facts:
    """Everything else, the settings last."""
    made_of = document.metadata.json_ready()
    settings = made_of.pop("settings")
    return [*worded_facts(made_of, say), *worded_facts(settings, say)]


def worded_facts(found: Mapping[str, Any], say: ServingWords) -> Facts:
    """A nested mapping as `a.b.c` and value; what is null was left open on purpose."""
    return recorded_facts(found, say, say("none"))
