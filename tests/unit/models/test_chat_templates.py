"""A fine-tune is asked in the form of its training, the base in its own, and what is not alike is announced."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from tiny_decoders import word_tokenizer
from tiny_models import write_adapter

from pytest_llmbench.errors import AdapterError
from pytest_llmbench.models.adapters import Adapter, read_adapter
from pytest_llmbench.models.chat_templates import PromptForm, prompt_forms

OWN = "{% for m in messages %}w5 {{ m.content }} {% endfor %}"
SPELLED_OTHERWISE = "{%- for m in messages -%}{{ 'w5 ' + m.content + ' ' }}{%- endfor -%}"
OTHER = "{% for m in messages %}w6 {{ m.content }} {% endfor %}"


@pytest.fixture
def adapter(tmp_path: Path) -> Adapter:
    return read_adapter(write_adapter(tmp_path / "mine"))


def with_template(adapter: Adapter, template: str) -> dict[str, Adapter]:
    return {"finetuned": dataclasses.replace(adapter, chat_template=template)}


def test_the_template_in_an_adapters_folder_is_read_in_both_places(tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "mine")
    assert read_adapter(folder).chat_template is None
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": OTHER}))
    assert read_adapter(folder).chat_template == OTHER
    (folder / "chat_template.jinja").write_text(OWN)
    assert read_adapter(folder).chat_template == OWN


def test_the_base_keeps_its_own_and_a_difference_is_announced(
    adapter: Adapter, caplog: pytest.LogCaptureFixture
) -> None:
    forms = prompt_forms(word_tokenizer(OWN), with_template(adapter, OTHER))
    assert forms == {"base": PromptForm(None, "base"), "finetuned": PromptForm(OTHER, adapter.path)}
    assert "may be the form of the prompt" in caplog.text


@pytest.mark.parametrize("template", [OWN, SPELLED_OTHERWISE])
def test_a_template_that_writes_the_same_is_the_same(
    adapter: Adapter, template: str, caplog: pytest.LogCaptureFixture
) -> None:
    forms = prompt_forms(word_tokenizer(OWN), with_template(adapter, template))
    assert set(forms.values()) == {PromptForm(None, "base")}
    assert caplog.text == ""


def test_a_base_without_a_template_borrows_the_adapters(adapter: Adapter, caplog: pytest.LogCaptureFixture) -> None:
    forms = prompt_forms(word_tokenizer(), with_template(adapter, OTHER))
    assert set(forms.values()) == {PromptForm(OTHER, adapter.path)}
    assert "the base has no chat template" in caplog.text


def test_without_any_template_there_is_none(adapter: Adapter) -> None:
    assert set(prompt_forms(word_tokenizer(), {"finetuned": adapter}).values()) == {PromptForm(None, None)}


@pytest.mark.parametrize("own", [OWN, None])
def test_a_broken_template_is_one_message(adapter: Adapter, own: str | None) -> None:
    with pytest.raises(AdapterError, match="not a valid chat template"):
        prompt_forms(word_tokenizer(own), with_template(adapter, "{% for m in %}"))
