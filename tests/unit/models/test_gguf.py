from __future__ import annotations

import errno
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.tiny_ggufs import WHOLE, byte_level_gguf, sentencepiece_gguf
from tokenizers import Regex, pre_tokenizers
from transformers import AutoTokenizer

from pytest_llmbench.core.errors import ModelError, NotReadyError
from pytest_llmbench.models.gguf import convert, converted_folder, cut_named, load_gguf_tokenizer

CORPUS = ["\n\n1. Un\n2. Deux\n", "le 28/11/2026, 1000 fois", "x = f(42)  # ça"] * 3


def _pieces(name: str, text: str) -> list[str]:
    """What is merged apart."""
    split = [pre_tokenizers.Split(Regex(expression), "isolated") for expression in cut_named(name, Path("x")).split]
    return [piece for piece, _ in pre_tokenizers.Sequence(split).pre_tokenize_str(text)]


def _written(tokenizer: Any, text: str) -> list[str]:
    tokens: list[str] = tokenizer.convert_ids_to_tokens(tokenizer(text)["input_ids"])
    return tokens


@pytest.mark.parametrize(
    ("name", "pieces"),
    [
        ("smollm", ["\n\n", "1", ".", " Un", "\n", "1", "2", ".", "  ", " d", "'", "A"]),
        ("gpt-2", ["\n", "\n", "1", ".", " Un", "\n", "12", ".", "  ", " d", "'", "A"]),
        ("qwen2", ["\n\n", "1", ".", " Un", "\n", "1", "2", ".", "  ", " d", "'A"]),
        ("llama-bpe", ["\n\n", "1", ".", " Un", "\n", "12", ".", "  ", " d", "'A"]),
        ("deepseek-v3", ["\n\n", "1", ".", " Un", "\n", "12", ".", "  ", " d", "'A"]),
    ],
)
def test_each_family_cuts_a_list_its_own_way(name: str, pieces: list[str]) -> None:
    assert _pieces(name, "\n\n1. Un\n12.   d'A") == pieces


def test_an_unknown_cut_is_refused_before_anything_is_converted(tmp_path: Path) -> None:
    path = byte_level_gguf(tmp_path / "new.gguf", "cut-of-2030", CORPUS)
    with pytest.raises(ModelError, match=r"new\.gguf: its tokenizer cuts text as 'cut-of-2030'.*hub id instead"):
        convert(path)


@pytest.mark.parametrize("length", [40, 200, 5000])
def test_a_file_that_was_cut_short_is_no_traceback(tmp_path: Path, length: int) -> None:
    path = byte_level_gguf(tmp_path / "m.gguf", "smollm", CORPUS)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(ModelError, match=r"m\.gguf: .*(is it whole|download it again)"):
        convert(path)


def test_an_old_file_that_names_no_cut_is_announced(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    load_gguf_tokenizer(byte_level_gguf(tmp_path / "old.gguf", None, CORPUS))
    assert "old.gguf does not say how its tokenizer cuts text" in caplog.text


def test_what_the_file_marks_is_found_whole_and_only_control_is_special(tmp_path: Path) -> None:
    tokenizer = load_gguf_tokenizer(byte_level_gguf(tmp_path / "m.gguf", "smollm", CORPUS))
    for token in WHOLE:
        assert _written(tokenizer, f"x{token}x") == ["x", token, "x"]
    ids = tokenizer("".join(WHOLE))["input_ids"]
    assert tokenizer.decode(ids, skip_special_tokens=True) == "<think>"


@pytest.mark.parametrize(
    ("pre", "told", "begins", "ends"),
    [
        ("smollm", {}, False, False),
        ("llama-bpe", {}, True, False),
        ("llama-bpe", {"add_bos_token": False}, False, False),
        ("smollm", {"add_bos_token": True, "add_eos_token": True}, True, True),
    ],
)
def test_the_file_or_else_its_family_says_what_is_added(
    tmp_path: Path, pre: str, told: dict[str, Any], *, begins: bool, ends: bool
) -> None:
    tokens = _written(load_gguf_tokenizer(byte_level_gguf(tmp_path / "m.gguf", pre, CORPUS, **told)), "x")
    assert tokens == [*["<|im_end|>"] * begins, "x", *["<|im_end|>"] * ends]


@pytest.mark.parametrize(
    ("told", "text", "tokens"),
    [
        ({}, "le  son", ["<s>", "▁le", "▁", "▁son"]),
        ({}, " x<|end|>son<|u|>le", ["<s>", "▁▁", "x", "<|end|>", "▁son", "<|u|>", "▁le"]),
        ({"add_space_prefix": False, "add_bos_token": False}, "son<|end|> le", ["son", "<|end|>", "▁le"]),
        ({"name": "Phi-3 mini"}, "x<|end|>\n x", ["<s>", "▁", "x", "<|end|>", "▁", "x"]),
    ],
)
def test_a_tokenizer_of_scores_puts_blanks_where_the_file_says(
    tmp_path: Path, told: dict[str, Any], text: str, tokens: list[str]
) -> None:
    tokenizer = load_gguf_tokenizer(sentencepiece_gguf(tmp_path / "m.gguf", **told))
    assert _written(tokenizer, text) == tokens


@pytest.mark.parametrize("told", [{}, {"add_space_prefix": False}])
def test_what_a_tokenizer_of_scores_writes_is_read_back(tmp_path: Path, told: dict[str, Any]) -> None:
    tokenizer = load_gguf_tokenizer(sentencepiece_gguf(tmp_path / "m.gguf", **told))
    for text in ("le  son é", " x"):
        assert tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True) == text


