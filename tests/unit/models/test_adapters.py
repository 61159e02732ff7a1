from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from support.tiny_models import safetensors_bytes, write_adapter

from pytest_llmbench.core.errors import AdapterError
from pytest_llmbench.models.adapters import find_adapter, find_adapters, read_adapter
from pytest_llmbench.models.sources import Source

BASE = Source("tiny", "org/tiny-llama", "/models/tiny-llama", "a" * 64, "hub", known_as=("tiny", "org/tiny-llama"))


def test_none_means_no_adapter(tmp_path: Path) -> None:
    write_adapter(tmp_path / "fits")
    assert find_adapter("none", tmp_path, BASE) is None


def test_auto_takes_the_newest_that_fits(tmp_path: Path) -> None:
    for name, base_hash, finished in (
        ("old", "a" * 64, "2026-01-01T00:00:00+00:00"),
        ("new", "a" * 64, "2026-03-01T00:00:00+00:00"),
        ("newest-of-another-base", "b" * 64, "2026-05-01T00:00:00+00:00"),
    ):
        write_adapter(tmp_path / name, record={"base_weights_hash": base_hash, "finished_at": finished})
    found = find_adapter("auto", tmp_path, BASE)
    assert found is not None
    assert found.name == "new"


def test_without_a_training_record_the_file_date_tells_the_newest(tmp_path: Path) -> None:
    for name, date in (("b", 1_000), ("a", 2_000)):
        os.utime(write_adapter(tmp_path / name) / "adapter_model.safetensors", (date, date))
    found = find_adapter("auto", tmp_path, BASE)
    assert found is not None
    assert found.name == "a"


def test_auto_without_a_fitting_folder_says_what_it_skipped_and_why(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_adapter(tmp_path / "other", base_name="org/other")
    (write_adapter(tmp_path / "half") / "adapter_model.safetensors").unlink()
    (tmp_path / "notes").mkdir()

    assert find_adapter("auto", tmp_path, BASE) is None

    (announced,) = [record.getMessage() for record in caplog.records]
    for reason in ("trained on org/other, not on org/tiny-llama", "half-written", "notes is not an adapter folder"):
        assert reason in announced


def test_auto_where_there_is_no_folder_at_all_is_announced(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert find_adapter("auto", tmp_path / "none", BASE) is None
    assert "there is none" in caplog.text


@pytest.mark.parametrize(
    ("base_name", "record", "reason"),
    [
        (
            "org/tiny-llama",
            {"base_weights_hash": "b" * 64},
            "weights bbbbbbbbbbbb, but org/tiny-llama has weights aaaaaa",
        ),
        ("org/other", None, "trained on org/other, not on org/tiny-llama"),
        (None, None, "does not say which base"),
    ],
)
def test_an_adapter_of_another_base_is_refused_unless_verifying_is_off(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    base_name: str | None,
    record: dict[str, str] | None,
    reason: str,
) -> None:
    folder = str(write_adapter(tmp_path / "wrong", base_name=base_name, record=record))
    with pytest.raises(AdapterError, match=f"{reason}.*verify_adapter: false"):
        find_adapter(folder, tmp_path, BASE)
    assert find_adapter(folder, tmp_path, BASE, verify=False) is not None
    assert reason in caplog.text


def test_a_recorded_hash_counts_more_than_a_name(tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "renamed", base_name="x/y", record={"base_weights_hash": "a" * 64})
    assert find_adapter(str(folder), tmp_path, BASE) is not None


def test_a_base_moved_to_another_folder_is_known_by_its_name(tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "moved", base_name="/somewhere/else/Tiny-Llama/")
    assert find_adapter(str(folder), tmp_path, BASE) is not None


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("adapter_config.json", b"{", "not valid JSON"),
        ("adapter_config.json", b"[]", "not a JSON object"),
        ("adapter_model.safetensors", b"", "cut short"),
        ("adapter_model.safetensors", safetensors_bytes(16)[:-1], "bytes where the header promises"),
        ("adapter_model.safetensors", safetensors_bytes(16)[:20], "cut short"),
        ("adapter_model.safetensors", b"\x02" + bytes(7) + b"{]" + bytes(16), "corrupt"),
        ("adapter_model.safetensors", b"\x02" + bytes(7) + b"{}", "no tensors"),
        ("llmbench_training.json", b"{", "not valid JSON"),
        ("llmbench_training.json", b"[]", "not a JSON object"),
    ],
)
def test_a_half_written_adapter_is_refused(tmp_path: Path, file: str, content: bytes, message: str) -> None:
    folder = write_adapter(tmp_path / "half")
    (folder / file).write_bytes(content)
    with pytest.raises(AdapterError, match=message):
        read_adapter(folder)


