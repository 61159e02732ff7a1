from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.tiny_ggufs import byte_level_gguf
from support.tiny_models import WORDS, save, tiny_llama
from tokenizers import Regex, Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Split
from transformers import AutoConfig, AutoTokenizer, PreTrainedTokenizerFast

from pytest_llmbench.core.errors import ModelError
from pytest_llmbench.core.settings import Settings
from pytest_llmbench.datasets.files import check_dataset
from pytest_llmbench.finetune.finetune import finetune
from pytest_llmbench.finetune.request import FinetuneRequest
from pytest_llmbench.models.gguf import convert, converted_folder
from pytest_llmbench.models.loading import load_base, read_config
from pytest_llmbench.models.sources import resolve
from pytest_llmbench.models.tokenizers import (
    context_tokens,
    describe,
    embedding_rows,
    load_tokenizer,
    read_tokenizer,
    why_unreadable,
)

ROWS = len(WORDS)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save(tiny_llama(), tmp_path / "tiny")
    return tmp_path / "tiny"


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text(
        json.dumps({"prompt": "ouvre chrome", "completion": "bonjour"})
        + "\n"
        + '{"prompt": "ferme", "completion": "le son"}'
    )
    return path


def _add(folder: Path, *tokens: str, **named: str) -> None:
    """As people do by hand, without a row for it in the embedding."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = "{% for m in messages %}{{ m.content }} {% endfor %}"
    tokenizer.add_tokens(list(tokens))
    tokenizer.add_special_tokens(named)
    tokenizer.save_pretrained(folder)


@pytest.mark.parametrize("name", ["pad_token", "eos_token", "bos_token"])
def test_a_named_token_without_an_embedding_is_told_with_both_numbers_and_the_cure(
    folder: Path, dataset: Path, settings_with: Callable[..., Settings], name: str
) -> None:
    _add(folder, **{name: "<mine>"})
    told = rf"{name} '<mine>' is token {ROWS}, .* embeddings for {ROWS} tokens \(0 to {ROWS - 1}\).*resize_token_embedd"
    with pytest.raises(ModelError, match=told):
        load_base(resolve(str(folder)), settings_with(quantization="none").model)
    with pytest.raises(ModelError, match=told):
        check_dataset(dataset, model=str(folder))
    with pytest.raises(ModelError, match=told):
        finetune(FinetuneRequest(dataset, folder.parent / "out", base=str(folder), device="cpu"))


def test_any_other_token_without_an_embedding_does_not_keep_a_model_from_loading(
    folder: Path, settings_with: Callable[..., Settings]
) -> None:
    _add(folder, "<picture>")
    settings = settings_with(quantization="none").model
    loaded = load_base(resolve(str(folder)), settings)
    rows = embedding_rows(read_config(resolve(str(folder)), settings))
    tokens = loaded.tokenizer("ouvre <picture> !")["input_ids"]
    told = why_unreadable(loaded.tokenizer, tokens, rows)
    assert told is not None
    assert f"it holds '<picture>', which is token {ROWS}, and the base has embeddings for {ROWS} tokens only" in told
    assert why_unreadable(loaded.tokenizer, tokens[:1], rows) is None


def test_a_tokenizer_without_padding_pads_with_its_end_on_the_left(folder: Path) -> None:
    tokenizer = load_tokenizer(resolve(str(folder)))
    assert (tokenizer.pad_token, tokenizer.padding_side) == ("<end>", "left")


def test_a_tokenizer_with_neither_padding_nor_end_is_refused(folder: Path) -> None:
    config = folder / "tokenizer_config.json"
    config.write_text(config.read_text().replace('"eos_token": "<end>",', '"eos_token": null,'))
    with pytest.raises(ModelError, match="neither a padding nor an end-of-text token"):
        load_tokenizer(resolve(str(folder)))


@pytest.mark.parametrize(
    ("rope", "tokens"),
    [
        ({"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}, 131072),
        ({"rope_type": "dynamic", "factor": 2.0}, 65536),
        ({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 8192}, 32768),
        (
            {
                "rope_type": "llama3",
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 32768,
            },
            32768,
        ),
        (None, 32768),
    ],
)
def test_a_stretched_rope_reads_more_than_the_native_context(rope: dict[str, object] | None, tokens: int) -> None:
    config = AutoConfig.for_model("qwen2", max_position_embeddings=32768, **({"rope_scaling": rope} if rope else {}))
    assert context_tokens(config) == tokens


def test_mistrals_own_tokenizers_which_have_no_template_are_not_taken(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[dict[str, Any]] = []
    read = AutoTokenizer.from_pretrained

    def noted(*given: Any, **named: Any) -> Any:
        told.append(named)
        return read(*given, **named)

    monkeypatch.setattr(AutoTokenizer, "from_pretrained", noted)
    assert read_tokenizer(folder).padding_side == "left"
    assert [named["mistral_format"] for named in told] == [False]
    monkeypatch.setattr(AutoTokenizer, "from_pretrained", lambda *_, **_named: type("MistralCommonBackend", (), {})())
    with pytest.raises(ModelError, match="has no chat template; upgrade transformers"):
        read_tokenizer(folder)


@pytest.mark.parametrize(
    ("saved_by", "fixed", "told"), [("4.50.0", False, True), ("4.50.0", True, False), ("5.0.0", False, False)]
)
def test_a_tokenizer_of_mistral_that_cuts_text_wrongly_is_announced(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    saved_by: str,
    fixed: bool,  # noqa: FBT001
    told: bool,  # noqa: FBT001
) -> None:
    unknown, words = (
        "<unk>",
        {f"w{number}": number for number in range(100_001)},
    )  # what transformers takes for such a vocabulary
    made = Tokenizer(WordLevel({**words, unknown: len(words)}, unk_token=unknown))
    made.pre_tokenizer = Split(Regex(r"\s+"), "isolated")
    config = {"model_type": "mistral", "transformers_version": saved_by}
    (tmp_path / "config.json").write_text(json.dumps(config))
    whole = PreTrainedTokenizerFast(tokenizer_object=made, eos_token=unknown)
    whole.save_pretrained(tmp_path)
    if fixed:
        AutoTokenizer.from_pretrained(tmp_path, fix_mistral_regex=True).save_pretrained(tmp_path)
    with caplog.at_level(logging.WARNING, "pytest_llmbench"):
        read_tokenizer(tmp_path)
    assert ("fix_mistral_regex=True" in caplog.text) is told


def test_what_a_gguf_file_says_of_itself_is_read_without_a_conversion(tmp_path: Path) -> None:
    path = byte_level_gguf(tmp_path / "m.gguf", "smollm", ("bonjour le monde", "monte le son"))
    config, tokenizer = describe(str(path))
    assert not converted_folder(path).exists()
    convert(path)
    converted_config, converted = describe(str(path))
    assert (context_tokens(config), embedding_rows(config)) == (
        context_tokens(converted_config),
        embedding_rows(converted_config),
    )
    assert converted("monte le son") == tokenizer("monte le son")
    assert (converted.pad_token, converted.padding_side) == (tokenizer.pad_token, tokenizer.padding_side)
    assert (converted.eos_token_id, converted.chat_template) == (tokenizer.eos_token_id, tokenizer.chat_template)
