"""An adapter that changes nothing is refused, whatever engine shows it; and one that was not asked for ends the run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from support.tiny_models import write_adapter
from support.tiny_training import save_tiny_model

from pytest_llmbench.core.errors import AdapterError, ModelError
from pytest_llmbench.core.records import BASE
from pytest_llmbench.core.settings import GenerationSettings
from pytest_llmbench.generation.embedded.completions import _end
from pytest_llmbench.generation.prompts import Prompts
from pytest_llmbench.generation.rows import Row
from pytest_llmbench.generation.soundness import adapter_gaps
from pytest_llmbench.models.adapters import Adapter, read_adapter
from pytest_llmbench.models.chat_templates import base_form


@pytest.fixture
def adapters(tmp_path: Path) -> dict[str, Adapter]:
    return {"finetuned": read_adapter(write_adapter(tmp_path / "adapter"))}


@pytest.fixture(scope="module")
def prompts(tmp_path_factory: pytest.TempPathFactory) -> Prompts:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(save_tiny_model(tmp_path_factory.mktemp("base")))
    return Prompts({BASE: base_form(tokenizer, {}, "system")}, GenerationSettings(), 512)


def test_the_gap_is_the_largest_of_all_tokens_that_either_names(
    adapters: Mapping[str, Adapter], prompts: Prompts
) -> None:
    likely: Mapping[str, Mapping[int, float]] = {BASE: {1: -0.1, 2: -3.0}, "finetuned": {1: -0.2, 3: -4.0}}
    asked: list[Sequence[int]] = []

    def likeliest(prompt: Sequence[int], variant: str) -> Mapping[int, float]:
        asked.append(prompt)
        return likely[variant]

    assert adapter_gaps(adapters, prompts, likeliest) == {"finetuned": 1.0}
    assert len({tuple(prompt) for prompt in asked}) == 1
    assert adapter_gaps({}, prompts, likeliest) == {}


def test_an_adapter_without_effect_is_refused(adapters: Mapping[str, Adapter], prompts: Prompts) -> None:
    with pytest.raises(AdapterError, match="has no effect: with it on, the model answers exactly as its base"):
        adapter_gaps(adapters, prompts, lambda _prompt, _variant: {1: -0.1})


@pytest.mark.parametrize(
    ("broken", "kind", "told"),
    [(BASE, ModelError, "the base cannot answer"), ("finetuned", AdapterError, "adapter the model cannot answer")],
)
def test_log_probabilities_that_are_no_numbers_are_refused(
    adapters: Mapping[str, Adapter], prompts: Prompts, broken: str, kind: type[Exception], told: str
) -> None:
    with pytest.raises(kind, match=told):
        adapter_gaps(adapters, prompts, lambda _, variant: {1: math.nan if variant == broken else -0.1})


@pytest.mark.parametrize(("dtype", "is_advised"), [("bfloat16", True), ("float32", False), ("", False)])
def test_a_wider_type_is_advised_where_the_setting_made_it_narrow(
    adapters: Mapping[str, Adapter], prompts: Prompts, dtype: str, *, is_advised: bool
) -> None:
    with pytest.raises(ModelError, match="fetch the files again") as refused:
        adapter_gaps(adapters, prompts, lambda *_: {1: math.nan}, dtype)
    assert ("set model.compute_dtype: float32" in str(refused.value)) == is_advised
    assert bool(refused.value.names) == is_advised


def test_an_answer_made_with_another_adapter_than_asked_for_ends_the_run() -> None:
    event = {
        "tokens_predicted": 3,
        "stop_type": "eos",
        "generation_settings": {"lora": [{"id": 0, "scale": 1.0}]},
    }
    row = Row(0, [1], 0)
    _end(row, event, [1.0])
    assert (row.made, row.finish) == (3, "stop")
    with pytest.raises(ModelError, match=r"its adapters at \[1\.0\], not at \[0\.0\] as asked"):
        _end(row, event, [0.0])
