"""What `llmbench dataset` tells of rows, sides and findings."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from pytest_llmbench.datasets.checking import RowFinding
    from pytest_llmbench.datasets.making import Made
    from pytest_llmbench.datasets.splitting import Split

_SYMBOLS = {"error": "✗", "warning": "⚠", "note": "·"}
_OVERFULL = 0.05  # share of the rows that a side may differ from what was asked, before it is told


def split_json(sides: Split, files: Mapping[str, Path]) -> dict[str, object]:
    """A split as `--json` prints it."""
    from pytest_llmbench.datasets.splitting import SIDES

    sizes = dict(zip(SIDES, sides.sizes, strict=True))
    return {
        "files": {side: {"path": str(path), "rows": sizes[side]} for side, path in files.items()},
        "clusters": sides.clusters,
        "largest_cluster": sides.largest,
        "exact": sides.exact,
    }


def made_json(made: Made, sides: Split | None, files: Mapping[str, Path], heldout: Path | None) -> dict[str, object]:
    """A set that was made as `--json` prints it."""
    told: dict[str, object] = {"source": made.origin, "rows": len(made.rows)}
    if sides:
        told |= split_json(sides, files)
    else:
        told |= {"files": {name: {"path": str(path), "rows": len(made.rows)} for name, path in files.items()}}
    if heldout is not None and made.heldout:
        told["heldout"] = {"path": str(heldout), "rows": len(made.heldout)}
    return told | {"notes": _notes(made, heldout)}


def show_made(
    made: Made, sides: Split | None, files: Mapping[str, Path], heldout: Path | None, replaced: Collection[Path]
) -> None:
    """The files of a set that was made, and what was left out of it."""
    if sides:
        show_split(sides, files, replaced)
    else:
        for path in files.values():
            _show_file(path, f"{len(made.rows)} rows", replaced)
    if heldout is not None and made.heldout:
        _show_file(heldout, f"{len(made.heldout)} rows held out", replaced)
    for note in _notes(made, heldout):
        typer.echo(f"  {note}")


def _notes(made: Made, heldout: Path | None) -> list[str]:
    if heldout is not None and not made.heldout:
        told = f"{heldout} was not written: only of rows that are made from templates some are held out"
        return [*made.notes, told]
    if heldout is None and made.heldout:
        return [*made.notes, f"{len(made.heldout)} rows are held out and written nowhere; --heldout JSONL writes them"]
    return list(made.notes)


def _show_file(path: Path, rows: str, replaced: Collection[Path]) -> None:
    """A file that was written, and whether another one was there."""
    typer.echo(f"{path}: {rows}" + (", in place of the file that was there" if path in replaced else ""))


def show_split(sides: Split, files: Mapping[str, Path], replaced: Collection[Path]) -> None:
    """The sides' files and sizes, and how far to trust them."""
    from pytest_llmbench.datasets.splitting import SIDES

    sizes = dict(zip(SIDES, sides.sizes, strict=True))
    total = sum(sides.sizes)
    for side, path in files.items():
        _show_file(path, f"{sizes[side]} rows ({sizes[side] / total:.1%})", replaced)
    typer.echo(f"  {sides.clusters} groups of near questions stay together, the largest has {sides.largest} rows")
    if any(abs(size - target) > _OVERFULL * total for size, target in zip(sides.sizes, sides.targets, strict=True)):
        typer.echo("  the shares could not be met: the groups are too large; more varied questions would help")
    if not sides.exact:
        typer.echo("  the dataset is large: only rows that begin alike, end alike or share their words were compared")


def show_findings(findings: Sequence[RowFinding]) -> None:
    """A line for each finding, and the first rows it is about."""
    for finding in findings:
        count = f" [{finding.count}]" if finding.count > 1 else ""
        typer.echo(f"{_SYMBOLS[finding.severity]} {finding.check:<15} {finding.message}{count}")
        for where in finding.where:
            typer.echo(f"{'':<18}{where}")


def verdict(findings: Sequence[RowFinding]) -> str:
    """How many findings there are of each severity."""
    counts = {severity: sum(finding.severity == severity for finding in findings) for severity in _SYMBOLS}
    told = [f"{number} {severity}{'s' if number > 1 else ''}" for severity, number in counts.items() if number]
    return ", ".join(told) or "nothing found"
