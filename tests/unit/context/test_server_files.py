"""The files that launch a server: valid by their own schemas, read back as written, and without a key."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from support.command_line import llmbench
from support.serving_settings import optimized

from pytest_llmbench.context.serving.compose import compose
from pytest_llmbench.context.serving.files import write_all
from pytest_llmbench.context.serving.kubernetes import kubernetes
from pytest_llmbench.context.serving.optimized_config import OptimizedConfig
from pytest_llmbench.context.serving.vllm_flags import check_vllm_flags
from pytest_llmbench.core.errors import UsageError
from pytest_llmbench.core.settings import load_settings

ROOT = Path(__file__).parents[3]
SCHEMA = json.loads((ROOT / "tests/support/compose_spec/compose-spec.json").read_text(encoding="utf-8"))
FLAVOURS: dict[str, dict[str, Any]] = {
    "vllm on a GPU": {"max_context": 98304},
    "vllm on two": {"gpus": 2},
    "vllm on the CPU": {"device": "cpu"},
    "llama.cpp on a GPU": {"engine": "llamacpp", "kv_type": "q8_0", "max_context": 65536},
    "llama.cpp on the CPU": {"engine": "llamacpp", "device": "cpu"},
    "sglang": {"engine": "sglang"},
}


@pytest.fixture
def adapters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an adapter for vLLM and one for llama.cpp, as the current one."""
    (tmp_path / "adapters/mine").mkdir(parents=True)
    (tmp_path / "adapters/mine/adapter_config.json").write_text('{"r": 8}')
    (tmp_path / "adapters/mine.gguf").write_bytes(b"GGUF")
    monkeypatch.chdir(tmp_path)
    return tmp_path


