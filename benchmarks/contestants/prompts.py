"""The default suites' prompts and the demo pair, for contestants that know nothing of pytest-llmbench.

usage: python benchmarks/contestants/prompts.py FILE
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
NEW_TOKENS, TEMPERATURE, TOP_P = 128, 0.7, 0.9


def write_inputs(path: Path) -> None:
    """Resolve the pair and the cases once, so that no contestant's process pays for it."""
    from pytest_llmbench.cases import load_cases, load_vocabulary
    from pytest_llmbench.models.sources import resolve

    cases = load_cases([ROOT / "prompts"], load_vocabulary(ROOT / "prompts/tools.yaml"))
    adapter = next(folder.parent for folder in (ROOT / "adapters").glob("*/adapter_config.json"))
    path.write_text(
        json.dumps(
            {
                "base": resolve("smollm2-135m").path,
                "adapter": str(adapter),
                "messages": [[dict(message) for message in case.messages] for case in cases],
            }
        ),
        encoding="utf-8",
    )


if __name__ == "__main__":
    write_inputs(Path(sys.argv[1]))
