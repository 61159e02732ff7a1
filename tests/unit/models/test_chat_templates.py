"""A fine-tune is asked in the form of its training, the base in its own, and what is not alike is announced."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from support.tiny_decoders import VOCABULARY, word_tokenizer
from support.tiny_models import write_adapter
from tokenizers.normalizers import Prepend
from tokenizers.processors import TemplateProcessing

from pytest_llmbench.cases.tools import Tool
from pytest_llmbench.core.errors import AdapterError, ModelError
from pytest_llmbench.models.adapters import Adapter, read_adapter
from pytest_llmbench.models.chat_templates import base_form, prompt_forms
from pytest_llmbench.models.loaded import LoadedModel
from pytest_llmbench.models.sources import Source

OWN = "{% for m in messages %}w5 {{ m.content }} {% endfor %}"
SPELLED_OTHERWISE = "{%- for m in messages -%}{{ 'w5 ' + m.content + ' ' }}{%- endfor -%}"
ARGUED = "{{ mark }} " + "{% for m in messages %}{{ m.content }} {% endfor %}"
SOURCE = Source("tiny", "tiny", "", "hash-of-the-weights", "folder")
TOOL: Tool = {"type": "function", "function": {"name": "open"}}
OTHER = "{% for m in messages %}w6 {{ m.content }} {% endfor %}"


@pytest.fixture
def adapter(tmp_path: Path) -> Adapter:
    return read_adapter(write_adapter(tmp_path / "mine"))


def pair(tokenizer: Any, adapter: Adapter | None, template: str | None = None, **more: Any) -> LoadedModel:
    """A base with this tokenizer beside an adapter with this template; what embeds is all that is asked of it."""
    model = SimpleNamespace(get_input_embeddings=lambda: SimpleNamespace(weight=torch.zeros(VOCABULARY, 1)))
    adapters = {"finetuned": dataclasses.replace(adapter, chat_template=template)} if adapter else {}
    return LoadedModel(
        SOURCE, model, tokenizer, "cpu", "float32", "none", footprint=0, estimate={}, adapters=adapters, **more
    )


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
    forms = prompt_forms(pair(word_tokenizer(OWN), adapter, OTHER))
    assert {name: (form.template, form.origin) for name, form in forms.items()} == {
        "base": (OWN, "base"),
        "finetuned": (OTHER, adapter.path),
    }
    assert "may be the form of the prompt" in caplog.text


def test_a_tokenizers_template_for_tools_writes_the_prompts_with_tools() -> None:
    tokenizer = word_tokenizer()
    tokenizer.chat_template = {"default": OWN, "tool_use": OTHER}
    form, alone = base_form(tokenizer, {}, "system"), base_form(word_tokenizer(OWN), {}, "system")
    messages = [{"role": "user", "content": "w7"}]
    assert form.write(messages, answer_follows=True) == "w5 w7 "
    assert form.write(messages, answer_follows=True, tools=[TOOL]) == "w6 w7 "
    assert {**alone.key, "tool_template": OTHER} == form.key


def test_an_adapters_own_template_is_for_all_its_prompts(adapter: Adapter) -> None:
    tokenizer = word_tokenizer()
    tokenizer.chat_template = {"default": OWN, "tool_use": OTHER}
    kept, own = (prompt_forms(pair(tokenizer, adapter, given))["finetuned"] for given in (OWN, SPELLED_OTHERWISE))
    assert (kept.tool_template, own.tool_template) == (OTHER, None)


def test_several_templates_without_a_default_are_refused() -> None:
    tokenizer = word_tokenizer()
    tokenizer.chat_template = {"rag": OWN, "tool_use": OTHER}
    with pytest.raises(ModelError, match=r"several chat templates \(rag, tool_use\) and none is called default"):
        base_form(tokenizer, {}, "system")


@pytest.mark.parametrize("template", [OWN, SPELLED_OTHERWISE])
def test_a_template_that_writes_the_same_is_the_same(
    adapter: Adapter, template: str, caplog: pytest.LogCaptureFixture
) -> None:
    forms = prompt_forms(pair(word_tokenizer(OWN), adapter, template))
    assert forms["finetuned"] is forms["base"]
    assert caplog.text == ""


@pytest.mark.parametrize("template", [None, OTHER])
def test_a_base_without_a_template_is_asked_alike_alone_and_beside_any_adapter(
    adapter: Adapter, template: str | None
) -> None:
    tokenizer = word_tokenizer()
    alone = prompt_forms(pair(tokenizer, None))["base"]
    beside = prompt_forms(pair(tokenizer, adapter, template))["base"]
    assert alone == beside
    assert alone.origin is None
    assert alone.write([{"role": "user", "content": "w5"}], answer_follows=True) == "w5\n"


def test_the_template_that_goes_with_an_adapter_of_a_plain_base_is_whole_and_known_again(adapter: Adapter) -> None:
    tokenizer = word_tokenizer()
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="w3 $A", special_tokens=[("w3", 3)])
    whole = base_form(tokenizer, {}, "system").whole_template
    written = tokenizer.apply_chat_template([{"role": "user", "content": " w5"}], chat_template=whole, tokenize=False)
    assert written == "w3 w5\n"
    forms = prompt_forms(pair(tokenizer, adapter, whole))
    assert forms["finetuned"] is forms["base"]


def test_plain_lines_begin_as_the_tokenizer_begins_a_text() -> None:
    tokenizer = word_tokenizer()
    tokenizer.add_special_tokens({"bos_token": "w3"})
    question = [{"role": "user", "content": "w5"}]
    assert base_form(tokenizer, {}, "system").prompt(question) == [5]
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="w3 $A", special_tokens=[("w3", 3)])
    assert base_form(tokenizer, {}, "system").prompt(question) == [3, 5] == tokenizer("w5")["input_ids"]
    two = TemplateProcessing(single="w4 w3 $A", special_tokens=[("w3", 3), ("w4", 4)])  # GLM's [gMASK]<sop>
    tokenizer.backend_tokenizer.post_processor = two
    assert base_form(tokenizer, {}, "system").prompt(question) == tokenizer("w5")["input_ids"]
    tokenizer.backend_tokenizer.normalizer = Prepend("w7 ")  # in SentencePiece's manner, at the start of a text alone
    assert base_form(tokenizer, {}, "system").prompt(question) == tokenizer("w5")["input_ids"] == [4, 3, 7, 5]


@pytest.mark.parametrize("own", [OWN, None])
def test_a_broken_template_is_one_message(adapter: Adapter, own: str | None) -> None:
    with pytest.raises(AdapterError, match="not a valid chat template"):
        prompt_forms(pair(word_tokenizer(own), adapter, "{% for m in %}"))


def test_arguments_and_the_system_role_belong_to_every_variant(adapter: Adapter) -> None:
    loaded = pair(word_tokenizer(ARGUED), adapter, OTHER, template_arguments={"mark": "w9"}, system_role="user")
    messages = [{"role": "system", "content": "w7"}, {"role": "user", "content": "w8"}]
    forms = prompt_forms(loaded)
    assert forms["base"].prompt(messages) == [9, 7, 8]
    assert forms["finetuned"].prompt(messages) == [6, 7, 8]


def test_an_argument_that_a_template_does_not_read_is_announced(
    adapter: Adapter, caplog: pytest.LogCaptureFixture
) -> None:
    prompt_forms(pair(word_tokenizer(ARGUED), adapter, template_arguments={"mark": "w9"}))
    assert caplog.text == ""
    prompt_forms(pair(word_tokenizer(ARGUED), adapter, OTHER, template_arguments={"mark": "w9", "marc": "w8"}))
    assert "the chat template of the base does not read marc, which changes nothing there" in caplog.text
    assert f"the chat template of {adapter.path} does not read mark, marc" in caplog.text


def test_an_adapter_that_was_trained_with_other_arguments_is_announced(
    adapter: Adapter, caplog: pytest.LogCaptureFixture
) -> None:
    (Path(adapter.path) / "llmbench_training.json").write_text(
        json.dumps({"template_arguments": {"enable_thinking": False}, "system_role": "system"})
    )
    prompt_forms(pair(word_tokenizer(OWN), adapter))
    assert 'was trained with model.template_arguments {"enable_thinking": false} and is asked with {}' in caplog.text
    caplog.clear()
    prompt_forms(pair(word_tokenizer(OWN), adapter, template_arguments={"enable_thinking": False}))
    assert "was trained with" not in caplog.text


def test_an_adapters_own_tokenizer_reads_its_prompts_and_writes_its_answers(
    adapter: Adapter, caplog: pytest.LogCaptureFixture
) -> None:
    base = word_tokenizer(OWN)
    own = word_tokenizer(OWN)
    own.add_special_tokens({"eos_token": "w9"})
    own.save_pretrained(adapter.path)
    forms = prompt_forms(pair(base, adapter))
    assert forms["base"].end_tokens == {2}
    assert forms["finetuned"].end_tokens == {9}
    assert "through the tokenizer in" in caplog.text


@pytest.mark.parametrize("left_out", ["", "tokenizer_config.json"])
def test_a_tokenizer_that_is_the_bases_is_the_bases(
    adapter: Adapter, left_out: str, caplog: pytest.LogCaptureFixture
) -> None:
    word_tokenizer(OWN).save_pretrained(adapter.path)
    if left_out:
        (Path(adapter.path) / left_out).unlink()
    forms = prompt_forms(pair(word_tokenizer(OWN), adapter))
    assert forms["finetuned"] is forms["base"]
    assert caplog.text == ""


def test_a_tokenizer_with_more_tokens_than_the_base_embeds_is_refused_with_both_sizes(adapter: Adapter) -> None:
    own = word_tokenizer(OWN)
    own.add_tokens(["<open>", "<close>"])
    own.save_pretrained(adapter.path)
    told = rf"its tokenizer has {VOCABULARY + 2} tokens, and the base has embeddings for {VOCABULARY}: '<open>'"
    with pytest.raises(AdapterError, match=told):
        prompt_forms(pair(word_tokenizer(OWN), adapter))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("tokenizer.json", "{"),
        ("tokenizer.json", "[]"),
        ("tokenizer.json", '{"version": "1.0"}'),
        ("tokenizer_config.json", "[1]"),
        ("tokenizer_config.json", '{"tokenizer_class": "Own", "auto_map": {"AutoTokenizer": ["own.Own", null]}}'),
    ],
)
def test_a_tokenizer_that_cannot_be_read_is_one_message(adapter: Adapter, name: str, content: str) -> None:
    word_tokenizer(OWN).save_pretrained(adapter.path)
    (Path(adapter.path) / name).write_text(content)
    with pytest.raises(AdapterError, match="its tokenizer cannot be read"):
        prompt_forms(pair(word_tokenizer(OWN), adapter))
