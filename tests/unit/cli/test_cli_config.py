"""`llmbench config`: the settings that apply, in a form that can be used as a file."""

from __future__ import annotations

import fnmatch
import json
from pathlib import Path

import pytest
from support.command_line import llmbench

from pytest_llmbench.core.settings import Settings, load_settings


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, empty."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_what_is_shown_is_itself_a_settings_file(project: Path) -> None:
    (project / "mine.yaml").write_text("model: {base: modèle/été, device_map: {'': 0}}\nbenchmark: {limit: 3}")
    (project / "shown.yaml").write_text(llmbench("config", "--config", "mine.yaml").stdout, encoding="utf-8")
    shown = load_settings(Path("shown.yaml"), {}, {})
    assert shown == load_settings(Path("mine.yaml"), {}, {}) != Settings()


def test_options_win_over_the_environment_over_the_projects_own_file(project: Path) -> None:
    (project / "configs").mkdir()
    (project / "configs/llmbench.yaml").write_text("model: {base: file, adapter: file, quantization: none}")
    environment = {"LLMBENCH_BASE": "environment", "LLMBENCH_ADAPTER": "environment"}
    model = json.loads(llmbench("config", "--base", "option", "--json", **environment).stdout)["model"]
    assert (model["base"], model["adapter"], model["quantization"]) == ("option", "environment", "none")


def test_the_environment_can_name_the_file(project: Path) -> None:
    (project / "mine.yaml").write_text("generation: {epochs: 7}")
    done = llmbench("config", LLMBENCH_CONFIG="mine.yaml")
    assert "mine.yaml" in done.stdout.splitlines()[0]
    assert "epochs: 7" in done.stdout


def test_a_wrong_value_names_the_option_and_what_is_valid() -> None:
    done = llmbench("config", "--quantization", "nf5")
    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert all(word in done.stderr for word in ("--quantization", "nf4, int8, none"))


def test_secrets_of_the_file_are_not_shown(project: Path) -> None:
    (project / "mine.yaml").write_text("server: {headers: {X-Key: hush}}")
    shown = llmbench("config", "--config", "mine.yaml").stdout
    assert "X-Key" in shown
    assert "hush" not in shown


WRONG = {
    "a base": ("--base", "smolm2-135m", "did you mean 'smollm2-135m'"),
    "an adapter": ("--adapter", "nowhere", "no such adapter folder: nowhere"),
    "an expectation": ("--config", "mine.yaml", "suite.yaml:2: mine/one expects 'relevanse'*did you mean 'relevance'"),
}


@pytest.mark.parametrize("command", ["config", "check"])
@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_named_and_not_there_is_exit_code_2(project: Path, command: str, wrong: str) -> None:
    (project / "suite.yaml").write_text("category: mine\ncases: [{id: one, prompt: a, expect: {relevanse: 1}}]\n")
    (project / "mine.yaml").write_text("benchmark: {prompts: [suite.yaml]}\n")
    option, value, message = WRONG[wrong]
    done = llmbench(command, option, value)
    assert done.exit_code == 2
    assert fnmatch.fnmatch(done.output, f"*{message}*")


def test_calls_may_be_expected_where_cases_have_them(project: Path) -> None:
    case = "{id: one, prompt: a, tools: [{name: refund}], calls: [{name: refund}], expect: {calls: true}}"
    (project / "suite.yaml").write_text(f"category: mine\ncases: [{case}]\n")
    (project / "mine.yaml").write_text("benchmark: {prompts: [suite.yaml]}\n")
    done = llmbench("config", "--config", "mine.yaml")
    assert done.exit_code == 0, done.output


