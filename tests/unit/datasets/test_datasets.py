"""Whole dataset files: split, checked and found again, without holding them in memory."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_llmbench.cases.suites import Case
from pytest_llmbench.core.errors import ModelError, UsageError
from pytest_llmbench.core.settings import ModelSettings
from pytest_llmbench.datasets import files as datasets
from pytest_llmbench.datasets import near_duplicates
from pytest_llmbench.datasets.row_formats import new_row
from pytest_llmbench.datasets.rows import read_rows

MEGABYTE = 2**20


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Rows of ten thousand characters, 9 MB in all, no two alike."""
    path = tmp_path / "large.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for number in range(800):
            row = {"prompt": f"{number:x} {number**3} question {number**5}", "completion": "réponse " * 1300}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    return path


@pytest.mark.parametrize(
    "work",
    [
        datasets.validate_dataset,
        lambda path: datasets.split_file(path, path),
        datasets.check_dataset,
    ],
    ids=["validate", "split", "check"],
)
@pytest.mark.parametrize("exact_texts", [10, 12_000])
def test_a_large_file_is_worked_on_with_little_memory(
    dataset: Path, work: Callable[[Path], object], exact_texts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(near_duplicates, "EXACT_TEXTS", exact_texts)
    monkeypatch.setattr(near_duplicates, "_BLOCK", 128)
    monkeypatch.setattr(datasets, "_ROWS_AT_ONCE", 64)
    work(_written(dataset.with_name("small.jsonl"), ["a b", "c d", "e f"]))  # imports are not the file's
    tracemalloc.start()
    try:
        work(dataset)
        assert tracemalloc.get_traced_memory()[1] < 3 * MEGABYTE < dataset.stat().st_size / 2
    finally:
        tracemalloc.stop()


def _written(path: Path, questions: list[str]) -> Path:
    path.write_text("".join(json.dumps(new_row(text, "Oui.")) + "\n" for text in questions), encoding="utf-8")
    return path


def test_the_sides_hold_each_row_once_in_the_one_form(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("instruction,output,tool\n" + "".join(f"{n} {n**7},Oui.,t\n" for n in range(100, 130)))
    split, files = datasets.split_file(path, tmp_path / "mine.jsonl", seed=1)
    assert {side: file.name for side, file in files.items()} == {
        "train": "mine_train.jsonl",
        "val": "mine_val.jsonl",
        "test": "mine_test.jsonl",
    }
    sides = [read_rows(file) for file in files.values()]
    assert tuple(map(len, sides)) == split.sizes == (24, 3, 3)
    parted = sorted(json.dumps(row) for side in sides for row in side)
    assert parted == sorted(map(json.dumps, read_rows(path)))


def test_a_wrong_row_leaves_no_half_written_side(tmp_path: Path) -> None:
    path = _written(tmp_path / "rows.jsonl", ["a b", "c d", "e f", "g h"])
    path.write_text(path.read_text(encoding="utf-8") + "{}\n", encoding="utf-8")
    with pytest.raises(UsageError, match=r"rows.jsonl:5"):
        datasets.split_file(path, path)
    assert [file.name for file in tmp_path.iterdir()] == ["rows.jsonl"]


def test_a_side_that_would_replace_the_dataset_is_refused(tmp_path: Path) -> None:
    path = _written(tmp_path / "rows_train.jsonl", ["a b", "c d", "e f", "g h"])
    before = path.read_bytes()
    with pytest.raises(UsageError, match=r"rows_train.jsonl is both the dataset and the train side"):
        datasets.split_file(path, tmp_path / "rows")
    assert path.read_bytes() == before


def _base(folder: Path, *, context: int) -> str:
    """A base of which only the configuration and the tokenizer are there: one word, one token."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({"<unk>": 0}, unk_token="<unk>"))  # noqa: S106  # no password
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>")  # noqa: S106  # no password
    tokenizer.add_special_tokens({"eos_token": "FIN"})
    end = "{% if m.role == 'assistant' %} FIN{% endif %}"
    tokenizer.chat_template = "{% for m in messages %} {{ m.content }}" + end + "{% endfor %}"
    tokenizer.save_pretrained(folder)
    LlamaConfig(max_position_embeddings=context).save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize(
    ("context", "limit"), [(2048, (64, "the preset of small")), (32, (32, "the context of small"))]
)
def test_rows_are_held_to_what_finetune_takes_of_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, context: int, limit: tuple[int, str]
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = _base(tmp_path / "base", context=context)
    monkeypatch.setattr("pytest_llmbench.models.tokenizers.tokenizer_place", lambda _spec, **_: Path(folder))
    Path("configs").mkdir()
    Path("configs/models.yaml").write_text("models: {small: {hub: org/small, training: {max_length: 64}}}\n")
    path = _written(tmp_path / "rows.jsonl", ["monte le son", "mot " * 70])
    checked = datasets.check_dataset(path, model="small")
    assert checked.limit is not None
    assert (checked.limit.tokens, checked.limit.origin) == limit
    assert [(found.check, found.severity, found.count) for found in checked.findings] == [("length", "error", 1)]


def test_a_base_is_read_at_its_revision_and_with_its_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = []

    def describe(_spec: str, *, revision: str | None, trust_remote_code: bool) -> None:
        read.append((revision, trust_remote_code))
        raise ModelError("enough")

    monkeypatch.setattr("pytest_llmbench.models.tokenizers.describe", describe)
    path = _written(tmp_path / "rows.jsonl", ["monte le son"])
    served = ModelSettings(base="org/x", revision="v2", trust_remote_code=True)
    for base in ("org/x", "org/other"):
        with pytest.raises(ModelError, match="enough"):
            datasets.check_dataset(path, model=base, read_as=served)
    assert read == [("v2", True), (None, False)]


def test_contaminated_rows_of_a_file_are_found(tmp_path: Path) -> None:
    path = _written(tmp_path / "rows.jsonl", ["quel temps fait-il", "monte le son"])
    assert [match.row for match in datasets.contaminated(path, [Case("c", "1", "Monte le son !", ())])] == [1]


def test_the_dataset_of_a_training_record_is_found_by_name_and_content(tmp_path: Path) -> None:
    path = _written(tmp_path / "rows.jsonl", ["a", "b"])
    record = {"dataset": {"name": "rows.jsonl", "sha256": datasets.file_sha256(path)}}
    assert datasets.find_dataset(record, [tmp_path / "none", tmp_path]) == path
    _written(path, ["a", "c"])
    assert datasets.find_dataset(record, [tmp_path]) is None
    assert datasets.find_dataset({}, [tmp_path]) is None
