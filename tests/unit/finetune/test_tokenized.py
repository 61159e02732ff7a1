"""Rows as tokens in a file."""

from __future__ import annotations

import json
import re
import tracemalloc
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets  # noqa: F401  # as torch below
import pyarrow as pa
import pytest
import torch  # before memory is traced
from jinja2 import TemplateError
from support.tiny_training import rows, write_rows

from pytest_llmbench.core.errors import NotReadyError, UsageError
from pytest_llmbench.finetune import tokenized
from pytest_llmbench.finetune.tokenized import IGNORED, form_hash, tokenize_file
from pytest_llmbench.finetune.trainer import row_lengths
from pytest_llmbench.models.prompt_form import PromptForm

IDENTITY = {"dataset": "1", "base": "2"}


class Letters:
    """A tokenizer of letters that counts the conversations it was given."""

    added_tokens_decoder: Mapping[int, str] = {}
    eos_token_id = None

    def __init__(self) -> None:
        self.vocabulary = {"a": 97}
        self.asked = 0

    def get_vocab(self) -> dict[str, int]:
        return self.vocabulary

    def apply_chat_template(
        self, messages: Sequence[Mapping[str, str]], *, add_generation_prompt: bool = False, **_: Any
    ) -> str:
        self.asked += 1
        text = "".join(f"{message['role'][0]}{message['content']}" for message in messages)
        return f"{text}{'a' if add_generation_prompt else ''}"

    def __call__(self, text: str, **_: Any) -> dict[str, list[int]]:
        return {"input_ids": list(text.encode())}

    def convert_ids_to_tokens(self, tokens: Sequence[int]) -> list[str]:
        return [chr(token) for token in tokens]


def form(tokenizer: Letters | None = None, template: str = "{{ messages }}") -> PromptForm:
    return PromptForm(tokenizer or Letters(), template, "base")


def test_the_labels_are_the_answers_tokens(tmp_path: Path) -> None:
    dataset = write_rows(tmp_path / "rows.jsonl", rows(5))
    made = tokenize_file(dataset, form(), 100, kept=tmp_path / "kept", identity=IDENTITY)
    for row, example in zip(rows(5), made.examples, strict=True):
        answer = row["completion"][0]["content"].encode()
        assert bytes(example["input_ids"]).endswith(answer)
        assert [label for label in example["labels"] if label != IGNORED] == list(answer)
        assert example["labels"][-len(answer) :] == list(answer)
    lengths = row_lengths(made.examples).tolist()
    assert lengths == [len(example["input_ids"]) for example in made.examples]
    assert made.longest == max(lengths)
    assert made.longest_answer == max(len(row["completion"][0]["content"]) for row in rows(5))


def test_what_was_written_is_taken_again_until_something_differs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = write_rows(tmp_path / "rows.jsonl", rows(5))
    tokenizer = Letters()

    def asked(limit: int = 100, template: str = "{{ messages }}", **identity: str) -> int:
        before = tokenizer.asked
        key = IDENTITY | identity | {"tokenizer": form_hash(form(tokenizer, template))}
        made = tokenize_file(dataset, form(tokenizer, template), limit, kept=tmp_path / "kept", identity=key)
        assert len(made.examples) == 5
        return tokenizer.asked - before

    written = 10 + 3  # prompt and whole of each row, and what tells how the form ends an answer
    assert asked() == written
    assert asked() == 0
    assert asked(base="3") == written
    assert asked(base="3", limit=99) == written
    assert asked(base="3", limit=99, template="{{ others }}") == written
    tokenizer.vocabulary = {"a": 98}
    assert asked(base="3", limit=99) == written
    assert asked(base="3", limit=99) == 0
    monkeypatch.setattr(tokenized, "_RULES", 0)  # a build that wrote rows otherwise
    assert asked(base="3", limit=99) == written


@pytest.mark.parametrize(
    ("name", "content"), [("kept.arrow", b"cut"), ("kept.arrow", None), ("kept.json", b'{"key'), ("kept.json", b"[]")]
)
def test_what_was_cut_short_is_written_again(tmp_path: Path, name: str, content: bytes | None) -> None:
    dataset = write_rows(tmp_path / "rows.jsonl", rows(5))
    first = tokenize_file(dataset, form(), 100, kept=tmp_path / "kept", identity=IDENTITY)
    expected = first.examples.to_list()
    damaged, killed = tmp_path / name, tmp_path / ".kept.arrow.killed.arrow"
    damaged.unlink()
    if content is not None:
        damaged.write_bytes(content)
    killed.touch()
    again = tokenize_file(dataset, form(), 100, kept=tmp_path / "kept", identity=IDENTITY)
    assert again.examples.to_list() == expected
    assert not killed.exists()


