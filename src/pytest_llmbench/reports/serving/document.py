"""What was found out about one or several servers as one JSON document."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pytest_llmbench.autotune.document import LimitsDocument, TargetLimits, typed_limits
from pytest_llmbench.core.provenance import provenance
from pytest_llmbench.reports.serving.explanation_words import explain
from pytest_llmbench.reports.serving.words import QUESTIONS
from pytest_llmbench.runs.document import HIDDEN

if TYPE_CHECKING:
    from pytest_llmbench.core.settings import Settings

SCHEMA_VERSION = 1
_SECTIONS = ("load", "generation", "server")
_MACHINE = ("python", "platform", "cpu", "memory_bytes", "gpus")
_LOGIN_IN_URL = re.compile(r"(?<=//)[^/@\s]+@")


def limits_document(targets: Sequence[TargetLimits], settings: Settings, command: str) -> LimitsDocument:
    """The document, valid against `schemas/autotune.schema.json`.

    Each target gets `why`: question -> its explanation. Keys and logins are masked.
    """
    machine = provenance(answered_here=False)
    published = settings.model_dump(mode="json", include=set(_SECTIONS))
    document = {
        "schema_version": SCHEMA_VERSION,
        "metadata": {
            "timestamp": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "command": command,
            "git": machine["git"],
            "versions": machine["versions"],
            "machine": {key: machine[key] for key in _MACHINE},
            "settings": {name: published[name] for name in _SECTIONS},
        },
        "targets": [_explained(target).json_ready() for target in targets],
    }
    return typed_limits(_plain(document))


def _explained(target: TargetLimits) -> TargetLimits:
    findings = {name: target.findings[name] for name in QUESTIONS if name in target.findings}
    why = {name: explain(finding) for name, finding in findings.items()}
    return target.model_copy(update={"findings": findings, "temperature": target.temperature, "why": why})


def _plain(value: Any) -> Any:
    """The same in JSON's types; text that UTF-8 cannot hold is replaced, as a broken server may send it."""
    if isinstance(value, Mapping):
        return {_text(str(key)): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return _text(value) if isinstance(value, str) else value


def _text(text: str) -> str:
    return _LOGIN_IN_URL.sub(f"{HIDDEN}@", text).encode("utf-8", "replace").decode("utf-8")
