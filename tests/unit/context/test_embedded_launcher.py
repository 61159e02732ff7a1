"""What the embedded launcher says of the server that it starts, without starting it."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_llmbench.context.serving.files import write_all
from pytest_llmbench.context.serving.launch_settings import LaunchSettings
from pytest_llmbench.context.serving.optimized_config import OptimizedConfig
from pytest_llmbench.context.tuning.launching import EmbeddedLauncher
from pytest_llmbench.context.tuning.session import _identity
from pytest_llmbench.context.tuning.space import SearchSpace
from pytest_llmbench.core.errors import UsageError
from pytest_llmbench.core.settings import Settings
from pytest_llmbench.generation.embedded.llamacpp import ServedModel

LAUNCH = LaunchSettings(engine="llamacpp", model="smollm2-135m", max_context=2048, device="cpu")


def served(folder: Path, name: str | None) -> SearchSpace:
    base, loras = folder / "m.gguf", () if name is None else (folder / f"{name}.gguf",)
    for path in (base, *loras):
        path.touch()
    launcher = EmbeddedLauncher(ServedModel(base, "m", loras, name))
    return SearchSpace(launcher.served(LAUNCH), {"slots": (2, 4)}, {})


def test_the_server_that_is_advised_serves_the_adapter_that_was_measured(tmp_path: Path) -> None:
    launch = served(tmp_path, "my tune").baseline.launch
    config = OptimizedConfig(
        model="m",
        launch=launch,
        hardware="CPU",
        gpus=0,
        memory={},
        prompt_tokens=1,
        pool_tokens=launch.kv_tokens,
        reasons={},
    )
    written = {path.name: path.read_text() for path in write_all(config, tmp_path / "serving")}
    assert f"--lora '{tmp_path}/my tune.gguf'" in written["serve.sh"]
    assert "--lora" in written["docker-compose.yml"]
    assert written["docker-compose.yml"].count("/adapters/my-tune.gguf") == 2  # what is mounted is what is served


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("pool_tokens", r"tune\.fixed: the embedded server is not started with pool_tokens; it has slots, "),
        ("lora", r"the embedded server is not started with lora; its fine-tune is model\.adapter"),
    ],
)
def test_a_value_that_an_embedded_server_is_not_started_with_is_refused(name: str, told: str, tmp_path: Path) -> None:
    launcher = EmbeddedLauncher(ServedModel(tmp_path / "m.gguf", "m"))
    with pytest.raises(UsageError, match=told):
        launcher.check(served(tmp_path, None), ("slots", "device", name))


def test_a_study_is_of_its_adapter(tmp_path: Path) -> None:
    def identity(name: str | None) -> object:
        space = served(tmp_path, name)
        return _identity(Settings(), EmbeddedLauncher(ServedModel(tmp_path / "m.gguf", "m")), space)

    assert identity("one") == identity("one")
    assert identity("one") != identity("two")
    assert identity("one") != identity(None)
    assert "lora" not in served(tmp_path, None).baseline.launch.model_dump(exclude_defaults=True)
