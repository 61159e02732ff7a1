"""Answer the shipped cases as base and fine-tune and print how much the process grew at its fullest, as JSON.

usage: python memory_answering.py MODEL packed|dequantized AT_ONCE CASES TOKENS

The shipped adapter is compared where MODEL is its base; any other model is asked alone. Growth is peak resident memory,
loading included, above what was resident before; libraries are imported earlier. Freed memory is given back at once.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import bitsandbytes  # noqa: F401  # so that its import is not counted
import peft  # noqa: F401
import torch
import transformers  # noqa: F401
from process_memory import forget_peak, peak_bytes, resident_bytes

from pytest_llmbench.benchmark.main_job import open_backend
from pytest_llmbench.cases.suites import load_cases, load_vocabulary
from pytest_llmbench.core.settings import Settings
from pytest_llmbench.finetune.memory import return_freed_memory
from pytest_llmbench.generation.backend import AnswersTogether

HOME = Path(__file__).parents[2]
EMBEDDED, ADAPTER = "smollm2-135m", HOME / "adapters/smollm2-135m-jarvis-fr"


def main() -> None:
    """Load, answer, and print the growth in bytes and what was held."""
    spec, hold, at_once, count, tokens = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])
    return_freed_memory()
    cases = load_cases([HOME / "prompts"], load_vocabulary(HOME / "prompts/tools.yaml"))[:count]
    before = resident_bytes()
    sections: dict[str, Any] = {
        "model": {"base": spec, "adapter": str(ADAPTER) if spec == EMBEDDED else "none", "hold": hold, "device": "cpu"},
        "generation": {"max_new_tokens": tokens, "timeout": 600.0, "batch_size": at_once, "threads": 2},
    }
    backend = open_backend(Settings.model_validate(sections), cases)
    loaded = peak_bytes() - before
    forget_peak()
    together = [(case, variant) for case in cases for variant in backend.variants]
    assert isinstance(backend, AnswersTogether)
    size = at_once * len(backend.variants)
    done = [
        answer for at in range(0, len(together), size) for answer in backend.complete_together(together[at : at + size])
    ]
    assert not any(one.finish == "error" for one in done)
    longest = max((one.prompt_tokens or 0) for one in done) + tokens
    told = {
        "loading_bytes": loaded,
        "growth_bytes": peak_bytes() - before,
        "rows": size,
        "positions": longest,
        "hold": backend.describe().get("hold"),
        "dtype": backend.describe().get("dtype"),
        "threads": torch.get_num_threads(),
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
