"""How fast base and fine-tune answer one batch, timed by pytest-benchmark: its save and compare work on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

    from pytest_llmbench.api import Backend, Case

CASES = 8


@pytest.mark.benchmark(group="generation")
@pytest.mark.parametrize("variant", ["base", "finetuned"])
def test_generation_speed(
    benchmark: BenchmarkFixture, llmbench_backend: Backend, llmbench_cases: list[Case], variant: str
) -> None:
    """One batch of the first cases; the cache is not asked."""
    if variant not in llmbench_backend.variants:
        pytest.skip("no adapter is compared")
    batch = llmbench_cases[:CASES]
    completions = benchmark.pedantic(  # type: ignore[no-untyped-call]
        lambda: list(llmbench_backend.complete(batch, variant)), rounds=1
    )
    assert len(completions) == len(batch)