def test_the_converted_folder_has_the_files_tokenizer(tmp_path: Path) -> None:
    path = byte_level_gguf(tmp_path / "m.gguf", "smollm", CORPUS, add_bos_token=True)
    told, converted = load_gguf_tokenizer(path), AutoTokenizer.from_pretrained(convert(path))
    text = "".join(CORPUS) + "".join(WHOLE)
    assert converted(text)["input_ids"] == told(text)["input_ids"]
    assert converted.special_tokens_map == told.special_tokens_map


@pytest.mark.parametrize(
    ("also", "message"),
    [
        ({"split.count": 2}, r"is one of 2 parts of a model; .*llama-gguf-split --merge"),
        ({"blk.0.ffn_up.weight": None}, r"1 weights are missing \(.*up_proj.*would be random"),
    ],
)
def test_what_would_be_converted_with_random_weights_is_refused(
    tmp_path: Path, also: dict[str, Any], message: str
) -> None:
    path = byte_level_gguf(tmp_path / "m.gguf", "smollm", CORPUS, also=also)
    with pytest.raises(ModelError, match=rf"m\.gguf.* {message}"):
        convert(path)
    assert not converted_folder(path).exists()


UNSCALED: list[dict[str, Any]] = [
    {"llama.rope.scaling.type": "none", "llama.rope.scaling.factor": 4.0},
    {"llama.rope.scaling.type": "linear", "llama.rope.scaling.factor": 1.0},
    {"rope_freqs.weight": np.ones(4, dtype=np.float32)},
]
SCALED: list[dict[str, Any]] = [
    {"llama.rope.scaling.type": "yarn", "llama.rope.scaling.factor": 4.0},
    {"llama.rope.scale_linear": 2.0},
    {"rope_freqs.weight": np.array([1, 1, 2, 8], dtype=np.float32)},
]


@pytest.mark.parametrize("also", SCALED)
def test_positions_whose_scale_would_be_lost_are_refused(tmp_path: Path, also: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match=r"m\.gguf: it scales its positions.*hub id instead"):
        convert(byte_level_gguf(tmp_path / "m.gguf", "smollm", CORPUS, also=also))


@pytest.mark.parametrize("also", UNSCALED)
def test_positions_that_are_not_scaled_are_converted(tmp_path: Path, also: dict[str, Any]) -> None:
    path = byte_level_gguf(tmp_path / "m.gguf", "smollm", CORPUS, also=also)
    assert (convert(path) / "config.json").is_file()


def test_an_output_that_is_the_embedding_is_not_missing(tmp_path: Path) -> None:
    path = byte_level_gguf(tmp_path / "m.gguf", "smollm", CORPUS, also={"output.weight": None})
    assert (convert(path) / "config.json").is_file()


@pytest.fixture
def gguf(tmp_path: Path) -> Path:
    path = tmp_path / "some.gguf"
    path.write_bytes(b"GGUF and more")
    return path


def test_two_that_convert_at_once_convert_once(gguf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = []
    together = threading.Barrier(2)

    def slow_write(_: Path, folder: Path) -> None:
        written.append(folder)
        time.sleep(0.2)
        (folder / "config.json").write_text("{}")

    def convert_together() -> Path:
        together.wait()
        return convert(gguf)

    monkeypatch.setattr("pytest_llmbench.models.gguf._write_plain_model", slow_write)
    with ThreadPoolExecutor(2) as pool:
        folders = {future.result() for future in [pool.submit(convert_together) for _ in range(2)]}

    assert len(written) == 1
    assert folders == {converted_folder(gguf)}
    assert (converted_folder(gguf) / "config.json").is_file()


def test_a_conversion_that_fails_leaves_nothing_behind(gguf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fill_the_disk(_: Path, folder: Path) -> None:
        (folder / "half").write_text("a part")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("pytest_llmbench.models.gguf._write_plain_model", fill_the_disk)
    with pytest.raises(NotReadyError, match=r"No space left.*LLMBENCH_CACHE_DIR"):
        convert(gguf)
    assert [path for path in converted_folder(gguf).parent.iterdir() if path.suffix != ".lock"] == []


def test_what_a_killed_conversion_left_is_removed_by_the_next(gguf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = converted_folder(gguf).with_name(f".{converted_folder(gguf).name}.abc")
    left.mkdir(parents=True)
    monkeypatch.setattr("pytest_llmbench.models.gguf._write_plain_model", lambda *_: None)
    convert(gguf)
    assert not left.exists()


def test_another_content_is_another_conversion(gguf: Path) -> None:
    before = converted_folder(gguf)
    gguf.write_bytes(b"GGUF and other")
    assert converted_folder(gguf) != before


def test_the_one_conversion_is_announced(
    gguf: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("pytest_llmbench.models.gguf._write_plain_model", lambda *_: None)
    convert(gguf)
    convert(gguf)
    assert [record.getMessage() for record in caplog.records if "converting some.gguf" in record.getMessage()] != []
    assert len(caplog.records) == 1
