"""What a run says of itself: who answered, with which settings and vocabulary."""

from __future__ import annotations

import datetime
import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_llmbench.cases.suites import Vocabulary
    from pytest_llmbench.core.settings import Settings


def metadata(backend: Mapping[str, Any], settings: Settings, vocabulary: Vocabulary) -> dict[str, Any]:
    """What a reader needs to know, and to repeat, about a run, before its provenance is added."""
    adapters = backend.get("adapters") or {}
    first = next(iter(adapters.values()), None)
    return {
        "base_model": backend.get("base_model"),
        "lora_adapter": first.get("path") if first else None,
        "device": backend.get("device"),
        "timestamp": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "seed": settings.generation.seed,
        "epochs": settings.generation.epochs,
        "backend": dict(backend),
        "vocabulary": {
            "path": str(vocabulary.path),
            "tools": len(vocabulary.tools),
            "names": list(vocabulary.tools),
            "sha256": hashlib.sha256(json.dumps(dict(vocabulary.tools), sort_keys=True).encode()).hexdigest(),
        },
        "settings": settings.model_dump(mode="json"),
    }
