"""Near questions stay on one side, and the sides have the sizes that were asked for."""

from __future__ import annotations

import itertools
import random
import re
import resource
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rapidfuzz import fuzz

from pytest_llmbench.core.errors import NotReadyError, UsageError
from pytest_llmbench.datasets import near_duplicates
from pytest_llmbench.datasets.near_duplicates import NEAR, NearTexts, bare
from pytest_llmbench.datasets.row_formats import new_row
from pytest_llmbench.datasets.splitting import (
    parse_shares,
    refuse_earlier_sides,
    side_paths,
    split_clusters,
    split_rows,
)

WORDS = ("monte", "baisse", "le", "son", "volume", "ouvre", "ferme", "chrome", "la", "lumière", "météo", "demain")
QUESTIONS = st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=5).map(" ".join), min_size=3, max_size=40)


@given(QUESTIONS, st.integers(0, 3))
@settings(max_examples=60)
def test_no_near_duplicates_stand_on_different_sides(questions: list[str], seed: int) -> None:
    rows = [new_row(question, "Oui.") for question in questions]
    try:
        split = split_rows(rows, seed=seed)
    except UsageError:  # of questions that are all alike
        return
    for (one, first), (other, second) in itertools.combinations(zip(map(bare, questions), split.sides, strict=True), 2):
        assert first == second or fuzz.ratio(one, other) < 100 * NEAR
    assert split.exact


@given(st.integers(10, 400), st.integers(0, 5))
def test_the_sizes_are_those_asked_for_when_no_rows_are_alike(rows: int, seed: int) -> None:
    split = split_clusters(range(rows), (80, 10, 10), seed=seed)
    assert split.sizes == split.targets
    assert sum(split.sizes) == rows
    assert all(abs(size - rows * share / 100) <= 1 for size, share in zip(split.sizes, (80, 10, 10), strict=True))


@given(st.lists(st.integers(1, 12), min_size=10, max_size=60), st.integers(0, 5))
def test_the_sizes_miss_the_shares_by_less_than_the_largest_group(groups: list[int], seed: int) -> None:
    clusters = [number for number, size in enumerate(groups) for _ in range(size)]
    split = split_clusters(clusters, (80, 10, 10), seed=seed)
    for size, target in zip(split.sizes, split.targets, strict=True):
        assert size > 0
        assert abs(size - target) <= 2 * max(groups)


@given(st.integers(3, 30), st.integers(1, 98), st.data())
def test_every_side_with_a_share_has_a_row_however_few_there_are(rows: int, first: int, data: st.DataObject) -> None:
    second = data.draw(st.integers(1, 99 - first))
    shares = (first, second, 100 - first - second)
    split = split_clusters(range(rows), shares, seed=1)
    assert min(split.sizes) > 0
    assert split.sizes == split.targets


def test_the_same_seed_splits_alike_and_another_does_not() -> None:
    assert split_clusters(range(100), (80, 10, 10), seed=1) == split_clusters(range(100), (80, 10, 10), seed=1)
    assert (
        split_clusters(range(100), (80, 10, 10), seed=1).sides != split_clusters(range(100), (80, 10, 10), seed=2).sides
    )


def test_a_side_without_a_share_gets_nothing() -> None:
    assert split_clusters(range(10), (80, 0, 20), seed=1).sizes == (8, 0, 2)


def test_rows_that_are_all_alike_cannot_be_split() -> None:
    with pytest.raises(UsageError, match="5 rows fall into 1 groups of near questions, too few for 3 sides"):
        split_rows([new_row("monte le son", "Oui.")] * 5)


@pytest.mark.parametrize("text", ["80/20", "80/10/5", "a/b/c", "-10/100/10", "0/50/50", ""])
def test_wrong_shares_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match=re.escape("such as 80/10/10")):
        parse_shares(text)


