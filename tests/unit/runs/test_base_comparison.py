from __future__ import annotations

from pathlib import Path

import pytest

from pytest_llmbench.runs.base_comparison import base_comparison, with_comparison
from pytest_llmbench.runs.storage import read_document

EXAMPLE = Path(__file__).parents[3] / "reports" / "example" / "benchmark.json"


def test_a_run_of_before_is_compared_when_it_is_read() -> None:
    old = {**read_document(EXAMPLE), "gate": None}
    old.pop("comparison", None)
    found = with_comparison(old)["comparison"]
    assert (found["kind"], found["against"], found["outcome"], found["failed"]) == ("compare", "base", "pass", False)


@pytest.mark.parametrize(("kind", "again"), [("improvement", False), ("regression", True)])
def test_a_gate_that_tells_better_is_not_asked_again(kind: str, again: bool) -> None:  # noqa: FBT001
    run = read_document(EXAMPLE)
    found = base_comparison({**run, "gate": {**run["gate"], "against": "base", "kind": kind}})
    assert (found is not None) is again


def test_one_variant_has_nothing_to_compare() -> None:
    run = read_document(EXAMPLE)
    alone = {**run, "metadata": {**run["metadata"], "variants": ["finetuned"]}, "gate": None}
    assert base_comparison(alone) is None
