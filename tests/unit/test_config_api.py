"""`pytest_llmbench.config`: the functions of the reference, on top of the project's settings."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from pytest_llmbench import config
from pytest_llmbench.core.errors import UsageError


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, empty but for a GPU that the environment tells of."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LLMBENCH_SERVING__MEMORY", "48")
    return tmp_path


def test_the_shipped_family_has_its_lengths_and_the_number_that_each_rests_on() -> None:
    assert config.get_available_models() == ["micro", "mini", "medium"]
    models = [config.get_model_config(name) for name in config.get_available_models()]
    assert [one.hub for one in models] == ["Qwen/Qwen3-0.6B", "Qwen/Qwen3-1.7B", "Qwen/Qwen3-4B"]
    assert [(one.native_context, one.positions, one.longest_context) for one in models] == [
        *[(32768, 40960, 40960)] * 2,
        (32768, 40960, 131072),
    ]
    assert config.get_model_context_lengths("mini") == [1024, 2048, 4096, 8192, 16384, 32768]


def test_settings_decide_and_the_environment_wins(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "configs").mkdir()
    (project / "configs/llmbench.yaml").write_text(
        "serving: {max_context: 8192, memory: 24, endpoints: {mini: {url: 'http://127.0.0.1:9001/v1'}}}"
    )
    assert config.load_config().serving.memory == 48
    assert config.get_optimization_params("micro").max_context == 8192
    assert config.get_model_endpoint("mini").url == "http://127.0.0.1:9001/v1"
    monkeypatch.setenv("LLMBENCH_SERVING__MAX_CONTEXT", "16384")
    monkeypatch.setenv("LLMBENCH_CONTEXT__LENGTHS", "512,4096")
    assert config.get_model_context_lengths("micro") == [512, 4096]
    assert config.generate_optimized_config("micro").launch.max_context == 16384
    assert config.generate_optimized_config("micro", max_context=2048).launch.max_context == 2048


def test_an_endpoint_has_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMBENCH_API_KEY", "hush")
    endpoint = config.get_model_endpoint("micro")
    assert (endpoint.url, endpoint.model) == ("http://127.0.0.1:8000/v1", "qwen3-0.6b")
    assert "hush" not in str([endpoint, config.load_config(), config.generate_optimized_config("micro")])


def test_files_go_where_the_settings_say_and_never_over_others(project: Path) -> None:
    found = config.generate_optimized_config("medium", max_context=98304)
    settings_file = config.create_optimized_config_file("medium", max_context=98304)
    compose_file = config.generate_docker_compose_file("medium", found)
    assert [settings_file, compose_file] == [
        Path("serving/medium/serving.yaml"),
        Path("serving/medium/docker-compose.yml"),
    ]
    assert config.OptimizedConfig.read(settings_file) == found
    assert list(yaml.safe_load(compose_file.read_text())["services"]) == ["medium"]
    with pytest.raises(UsageError, match="exists"):
        config.generate_docker_compose_file("medium", found)
    with pytest.raises(UsageError, match="are of medium, not of mini"):
        config.generate_docker_compose_file("mini", found, "other.yml")


@pytest.mark.parametrize("wrong", [0, -5, "long"])
def test_a_context_that_is_no_length_is_refused(wrong: object) -> None:
    with pytest.raises(UsageError, match=r"max_context: .* is not valid; give a whole number from 1"):
        config.generate_optimized_config("micro", max_context=wrong)  # type: ignore[arg-type]


def test_a_project_adds_a_member_in_its_registry(project: Path) -> None:
    (project / "configs").mkdir()
    entry = "{hub: me/mine, member: mine, context: {native: 2048}, architecture: {model_type: llama, vocab_size: 320,"
    sizes = "hidden_size: 64, intermediate_size: 128, num_hidden_layers: 2, num_attention_heads: 4}}"
    (project / "configs/models.yaml").write_text(f"models: {{mine: {entry} {sizes}}}")
    assert config.get_available_models() == ["micro", "mini", "medium", "mine"]
    assert config.generate_optimized_config("mine").launch.max_context == 2048
    (project / "configs/models.yaml").write_text("models:\n  mine: {hub: me/mine, member: mine}")
    with pytest.raises(UsageError, match=r"models.yaml:2: model 'mine': a member needs `context`"):
        config.generate_optimized_config("mine")
