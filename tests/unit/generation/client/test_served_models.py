from __future__ import annotations

from typing import Any

import pytest

from pytest_llmbench.core.errors import ServerError, UsageError
from pytest_llmbench.core.records import BASE, FINETUNED
from pytest_llmbench.core.settings import ServerSettings
from pytest_llmbench.generation.client.served_models import VariantTarget, base_of, listed_models, targets, with_models

URL = "http://host/v1"


def planned(**server: Any) -> dict[str, VariantTarget]:
    return targets(ServerSettings.model_validate(server))


def lora(scale: float) -> dict[str, Any]:
    return {"lora": [{"id": 0, "scale": scale}]}


def sent(scale: float) -> dict[str, Any]:
    """What goes out: no prompt that another adapter has read may be answered from."""
    return {**lora(scale), "cache_prompt": False}


def test_without_an_adapter_only_the_base_answers() -> None:
    assert planned(base_body={"top_k": 0}) == {BASE: VariantTarget(None, {"top_k": 0})}


def test_an_adapter_may_be_a_model_name() -> None:
    assert planned(model="qwen", adapter="jarvis") == {
        BASE: VariantTarget("qwen", {}),
        FINETUNED: VariantTarget("jarvis", {}),
    }


@pytest.mark.parametrize(
    ("short", "scale"), [("lora:0", 1.0), ("lora:0=0.5", 0.5), ("lora:0=.5", 0.5), ("lora:0=5e-1", 0.5)]
)
def test_the_lora_short_hand_turns_the_adapter_off_for_the_base(short: str, scale: float) -> None:
    assert planned(adapter=short) == {BASE: VariantTarget(None, sent(0.0)), FINETUNED: VariantTarget(None, sent(scale))}


@pytest.mark.parametrize("scale", ["1.2.3", "half", ""])
def test_a_scale_that_is_no_number_is_refused(scale: str) -> None:
    with pytest.raises(UsageError, match=rf"server\.adapter: lora:0={scale}: the scale '{scale}' is no number") as told:
        planned(adapter=f"lora:0={scale}")
    assert told.value.names == ("server.adapter",)


@pytest.mark.parametrize("scale", ["-0.5", "inf", "nan"])
def test_a_scale_that_no_adapter_can_have_is_told_from_one_that_is_no_number(scale: str) -> None:
    with pytest.raises(UsageError, match=rf"the scale '{scale}' must be a finite number, 0 or more; write it as"):
        planned(adapter=f"lora:0={scale}")


def test_an_adapter_body_with_a_lora_turns_it_off_for_the_base_too() -> None:
    assert planned(adapter_body=lora(1.0))[BASE] == VariantTarget(None, sent(0.0))


def test_explicit_bodies_win_over_the_short_hand() -> None:
    both = planned(adapter="lora:0", base_body=lora(0.1), adapter_body=lora(0.7))
    assert both == {BASE: VariantTarget(None, sent(0.1)), FINETUNED: VariantTarget(None, sent(0.7))}


def test_two_equal_variants_are_refused() -> None:
    with pytest.raises(UsageError, match="are the same request"):
        planned(model="qwen", adapter="qwen")


def test_only_what_lasts_of_a_listed_model_identifies_it() -> None:
    entry = {"id": "qwen", "created": 1, "permission": [{"id": "x"}], "meta": {"size": 2}, "aliases": ["q"]}
    listed = listed_models({"data": [entry]})
    assert listed == {key: {"id": "qwen", "meta": {"size": 2}} for key in ("qwen", "q")}


@pytest.mark.parametrize("body", [None, [], {}, {"data": None}, {"data": [None, {"id": 3}]}])
def test_an_unreadable_list_is_empty(body: object) -> None:
    assert listed_models(body) == {}


@pytest.mark.parametrize(
    ("entries", "server"),
    [
        ([{"id": "qwen"}], {}),
        ([{"id": "qwen"}], {"adapter": "lora:0"}),
        (
            [{"id": "qwen"}, {"id": "jarvis", "parent": "qwen"}, {"id": "other", "parent": "qwen"}],
            {"adapter": "jarvis"},
        ),
        ([{"id": "qwen"}, {"id": "jarvis"}], {"adapter": "jarvis"}),
    ],
)
def test_the_only_base_that_is_served_is_the_default(entries: list[dict[str, Any]], server: dict[str, Any]) -> None:
    filled = with_models(planned(**server), listed_models({"data": entries}), URL, all_listed=True)
    assert filled[BASE].model == "qwen"
    assert {target.model for target in filled.values()} <= {"qwen", "jarvis"}


@pytest.mark.parametrize(
    ("entries", "server", "message"),
    [
        ([{"id": "a"}, {"id": "b"}], {}, 'serves "a", "b"; name the one'),
        ([], {}, "does not list its models; name the one"),
        ([{"id": "a"}], {"model": "b"}, "has no model 'b' for 'base'; it serves \"a\""),
        ([{"id": "a"}], {"adapter": "b"}, "has no model 'b' for 'finetuned'"),
    ],
)
def test_a_model_that_is_not_served_is_an_error_with_the_choices(
    entries: list[dict[str, Any]], server: dict[str, Any], message: str
) -> None:
    with pytest.raises(ServerError, match=message):
        with_models(planned(**server), listed_models({"data": entries}), URL, all_listed=True)


def test_a_name_is_asked_for_all_the_same_where_the_list_may_be_another(caplog: pytest.LogCaptureFixture) -> None:
    listed = listed_models({"data": [{"id": "org/other"}]})
    filled = with_models(planned(model="/models/mine", adapter="jarvis"), listed, URL, all_listed=False)
    assert [target.model for target in filled.values()] == ["/models/mine", "jarvis"]
    assert "does not list '/models/mine', only \"org/other\"; it is asked all the same" in caplog.text


def test_the_base_of_a_fine_tune_is_a_name_that_is_served() -> None:
    known, tuned, other = {"id": "known"}, {"id": "tuned", "parent": "org/base"}, {"id": "other"}
    assert base_of("tuned", {"known": known, "tuned": {"id": "tuned", "parent": "known"}, "other": other}) == "known"
    assert base_of("tuned", {"known": known, "alias": known, "tuned": tuned}) == "known"
    assert base_of("tuned", {"known": known, "other": other, "tuned": tuned}) == "tuned"  # either may be its base
    assert base_of("known", {"known": known, "tuned": tuned}) == "known"