def test_of_many_texts_neighbours_are_found_in_any_order(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(1)
    texts = [" ".join(rng.choices(WORDS, k=3)) + f" {rng.randrange(10**9)} {rng.randrange(10**9)}" for _ in range(500)]
    planted = [text[:-1] + "x" for text in texts[:50]] + [text[1:] for text in texts[50:100]]
    monkeypatch.setattr(near_duplicates, "EXACT_TEXTS", 10)
    with NearTexts() as compared:
        compared.add(texts + planted)
        clusters = compared.clusters()
        assert not compared.exact
    assert [clusters[500 + place] for place in range(100)] == list(range(100))


def test_texts_of_one_length_that_are_just_near_enough_are_found() -> None:
    with NearTexts() as compared:
        compared.add(["abcdefghij", "abcdefghzz", "abcdefgzzz"])
        assert [(pair.first, pair.second) for pair in compared.pairs()] == [(0, 1), (1, 2)]


def test_two_texts_of_no_letters_are_one_and_near_to_nothing_else() -> None:
    with NearTexts() as compared:
        compared.add(["?!", "...", "a"])
        assert list(compared.clusters()) == [0, 0, 2]


@pytest.mark.parametrize(
    ("one", "other"),
    [("What is 3+4?", "What is 3*4?"), ("learn C++", "learn C#"), ("\U0001f600", "\U0001f622"), ("दिन", "दान")],
)
def test_signs_emoji_and_vowel_signs_tell_texts_apart(one: str, other: str) -> None:
    with NearTexts() as compared:
        compared.add([one, other, f"{one}!"])
        assert [(pair.first, pair.second) for pair in compared.pairs() if pair.similarity == 1] == [(0, 2)]


def test_what_is_filled_into_a_long_template_tells_its_texts_apart() -> None:
    letters = random.Random(3)
    reviews = ["".join(letters.choices("abcdefghijklmnopqrstuvwxyz ", k=300)) for _ in range(4)]
    asked = [f"Classe cet avis d'un client du magasin : {review} Réponds par un seul mot." for review in reviews]
    with NearTexts() as compared:
        compared.add([*asked, asked[2]])
        assert list(compared.pairs()) == [(2, 4, 1.0)]
        assert list(compared.clusters()) == [0, 1, 2, 3, 2]


@pytest.mark.parametrize("exact_texts", [12_000, 1])
def test_long_texts_that_differ_beside_what_is_compared_are_near_but_not_the_same(
    exact_texts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(near_duplicates, "EXACT_TEXTS", exact_texts)
    text = "x" * 400
    with NearTexts() as compared:
        compared.add([text, f"{text[:100]}y{text[101:]}", text])
        found = set(compared.pairs())
    assert {(pair.first, pair.second) for pair in found if pair.similarity == 1} == {(0, 2)}
    assert {(pair.first, pair.second) for pair in found if NEAR <= pair.similarity < 1} == {(0, 1)}


def test_sides_are_named_after_a_file_and_none_of_an_earlier_split_stays_beside_them(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\. names no file"):
        side_paths(Path(), (80, 10, 10))
    (tmp_path / "rows_val.jsonl").touch()
    refuse_earlier_sides(tmp_path / "rows.jsonl", (80, 10, 10))
    with pytest.raises(UsageError, match=r"rows_val\.jsonl is of an earlier split") as refused:
        refuse_earlier_sides(tmp_path / "rows.jsonl", (90, 0, 10))
    assert refused.value.names == ("shares",)


@pytest.fixture
def limit_files() -> Iterator[Callable[[int], None]]:
    """Lets files grow to so many bytes, as on a full disk."""
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, usual[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, usual)


@pytest.mark.parametrize("read", [lambda texts: texts.exact, lambda texts: next(texts.pairs())], ids=["exact", "pairs"])
def test_a_disk_that_fills_up_while_texts_are_compared_is_told(
    limit_files: Callable[[int], None], read: Callable[[NearTexts], object]
) -> None:
    with NearTexts() as compared:
        compared.add(f"{number * 7919 % 10**6} {'x' * 200}" for number in range(30_000))
        limit_files(10_000)
        with pytest.raises(NotReadyError, match=r"cannot keep rows in .*; free some space, or set TMPDIR"):
            read(compared)


def test_a_temporary_folder_that_takes_nothing_is_told_before_texts_are_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit_files: Callable[[int], None]
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    limit_files(0)
    with pytest.raises(NotReadyError, match="cannot keep rows in "):
        NearTexts()
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    with pytest.raises(NotReadyError, match=r"none \(No such file or directory\)"):
        NearTexts()
