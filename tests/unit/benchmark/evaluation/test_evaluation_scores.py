"""Means, comparisons and perplexity from scores alone."""

from __future__ import annotations

import pytest

from pytest_llmbench.benchmark.evaluation.scores import (
    Table,
    compared_scores,
    comparisons,
    corpora,
    means,
    perplexities,
)
from pytest_llmbench.generation.local.perplexity import TextLoss


def test_unscored_questions_are_left_out_of_mean_and_pairs() -> None:
    table = {"chrf": {"base": [0.2, None, 0.4], "finetuned": [0.3, 0.9, None]}}
    assert means(table)["base"]["chrf"]["count"] == 2
    (found,) = comparisons(table, [("finetuned", "base")], frozenset(), 0.05)
    assert found["n"] == 1
    assert found["effect"] == pytest.approx(0.1)


@pytest.mark.parametrize(("less", "good"), [(False, 0.6), (True, 0.4)])
def test_questions_that_one_side_lost_count_as_the_worst_and_those_that_both_lost_do_not(
    less: bool,  # noqa: FBT001
    good: float,
) -> None:
    hard: list[float | None] = [None] * 10
    table = {"metric": {"base": [None, *[good] * 29], "finetuned": [None, *hard, *[0.5] * 19]}}
    lower = frozenset({"metric"} if less else ())
    lost = {"base": [0], "finetuned": range(11)}
    (kept,) = comparisons(table, [("finetuned", "base")], lower, 0.05)
    (found,) = comparisons(table, [("finetuned", "base")], lower, 0.05, lost)
    assert (kept["n"], found["n"]) == (19, 29)
    assert found["effect"] == pytest.approx((19 * -0.1 + 10 * -0.6) / 29)


def test_an_answer_that_only_thought_is_no_best_score_where_less_is_better() -> None:
    table = {"repetition": {"base": [0.25] * 12, "finetuned": [0.0] * 6 + [0.25] * 6}}
    (found,) = comparisons(table, [("finetuned", "base")], frozenset({"repetition"}), 0.05, {"finetuned": range(6)})
    assert found["effect"] == pytest.approx(-0.375)
    assert found["outcome"] == "worse"


def test_corpus_scores_are_of_the_questions_that_every_variant_answered() -> None:
    """Else one that thinks endlessly about the hard ones is scored on the easy ones alone."""
    references = ["the cat sat on the mat", "a long and winding road home"]
    found = corpora(
        references,
        {"base": [references[0], "no idea"], "finetuned": [references[0], None], "silent": [None, None]},
    )
    assert found["base"]["bleu"] == found["finetuned"]["bleu"] == pytest.approx(100)
    assert (found["base"]["questions"], found["silent"]) == (1, {})


def test_where_less_is_better_a_fall_is_a_positive_effect() -> None:
    table = {"repetition": {"base": [0.5] * 12, "finetuned": [0.1] * 12}}
    (found,) = comparisons(table, [("finetuned", "base")], frozenset({"repetition"}), 0.05)
    assert found["effect"] == pytest.approx(0.4)
    assert found["outcome"] == "better"


def test_the_same_scores_show_no_difference_and_many_comparisons_share_the_error() -> None:
    better = [0.0, 1.0] * 4
    table = {
        f"metric_{number}": {"base": [0.0] * 8, "finetuned": better if number == 0 else [0.0] * 8}
        for number in range(9)
    }
    found = comparisons(table, [("finetuned", "base")], frozenset(), 0.05)
    assert {one["outcome"] for one in found} == {"no difference shown"}
    assert found[0]["p_adjusted"] > 0.1


def test_fine_tunes_are_held_against_retrieval_and_retrieval_with_one_only_against_the_base() -> None:
    assert compared_scores(["base", "a", "b", "retrieval", "retrieval+a"]) == [
        ("a", "base"),
        ("b", "base"),
        ("retrieval", "base"),
        ("retrieval+a", "base"),
        ("a", "retrieval"),
        ("b", "retrieval"),
    ]


def test_a_loss_that_rises_everywhere_is_a_ratio_above_one_and_worse() -> None:
    base = [TextLoss(20.0 + number, 10) for number in range(12)]
    tuned = [TextLoss(one.nats + 1 + number % 3 * 0.1, 10) for number, one in enumerate(base)]
    found = perplexities({"base": base, "finetuned": tuned}, 0.05)["finetuned"]
    assert found["ratio"] == pytest.approx(2.718281828**0.11)
    assert (found["low"] or 9) < (found["ratio"] or 0) < (found["high"] or 0)
    assert found["outcome"] == "worse"


def test_a_tokenizer_that_cuts_texts_into_more_pieces_makes_none_likelier() -> None:
    base = [TextLoss(20.0 + number, 10) for number in range(12)]
    finer = [TextLoss(one.nats, 20) for one in base]
    found = perplexities({"base": base, "finetuned": finer}, 0.05)
    assert found["finetuned"]["ratio"] == pytest.approx(1.0)
    assert found["finetuned"]["perplexity"] == pytest.approx(found["base"]["perplexity"])


def test_the_interval_of_a_mean_holds_nothing_impossible() -> None:
    table: Table = {
        "exact": {"base": [1.0] * 9 + [0.0]},
        "rouge": {"base": [0.99, 1.0, 0.98, 0.4, None]},
        "chrf": {"base": [1.0] * 3},
    }
    found = means(table)["base"]
    assert (found["exact"]["low"], found["exact"]["high"]) == pytest.approx((0.555, 0.9975), abs=1e-3)
    assert found["rouge"]["high"] == 1
    assert (found["chrf"]["low"], found["chrf"]["high"]) == (None, None)
