"""The rooms and files of the package for `docs/architecture.md`: each file's line is its own first sentence.

`python docs/site/tree.py` renews the part between the two marks; `--check` fails where it is not what it should be.
"""

from __future__ import annotations

import argparse
import ast
import itertools
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "pytest_llmbench"
PAGE = ROOT / "docs" / "architecture.md"
BEGIN, END = "<!-- tree: made by `make docs-tree` from the files' first sentences -->\n", "<!-- end of tree -->\n"

ASSETS = {"assets", "static", "templates", "vendor"}
"""Folders whose files are named in one line."""

OTHERS = {
    "autotune.schema.json": "The file format of `autotune.json`.",
    "baseline.schema.json": "The file format of a committed baseline.",
    "context.schema.json": "The file format of `context.json`.",
    "evaluation.schema.json": "The file format of `evaluation.json`.",
    "run.schema.json": "The file format of `benchmark.json` and `run.json`.",
    "suite.schema.json": "The file format of a suite.",
    "vllm_flags.json": "What `vllm serve` accepts, by version; made by `tools/vllm_flags.py`.",
    "tune.schema.json": "The file format of `tune.json`.",
    "py.typed": "Says that the package has types.",
}
"""What files say that cannot say it themselves."""


def rooms() -> list[str]:
    """The rooms from the ground up, as the import contract has them."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    names = [name.strip(" ()") for layer in reversed(layers) for name in layer.split("|")]
    return [name for name in names if (PACKAGE / name).is_dir()]


def folders() -> list[str]:
    """The rooms, and after them the folders without code."""
    there = sorted(path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__")
    return [*rooms(), *(name for name in there if name not in rooms() and any(_lines(PACKAGE / name, nested=True)))]


def tree() -> str:
    """Every room with its files, in Markdown."""
    named = (f"### {name}/\n\n{_room(name)}{''.join(_lines(PACKAGE / name, nested=True))}" for name in folders())
    return "\n".join(["".join(_lines(PACKAGE, nested=False)), *named])


def with_tree(page: str) -> str:
    """The page with its tree renewed."""
    before, _, rest = page.partition(BEGIN)
    return f"{before}{BEGIN}\n{tree()}\n{END}{rest.partition(END)[2]}"


def first_sentence(path: Path) -> str:
    """What a file says of itself: the first paragraph of its docstring, or its first comment."""
    if path.name in OTHERS:
        return OTHERS[path.name]
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        said = (ast.get_docstring(ast.parse(text)) or "").partition("\n\n")[0]
    else:
        comment = itertools.takewhile(lambda line: line.startswith("#"), text.splitlines())
        said = " ".join(line.lstrip("# ") for line in comment).partition(". ")[0]
    return " ".join(said.split())


def _room(name: str) -> str:
    said = first_sentence(PACKAGE / name / "__init__.py") if (PACKAGE / name / "__init__.py").exists() else ""
    return f"{said}\n\n" if said else ""


def _lines(folder: Path, *, nested: bool) -> Iterator[str]:
    files = folder.rglob("*") if nested else folder.glob("*")
    shown = [path for path in files if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".mo"]
    for path in sorted(shown, key=lambda path: (path.parent != folder, path.as_posix())):
        name = path.relative_to(folder).as_posix()
        if path.parent.name in ASSETS:
            continue
        if nested and path.name == "__init__.py":
            name = name.removesuffix("__init__.py")
        said = first_sentence(path)
        if name:
            yield f"- `{name}`{': ' if said else ''}{said}\n"
    for assets in sorted({path.parent for path in shown if path.parent.name in ASSETS}):
        names = ", ".join(f"`{path.name}`" for path in sorted(assets.iterdir()) if path.is_file())
        yield f"- `{assets.relative_to(folder).as_posix()}/`: {names}\n"


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--check", action="store_true", help="change nothing, fail where the tree is not renewed")
    written = PAGE.read_text(encoding="utf-8")
    renewed = with_tree(written)
    if arguments.parse_args().check:
        raise SystemExit(0 if written == renewed else f"{PAGE}: not as the files say; run `make docs-tree`")
    PAGE.write_text(renewed, encoding="utf-8")
