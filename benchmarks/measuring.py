"""Where figures were measured, and where they are kept."""

from __future__ import annotations

import datetime
import json
import os
import platform
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def machine() -> dict[str, Any]:
    """The machine and the versions, for whoever compares figures."""
    from pytest_llmbench.core.provenance import provenance

    known = provenance()
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "cpu": known["cpu"],
        "cores": os.cpu_count(),
        "memory_bytes": known["memory_bytes"],
        "python": platform.python_version(),
        "versions": known["versions"],
    }


def save(name: str, result: Mapping[str, Any], table: str) -> None:
    """Write `results/NAME.json` and `results/NAME.md`, and show the table."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    about = result["machine"]
    where = f"{about['cpu']['model']}, {about['cores']} cores, Python {about['python']}, {about['date']}"
    (RESULTS / f"{name}.md").write_text(f"# {name}\n\n{where}\n\n{table}\n", encoding="utf-8")
    print(table)


def measure_parts(
    name: str,
    measures: Mapping[str, Callable[[Path], Mapping[str, Any]]],
    only: str | None,
    lines: Callable[[Mapping[str, Any]], Iterable[str]],
) -> None:
    """Take each measure, or `only` one, in a folder of its own and with the machine's load; others stay."""
    path = RESULTS / f"{name}.json"
    result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    result["machine"] = machine()
    for part, measure in measures.items():
        if only in (None, part):
            with tempfile.TemporaryDirectory() as folder:
                before = os.getloadavg()[0]
                result[part] = {**measure(Path(folder)), "load": [before, os.getloadavg()[0]]}
            print(part, json.dumps(result[part]), flush=True)
    save(name, result, "\n".join(lines(result)))