COMMANDS = [
    line.removeprefix("$ llmbench ").split()
    for line in (ROOT / "docs/config.md").read_text(encoding="utf-8").splitlines()
    if line.startswith("$ llmbench config generate") and "--output configs/serving" in line
]


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: words[2])
def test_an_example_is_what_its_command_in_the_docs_makes(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert llmbench(*words).exit_code == 0
    made, shown = (
        {path.name: path.read_text(encoding="utf-8") for path in (folder / "configs/serving" / words[2]).iterdir()}
        for folder in (tmp_path, ROOT)
    )
    assert made == shown
    assert [words[2] for words in COMMANDS] == ["micro", "mini", "medium"]


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_the_compose_file_is_valid_with_adapters_too(flavour: str, adapters: Path) -> None:
    wishes = FLAVOURS[flavour]
    path = "adapters/mine.gguf" if wishes.get("engine") == "llamacpp" else "adapters/mine"
    for lora in ({}, {"mine": path}):
        config = optimized(**wishes, lora=lora)
        document = compose(config, Path("serving/medium"))
        jsonschema.Draft201909Validator(SCHEMA).validate(document)
        service = document["services"]["medium"]
        mounted = [volume["source"] for volume in service["volumes"][1:]]
        assert mounted == [f"../../{one}" for one in lora.values()]
        assert any("/adapters/mine" in word for word in service["command"]) == bool(lora)
        assert "0.0.0.0" in service["command"]  # noqa: S104  # inside the container
        assert service["ports"] == ["127.0.0.1:8000:8000"]


def test_no_character_of_a_path_means_something_to_compose_or_the_shell(adapters: Path) -> None:
    (adapters / "adapters/mine").rename(adapters / "adapters/a: $b")
    arguments = ["--chat-template", "it's $HOME", "--seed", "1e5"]
    config = optimized(lora={"org:mine": "adapters/a: $b"}, arguments=arguments)
    write_all(config, adapters)
    written = (adapters / "docker-compose.yml").read_text()
    service = yaml.safe_load(written)["services"]["medium"]
    mount = {"type": "bind", "source": "./adapters/a: $$b", "target": "/adapters/org:mine", "read_only": True}
    assert service["volumes"][1] == mount
    assert service["command"][-4:] == ["--chat-template", "it's $$HOME", "--seed", "1e5"]
    assert "- '1e5'" in written, "YAML 1.2 reads a number without the quotes"
    script = (adapters / "serve.sh").read_text().partition("exec ")[2].replace("\\\n", "")
    assert shlex.split(script) == config.command


def test_gpus_are_reserved_with_their_capability_and_none_on_the_cpu() -> None:
    devices = [
        compose(optimized(**wishes), Path())["services"]["medium"].get("deploy", {}).get("resources", {})
        for wishes in ({"gpus": 2}, {"device": "cpu"})
    ]
    gpu = {"driver": "nvidia", "count": 2, "capabilities": ["gpu"]}
    assert devices == [{"reservations": {"devices": [gpu]}}, {}]


def test_what_is_written_is_read_back_and_has_no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LLMBENCH_API_KEY", "VLLM_API_KEY", "HF_TOKEN"):
        monkeypatch.setenv(name, "hush-hush")
    config = optimized(max_context=98304)
    written = write_all(config, tmp_path)
    assert [path.name for path in written] == [
        *("serving.yaml", "docker-compose.yml", "serve.sh", "serving.env", "kubernetes.yaml")
    ]
    assert OptimizedConfig.read(tmp_path / "serving.yaml") == config
    assert "hush" not in "".join(path.read_text() for path in written)
    script = (tmp_path / "serve.sh").read_text().partition("exec ")[2].replace("\\\n", "")
    assert shlex.split(script) == config.command


def test_the_environment_file_points_the_tests_at_the_server(adapters: Path) -> None:
    write_all(optimized(lora={"mine": "adapters/mine"}, port=9000), adapters / "out")
    lines = (adapters / "out/serving.env").read_text().splitlines()
    environment = dict(line.split("=", 1) for line in lines if not line.startswith("#"))
    server = load_settings(None, {}, environment).server
    assert (server.url, server.model, server.adapter) == ("http://127.0.0.1:9000/v1", "qwen3-4b", "mine")


def test_the_manifest_asks_for_the_gpus_and_is_left_out_with_files_of_this_machine(adapters: Path) -> None:
    write_all(optimized(gpus=2), adapters / "two")
    claim, deployment, service = yaml.safe_load_all((adapters / "two/kubernetes.yaml").read_text())
    pod = deployment["spec"]["template"]["spec"]
    (box,) = pod["containers"]
    assert box["resources"] == {"limits": {"nvidia.com/gpu": 2}}
    assert box["ports"][0]["name"] == service["spec"]["ports"][0]["targetPort"]
    assert pod["volumes"][0]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    assert {one["mountPath"] for one in box["volumeMounts"]} == {"/root/.cache/huggingface", "/dev/shm"}  # noqa: S108
    assert deployment["spec"]["selector"]["matchLabels"] == service["spec"]["selector"]
    names = [path.name for path in write_all(optimized(lora={"mine": "adapters/mine"}), adapters / "local")]
    assert "kubernetes.yaml" not in names


def test_services_are_named_as_compose_and_kubernetes_allow() -> None:
    config = optimized().model_copy(update={"model": "models/My Model_1.gguf"})
    document = compose(config, Path("serving"))
    jsonschema.Draft201909Validator(SCHEMA).validate(document)
    assert list(document["services"]) == ["models-My-Model_1.gguf"]
    assert {one["metadata"]["name"] for one in kubernetes(config)} == {"llm-models-my-model-1-gguf"}


def test_a_file_that_is_there_stays_and_nothing_else_is_written(tmp_path: Path) -> None:
    (tmp_path / "docker-compose.yml").write_text("mine")
    with pytest.raises(UsageError, match=r"docker-compose\.yml exists; choose another folder or replace it"):
        write_all(optimized(), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["docker-compose.yml"]
    write_all(optimized(), tmp_path, force=True)
    assert "services" in (tmp_path / "docker-compose.yml").read_text()


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (("slots: 2", "slots: none"), r'serving.yaml:\d+: launch.slots: "none" is not valid; give a whole'),
        (("slots: 2", "slot: 2"), r"serving.yaml:\d+: there is no .launch.slot.; did you mean .slots."),
        (("launch:", "services:"), "serving.yaml:1: these are no settings of a server; `llmbench config generate`"),
        (("arguments: []", "arguments: [--swap-space, '4']"), "vLLM 0.32.0 has no --swap-space"),
    ],
)
def test_a_file_that_was_edited_wrongly_is_told_with_its_line(
    tmp_path: Path, changed: tuple[str, str], told: str
) -> None:
    write_all(optimized(max_context=98304), tmp_path)
    path = tmp_path / "serving.yaml"
    path.write_text(path.read_text().replace(*changed))
    with pytest.raises(UsageError, match=told):
        OptimizedConfig.read(path)


@pytest.mark.parametrize(
    ("words", "version", "told"),
    [
        (["--swap-space", "4"], "0.32.0", "0.32.0 has no --swap-space; it was renamed or removed after 0.12.0"),
        (["--rope-scaling", "{}"], "0.32.0", "replaced by --hf-overrides with rope_parameters"),
        (["--max-model-lenn", "9"], "0.32.0", "did you mean --max-model-len"),
        (["--kv-cache-dtype=fp9"], "0.32.0", "takes no --kv-cache-dtype fp9"),
        (["--kv-cache-dtype", "float16"], "0.12.0", "takes no --kv-cache-dtype float16"),
        (["--port", "1"], "0.1.0", "flags of vLLM 0.1.0 are not known; known are 0.12.0, 0.20.2, 0.32.0"),
    ],
)
def test_flags_are_refused_by_the_version_that_lacks_them(words: list[str], version: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        check_vllm_flags(words, version)


@pytest.mark.parametrize("version", ["0.12.0", "0.20.2", "0.32.0"])
def test_what_is_generated_is_taken_by_each_known_version(version: str) -> None:
    for wishes in ({"max_context": 98304, "kv_type": "fp8"}, {"device": "cpu"}, {"gpus": 2}):
        optimized(**wishes, vllm_version=version)
    check_vllm_flags(["--hf-overrides.rope_parameters.factor", "4", "--no-enable-lora", "-tp", "2"], version)