def test_all_rows_that_are_too_long_are_told_with_their_lines_and_nothing_is_kept(tmp_path: Path) -> None:
    long = {"prompt": [{"role": "user", "content": "x" * 200}], "completion": [{"role": "assistant", "content": "y"}]}
    dataset = write_rows(tmp_path / "rows.jsonl", [*rows(3), long, *rows(2), long])
    with pytest.raises(UsageError) as caught:
        tokenize_file(dataset, form(), 100, kept=tmp_path / "kept", identity=IDENTITY)
    lines = str(caught.value).splitlines()
    assert [re.sub(r".*rows", "rows", line) for line in lines] == [
        f"rows.jsonl:{line}: the row has 203 tokens, more than max_length 100; raise it, or shorten the row"
        for line in (4, 7)
    ]
    assert caught.value.names == ("max_length",)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept.lock", "rows.jsonl"]


def test_a_row_that_the_template_refuses_is_told_with_its_line(tmp_path: Path) -> None:
    class OfOneQuestion(Letters):
        def apply_chat_template(self, messages: Sequence[Mapping[str, str]], **options: Any) -> str:
            if len(messages) > 2:
                raise TemplateError("one question only")
            return super().apply_chat_template(messages, **options)

    several = {**rows(1)[0], "prompt": [{"role": role, "content": "x"} for role in ("user", "assistant", "user")]}
    dataset = write_rows(tmp_path / "rows.jsonl", [*rows(2), several])
    with pytest.raises(UsageError, match=r"rows\.jsonl:3: the chat template refuses it: one question only"):
        tokenize_file(dataset, form(OfOneQuestion()), 100, kept=tmp_path / "kept", identity=IDENTITY)


def test_a_file_that_cannot_be_written_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pa.ipc.RecordBatchStreamWriter, "write_batch", full)
    dataset = write_rows(tmp_path / "rows.jsonl", rows(3))
    with pytest.raises(NotReadyError, match=r"cannot write .*kept\.arrow: No space left on device; free some space"):
        tokenize_file(dataset, form(), 100, kept=tmp_path / "kept", identity=IDENTITY)
    assert not list(tmp_path.glob("*arrow*"))


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    dataset = write_rows(tmp_path / "rows.jsonl", rows(3))
    with pytest.raises(NotReadyError, match=r"cannot write .*kept\.lock: Not a directory"):
        tokenize_file(dataset, form(), 100, kept=dataset / "in" / "kept", identity=IDENTITY)


def test_rows_are_not_held_in_memory(tmp_path: Path) -> None:
    usual = pa.default_memory_pool()
    pool = pa.proxy_memory_pool(usual)  # counts anew
    pa.set_memory_pool(pool)
    row = {"prompt": "x" * 8000, "completion": "y" * 1000}
    dataset = tmp_path / "rows.jsonl"
    dataset.write_text((json.dumps(row) + "\n") * 1500, encoding="utf-8")
    tracemalloc.start()
    try:
        made = tokenize_file(dataset, form(), 10_000, kept=tmp_path / "kept", identity=IDENTITY)
        lengths = row_lengths(made.examples)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        pa.set_memory_pool(usual)
    assert torch.equal(lengths, torch.full((1500,), 9002))
    assert pool.max_memory() < 1500 * 9002, "nor in Arrow's"
    assert (tmp_path / "kept.arrow").stat().st_size > 1500 * 9002 * 8
    assert most < 1500 * 9002, "less than a byte a token: all tokens as numbers of Python would be eight and more"


def test_a_training_may_go_on_though_its_template_writes_another_date() -> None:
    class Dated(Letters):
        def __init__(self, day: str) -> None:
            super().__init__()
            self.day = day

        def apply_chat_template(self, messages: Sequence[Mapping[str, str]], **how: Any) -> str:
            return self.day + super().apply_chat_template(messages, **how)

    today, tomorrow = (form(Dated(day), "{{ strftime_now('%d') }}") for day in ("1", "2"))
    assert today.key != tomorrow.key
    assert form_hash(today) == form_hash(tomorrow) != form_hash(form())
