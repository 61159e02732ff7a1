"""What a GGUF file says of itself, read once."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.tiny_ggufs import byte_level_gguf

from pytest_llmbench.core.errors import ModelError
from pytest_llmbench.models import gguf_facts
from pytest_llmbench.models.gguf import load_gguf_tokenizer
from pytest_llmbench.models.gguf_facts import GgufFacts, facts_of, load_kept_tokenizer, read_gguf


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMBENCH_CACHE_DIR", str(tmp_path / "cache"))


def test_a_file_is_read_once_and_its_kept_tokenizer_cuts_as_the_file_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = byte_level_gguf(tmp_path / "tiny.gguf", "qwen2", ["monte le son", "ouvre 2026"])
    folder, facts = read_gguf(file)
    fresh = load_gguf_tokenizer(file)
    monkeypatch.setattr(gguf_facts, "read_metadata", None)
    assert read_gguf(file) == (folder, facts)
    assert facts == GgufFacts("llama", "F32", 512, len(fresh))
    text = "monte le son 2026 <|im_end|>"
    assert load_kept_tokenizer(folder)(text)["input_ids"] == fresh(text)["input_ids"]


def test_a_file_that_is_none_is_told_and_nothing_is_kept(tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"nothing of it")
    with pytest.raises(ModelError, match="is not a GGUF file"):
        read_gguf(broken)
    assert not list((tmp_path / "cache").glob("gguf/*"))


@pytest.mark.parametrize("length", [40, 5000, -100])
def test_a_file_that_was_cut_short_is_told(tmp_path: Path, length: int) -> None:
    file = byte_level_gguf(tmp_path / "tiny.gguf", "qwen2", ["monte le son", "ouvre 2026"])
    file.write_bytes(file.read_bytes()[:length])
    with pytest.raises(ModelError, match=r"tiny\.gguf: it is damaged .*; download it again"):
        read_gguf(file)


@pytest.mark.parametrize(("number", "name"), [(3, "Q4_1"), (999, "type 999")])
def test_a_way_to_store_weights_that_is_newer_than_the_reader_is_told_by_its_number(number: int, name: str) -> None:
    told = {
        "general.architecture": "llama",
        "general.file_type": number,
        "llama.context_length": 512,
        "tokenizer.ggml.tokens": ["x"],
    }
    assert facts_of(told, Path("x.gguf")) == GgufFacts("llama", name, 512, 1)


def test_a_template_for_tools_is_kept_beside_the_files_own(tmp_path: Path) -> None:
    templates = {"tokenizer.chat_template": "plain", "tokenizer.chat_template.tool_use": "with tools"}
    folder, _ = read_gguf(byte_level_gguf(tmp_path / "tiny.gguf", "qwen2", ["monte le son"], also=templates))
    assert load_kept_tokenizer(folder).chat_template == {"default": "plain", "tool_use": "with tools"}
