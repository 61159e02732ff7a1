"""What is said of held-out routing that is not better than the base's."""

from __future__ import annotations

import pytest

from pytest_llmbench.finetune.routing_eval import RoutingScores


@pytest.mark.parametrize(
    ("outcome", "p_value", "told"),
    [
        (
            "inconclusive",
            0.31,
            ["held-out routing is not better than the base's beyond chance: 1 of 2 right, the base 2"],
        ),
        ("fail", 0.002, ["held-out routing is worse than the base's beyond chance: 1 of 2 right, the base 2"]),
        ("pass", 0.002, []),
    ],
)
def test_the_word_is_that_of_the_p_beside_it(outcome: str, p_value: float, told: list[str]) -> None:
    scores = RoutingScores({"a": True, "b": True}, {"a": True, "b": False}, outcome, -0.5, p_value)
    found = scores.faults(0.05)
    assert [fault.split(" (")[0] for fault in found] == told
    assert all(f"p {p_value:.3f}, alpha 0.05" in fault for fault in found)