def test_a_missing_folder_or_configuration_is_named(tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match="no such adapter folder"):
        find_adapter(str(tmp_path / "none"), tmp_path, BASE)
    with pytest.raises(AdapterError, match=r"has no adapter_config\.json"):
        find_adapter(str(tmp_path), tmp_path, BASE)


def test_safetensors_are_preferred_and_a_cut_bin_is_refused(tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "both")
    (folder / "adapter_model.bin").write_bytes(b"PK\x03\x04 cut")
    assert read_adapter(folder).weights_file == "adapter_model.safetensors"
    (folder / "adapter_model.safetensors").unlink()
    with pytest.raises(AdapterError, match=r"adapter_model\.bin: cut short"):
        read_adapter(folder)


def test_what_changes_answers_changes_the_configuration_hash_and_nothing_else_does(tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "adapter")
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text())
    before = read_adapter(folder).config_hash

    path.write_text(
        json.dumps({**config, "base_model_name_or_path": "elsewhere", "target_modules": ["q_proj", "v_proj"]})
    )
    assert read_adapter(folder).config_hash == before
    path.write_text(json.dumps({**config, "lora_alpha": 16}))
    assert read_adapter(folder).config_hash != before


def test_one_adapter_is_called_finetuned_and_several_go_by_their_folders(tmp_path: Path) -> None:
    first, second = (str(write_adapter(tmp_path / name)) for name in ("first", "second"))
    assert find_adapters(["none"], tmp_path, BASE) == {}
    assert [(name, one.path) for name, one in find_adapters([first], tmp_path, BASE).items()] == [("finetuned", first)]
    several = find_adapters([second, first], tmp_path, BASE)
    assert [(name, one.path) for name, one in several.items()] == [("second", second), ("first", first)]


def test_adapters_whose_folders_have_one_name_or_the_bases_go_by_their_parents_too(tmp_path: Path) -> None:
    folders = [str(write_adapter(tmp_path / name)) for name in ("mine/lora", "yours/lora")]
    assert list(find_adapters(folders, tmp_path, BASE)) == ["mine-lora", "yours-lora"]
    folders = [str(write_adapter(tmp_path / name)) for name in ("other/base", "other/lora")]
    assert list(find_adapters(folders, tmp_path, BASE)) == ["other-base", "other-lora"]
    folders = [str(write_adapter(tmp_path / name)) for name in ("run1/checkpoints/final", "run2/checkpoints/final")]
    assert list(find_adapters(folders, tmp_path, BASE)) == ["run1-checkpoints-final", "run2-checkpoints-final"]


def test_two_names_of_one_folder_are_refused(tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "only")
    (tmp_path / "link").symlink_to(folder)
    for twice in ([str(folder), f"{folder}/"], [str(folder), str(tmp_path / "link")], ["auto", str(folder)]):
        with pytest.raises(AdapterError, match="only was chosen twice"):
            find_adapters(twice, tmp_path, BASE)


def test_one_unusable_adapter_among_several_is_refused(tmp_path: Path) -> None:
    fits, other = write_adapter(tmp_path / "fits"), write_adapter(tmp_path / "other", base_name="org/other")
    with pytest.raises(AdapterError, match="trained on org/other"):
        find_adapters([str(fits), str(other)], tmp_path, BASE)
