from __future__ import annotations

from pathlib import Path

import pytest

from pytest_llmbench.errors import UsageError
from pytest_llmbench.models.registry import load_registry


def test_the_shipped_registry_names_the_models_of_the_reference() -> None:
    registry = load_registry()
    assert registry["qwen3-30b-a3b"]["hub"] == "Qwen/Qwen3-30B-A3B"
    assert {"smollm2-135m", "distilgpt2", "gpt2", "gpt2-medium", "gpt2-large"} <= set(registry)


def test_the_registry_of_the_current_project_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs/models.yaml").write_text("models: {mine: {hub: me/mine, a_new_field: 1}}")
    monkeypatch.chdir(tmp_path)
    assert load_registry() == {"mine": {"hub": "me/mine", "a_new_field": 1}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a\n", "one key `models`"),
        ("models:\n  fine: {hub: a/b}\n  bad: {size: 3}\n", r"models\.yaml:3: model 'bad'"),
    ],
)
def test_a_faulty_registry_is_told_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "models.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match=message):
        load_registry(path)
