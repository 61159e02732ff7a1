"""Where datasets are written: never over what they are made from, nor one over another."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pytest_llmbench.core.errors import UsageError
from pytest_llmbench.datasets.splitting import SIDES


def side_paths(output: Path, shares: Sequence[int]) -> dict[str, Path]:
    """`<output>_train.jsonl` and so on, for each side with a share. The ending of `output` does not count."""
    return {
        side: output.with_name(f"{output.stem}_{side}.jsonl")
        for side, share in zip(SIDES, shares, strict=True)
        if share
    }


def refuse_same_files(read: Sequence[tuple[str, Path]], written: Sequence[tuple[str, Path]]) -> None:
    """See that each file that is written is a file of its own. Files come with what they are, such as "the journal".

    Raises:
        UsageError: a file would be written over one that is read, or twice.
    """
    known = {path.resolve(): role for role, path in read}
    for role, path in written:
        if (other := known.setdefault(path.resolve(), role)) is not role:
            raise UsageError(f"{path} is both {other} and {role}: one would replace the other; choose another path")