def test_metrics_of_a_conftest_are_left_to_pytest(project: Path) -> None:
    (project / "suite.yaml").write_text("category: mine\ncases: [{id: one, prompt: a, expect: {brevity: 1}}]\n")
    (project / "mine.yaml").write_text("benchmark: {prompts: [suite.yaml]}\n")
    (project / "conftest.py").write_text("def pytest_llmbench_metrics(registry): ...\n")
    assert llmbench("config", "--config", "mine.yaml").exit_code == 0


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ("gate: {metrics: [relevence]}", "did you mean 'relevance'"),
        ("gate: {kind: regression}\nmodel: {adapter: none}", "there is no fine-tune"),
    ],
)
def test_a_gate_that_could_judge_nothing_is_refused(project: Path, settings: str, told: str) -> None:
    (project / "mine.yaml").write_text(settings)
    for command in ("config", "check"):
        done = llmbench(command, "--config", "mine.yaml")
        assert (done.exit_code, done.stdout) == (2, "")
        assert told in done.stderr


def test_show_is_what_the_command_does_alone(project: Path) -> None:
    assert llmbench("config", "show").stdout == llmbench("config").stdout


def test_validate_checks_settings_and_the_files_of_a_server(project: Path) -> None:
    done = llmbench("config", "validate")
    assert (done.exit_code, done.stdout) == (0, "the defaults: right\n")
    (project / "mine.yaml").write_text("serving: {endpoints: {large: {url: 'http://127.0.0.1:1/v1'}}}")
    done = llmbench("config", "validate", "--config", "mine.yaml")
    assert (done.exit_code, done.stderr) == (
        2,
        "error: serving.endpoints: no model 'large'; choose from micro, mini, medium\n",
    )
    (project / "serving.yaml").write_text("model: micro")
    assert "serving.yaml:1: these are no settings of a server" in llmbench("config", "validate", "serving.yaml").stderr


def test_generate_writes_the_files_and_tells_why_and_not_twice(project: Path) -> None:
    words = ("config", "generate", "medium", "--max-context", "98304", "--memory", "48", "--output", "out")
    done = llmbench(*words)
    assert done.exit_code == 0, done.output
    assert "YaRN stretches 32768 by 3" in done.stdout
    names = {path.name for path in (project / "out/medium").iterdir()}
    assert names == {"serving.yaml", "docker-compose.yml", "serve.sh", "serving.env", "kubernetes.yaml"}
    again = llmbench(*words)
    assert (again.exit_code, again.stderr.count("\n")) == (2, 1)
    assert "exists; choose another folder or replace it (--output, --force)" in again.stderr
    assert llmbench(*words, "--force").exit_code == 0


@pytest.mark.parametrize(
    ("wishes", "code", "told"),
    [
        (("medum",), 2, "did you mean 'medium'"),
        (("micro", "--max-context", "50000"), 2, "micro reads at most 40960 tokens, not 50000; * (--max-context)"),
        (("micro", "--max-context", "0"), 2, "--max-context: serving.max_context: *give a whole number from 1"),
        (("medium", "--max-context", "131072"), 3, "needs 26.59 GB (*; max_context * would fit (--max-context, *)"),
        (("micro", "--arguments", "--api-key,hush"), 2, "--api-key: a key has no place in settings"),
        (("micro", "--arguments", "--api-key hush"), 2, "--api-key: a key has no place in settings"),
        (("micro", "--lora", "mine=org/mine"), 2, 'is not valid; give a mapping, written as {"key": value}'),
        (("micro", "--lora", '{"a": "x", "a": "y"}'), 2, '--lora: serving.lora: "a" is given twice; give it once'),
        (("micro", "--arguments", "--swap-space,4"), 2, "vLLM 0.32.0 has no --swap-space; * (--arguments)"),
    ],
)
def test_a_wish_that_cannot_be_met_names_the_option(wishes: tuple[str, ...], code: int, told: str) -> None:
    done = llmbench("config", "generate", *wishes, "--memory", "24", "--dry-run")
    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (code, "", 1)
    assert "hush" not in done.stderr
    assert fnmatch.fnmatch(done.stderr.replace("[", ""), f"*{told}*")


def test_generated_settings_are_a_document_for_programs() -> None:
    done = llmbench("config", "generate", "micro", "--engine", "llamacpp", "--memory", "8", "--dry-run", "--json")
    document = json.loads(done.stdout)
    assert (document["model"], document["launch"]["engine"]) == ("micro", "llamacpp")
    assert not Path("serving").exists()
