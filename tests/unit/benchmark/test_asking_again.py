"""A measured model asked again: with the settings that it was asked with, or not at all."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from support.gates import gate, verdict

from pytest_llmbench.benchmark import asking_again
from pytest_llmbench.benchmark.asking_again import settings_as_asked
from pytest_llmbench.core.errors import UsageError
from pytest_llmbench.core.settings import Settings
from pytest_llmbench.runs.gate_reasons import because
from pytest_llmbench.runs.typed import gate_document


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


@pytest.mark.parametrize(
    ("again", "kind", "told"),
    [
        (
            [verdict(category="safety"), verdict(category="general")],
            "confirmed",
            "relevance of finetuned in safety went from 0.66 to 0.54; both sides were asked again with fresh seeds",
        ),
        ([verdict("pass")], "unconfirmed", "which did not confirm it, and these verdicts are of those answers"),
        (
            [verdict("pass"), verdict(category="general"), verdict("inconclusive", category="safety")],
            "unconfirmed",
            "did not confirm it, but relevance of finetuned in general got worse, and these verdicts are of those",
        ),
        ([verdict("fail", "keywords", "safety")], "unconfirmed", "but keywords of finetuned in safety got worse"),
        ([verdict("fail", variant="b", category="safety")], "unconfirmed", "but relevance of b in safety got worse"),
    ],
)
def test_a_fall_is_confirmed_only_where_it_comes_again(
    again: list[dict[str, Any]], kind: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    note = noted(gate(verdict("pass"), verdict(category="safety")), gate(*again), monkeypatch)
    assert note["kind"] == kind
    assert told in note["message"]


def test_any_of_several_falls_that_comes_again_confirms_the_first_gate(monkeypatch: pytest.MonkeyPatch) -> None:
    first = gate(verdict(), verdict("fail", "keywords"))
    note = noted(first, gate(verdict("inconclusive"), verdict("fail", "keywords")), monkeypatch)
    assert note["kind"] == "confirmed"
    assert note["message"].startswith("keywords of finetuned went from")


def noted(first: dict[str, Any], fresh: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What is noted of the two gates."""
    for some in (fresh, first):
        made = gate_document(some)
        some["because"] = because(made.verdicts, made.outcome, made.kind).json_ready()
    monkeypatch.setattr(asking_again, "_asked_again", lambda *_: ({}, None))
    monkeypatch.setattr(asking_again, "gate_of", lambda *_: fresh)
    sides: Any = SimpleNamespace(settings=Settings())
    questions: Any = None  # nobody is asked
    found = asking_again.confirmed(first, sides, questions, "run")
    assert found["outcome"] == fresh["outcome"]
    note: dict[str, Any] = found["notes"][0]
    return note
