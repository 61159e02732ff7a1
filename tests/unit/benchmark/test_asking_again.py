"""A measured model asked again: with the settings that it was asked with, or not at all."""

from __future__ import annotations

import pytest

from pytest_llmbench.benchmark.asking_again import settings_as_asked
from pytest_llmbench.core.errors import UsageError
from pytest_llmbench.core.settings import Settings


@pytest.mark.parametrize(
    ("asked", "unknown"),
    [
        ({"generation": {"seed": 7, "warp": 9}}, "generation.warp"),
        ({"generation": {"batch_size": "max", "seed": "now"}}, "generation.seed, generation.batch_size"),
        (
            {"generation": {"seed": 7}, "model": {"base": "m", "engine": "abacus", "lora": 1}},
            "model.engine, model.lora",
        ),
    ],
)
def test_settings_of_another_version_are_told_by_their_names(asked: dict[str, object], unknown: str) -> None:
    with pytest.raises(UsageError) as caught:
        settings_as_asked({"backend": "transformers", "asked": asked}, "0001_a", Settings())
    assert str(caught.value) == (
        f"0001_a was asked with settings or values that this version does not know ({unknown}); make it again with "
        "this version, or ask with the one that made it"
    )
