"""Parting a dataset so that no row is tested that was nearly trained: near questions stay on one side."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_llmbench.core.errors import UsageError
from pytest_llmbench.datasets.near_duplicates import NearTexts
from pytest_llmbench.datasets.row_formats import user_text

SIDES = ("train", "val", "test")
SHARES = (80, 10, 10)


@dataclasses.dataclass(frozen=True, slots=True)
class Split:
    """Which side (its place in `SIDES`) each row goes to. `exact` tells that every pair of questions was compared.

    `clusters` is the number of groups of near questions, `largest` the rows of the largest one.
    """

    sides: bytes
    sizes: tuple[int, ...]
    targets: tuple[int, ...]
    clusters: int
    largest: int
    exact: bool


def parse_shares(text: str) -> tuple[int, ...]:
    """`80/10/10` as numbers: the shares of train, val and test in percent.

    Raises:
        UsageError: another form, or they do not make 100.
    """
    parts = text.split("/")
    shares = tuple(int(part) for part in parts if part.strip().isdecimal())
    if len(parts) != len(SIDES) or len(shares) != len(parts) or sum(shares) != 100 or not shares[0]:  # noqa: PLR2004
        told = f"shares {text!r}: write three percentages that make 100, such as 80/10/10 (train/val/test)"
        raise UsageError(told, names=("shares",))
    return shares


def split_rows(rows: Iterable[Mapping[str, Any]], shares: Sequence[int] = SHARES, *, seed: int = 42) -> Split:
    """Send every row to a side, whole clusters of near questions together; the same rows and seed give the same sides.

    A side with a share gets a row at least. Memory is about 50 bytes a row.

    Raises:
        UsageError: there are fewer clusters than sides.
    """
    with NearTexts() as texts:
        texts.add(map(user_text, rows))
        clusters, exact = texts.clusters(), texts.exact
    return split_clusters(clusters, shares, seed=seed, exact=exact)


def split_clusters(clusters: Sequence[int], shares: Sequence[int], *, seed: int, exact: bool = True) -> Split:
    """The sides of rows of which each is in the cluster of that number, below their count; see `split_rows`."""
    import numpy as np

    numbers = np.asarray(clusters, dtype=np.int64)
    members = np.bincount(numbers)
    existing = np.flatnonzero(members)
    targets = _targets(len(clusters), shares)
    wanted = sum(share > 0 for share in shares)
    if len(existing) < wanted:
        raise UsageError(
            f"the {len(clusters)} rows fall into {len(existing)} groups of near questions, too few for {wanted} sides; "
            "add rows, or set a share to 0 (80/0/20)",
            names=("shares",),
        )
    shuffled = np.random.default_rng(seed).permutation(existing)
    order = shuffled[np.argsort(-members[shuffled], kind="stable")]
    sizes = [0] * len(shares)
    side_of = np.zeros(len(members), dtype=np.uint8)
    for place, cluster in enumerate(order):
        size = int(members[cluster])
        side = _side_for(size, sizes, targets, clusters_left=len(order) - place)
        side_of[cluster] = side
        sizes[side] += size
    sides = side_of[numbers].tobytes()
    return Split(sides, tuple(sizes), targets, len(existing), int(members.max()), exact)


def _targets(rows: int, shares: Sequence[int]) -> tuple[int, ...]:
    """Rows of each side, by largest remainders; one at least where there is a share, taken from the largest side."""
    exact = [rows * share / 100 for share in shares]
    counts = [int(count) for count in exact]
    by_remainder = sorted(range(len(shares)), key=lambda side: counts[side] - exact[side])
    for side in by_remainder[: rows - sum(counts)]:
        counts[side] += 1
    for side, share in enumerate(shares):
        largest = max(range(len(counts)), key=counts.__getitem__)
        if share and not counts[side] and counts[largest] > 1:
            counts[side] += 1
            counts[largest] -= 1
    return tuple(counts)


def _side_for(size: int, sizes: Sequence[int], targets: Sequence[int], *, clusters_left: int) -> int:
    """The emptiest side that a cluster fits in; else the one that it overfills least. No side stays without any."""
    wanted = [side for side, target in enumerate(targets) if target]
    empty = [side for side in wanted if not sizes[side]]
    if len(empty) >= clusters_left:
        return max(empty, key=lambda side: targets[side])
    fitting = [side for side in wanted if sizes[side] + size <= targets[side]]
    if fitting:
        return min(fitting, key=lambda side: sizes[side] / targets[side])
    return max(wanted, key=lambda side: targets[side] - sizes[side])


def side_paths(output: Path, shares: Sequence[int]) -> dict[str, Path]:
    """`<output>_train.jsonl` and so on, for each side with a share. The ending of `output` does not count.

    Raises:
        UsageError: `output` names no file.
    """
    if not output.name:
        raise UsageError(f"{output} names no file; the sides are named after it", names=("output",))
    return {
        side: output.with_name(f"{output.stem}_{side}.jsonl")
        for side, share in zip(SIDES, shares, strict=True)
        if share
    }


def refuse_earlier_sides(output: Path, shares: Sequence[int]) -> None:
    """See that no side lies there that gets no rows now: those of an earlier split may stand in another side.

    Raises:
        UsageError: one does.
    """
    for side, share in zip(SIDES, shares, strict=True):
        path = output.with_name(f"{output.stem}_{side}.jsonl")
        if not share and path.exists():
            raise UsageError(
                f"{path} is of an earlier split, and its rows may come to stand in another side; remove it, or give "
                "that side a share",
                names=("shares",),
            )


def refuse_same_files(read: Sequence[tuple[str, Path]], written: Sequence[tuple[str, Path]]) -> None:
    """See that each file that is written is a file of its own. Files come with what they are, such as "the journal".

    Raises:
        UsageError: a file would be written over one that is read, or twice.
    """
    known = {path.resolve(): role for role, path in read}
    for role, path in written:
        if (other := known.setdefault(path.resolve(), role)) is not role:
            raise UsageError(f"{path} is both {other} and {role}: one would replace the other; choose another path")
