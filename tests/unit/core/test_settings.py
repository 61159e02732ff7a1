"""Settings: who decides, and what is said about each wrong key or value."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pytest_llmbench.core.errors import UsageError
from pytest_llmbench.core.settings import OPTIONS, RESERVED, Settings, TargetSettings, load_settings

SHIPPED = Path(__file__).parents[3] / "configs" / "llmbench.yaml"


def write(folder: Path, content: str, name: str = "s.yaml") -> Path:
    path = folder / name
    path.write_text(content, encoding="utf-8")
    return path


def faults_of(path: Path | None, overrides: dict[str, tuple[str, str]], environ: dict[str, str]) -> list[str]:
    with pytest.raises(UsageError) as caught:
        load_settings(path, overrides, environ)
    return str(caught.value).replace(f"{path}:", "s:").splitlines()


def value_at(settings: Settings, dotted: str) -> Any:
    section, key = dotted.split(".")
    return getattr(getattr(settings, section), key)


def test_without_anything_the_defaults_hold() -> None:
    assert load_settings(None, {}, {}) == Settings()


def test_the_shipped_file_shows_every_setting_with_its_default() -> None:
    assert load_settings(SHIPPED, {}, {}) == Settings()
    shown = yaml.safe_load(SHIPPED.read_text(encoding="utf-8"))
    assert {section: list(keys) for section, keys in shown.items()} == {
        section: list(keys) for section, keys in Settings().model_dump().items()
    }


@pytest.mark.parametrize("lengths", ["[256, 512]", "256,512", "'256, 512'", "\n    - 256\n    - 512"])
def test_lengths_of_a_file_are_a_list_or_a_text(tmp_path: Path, lengths: str) -> None:
    assert load_settings(write(tmp_path, f"context:\n  lengths: {lengths}\n"), {}, {}).context.lengths == (256, 512)


def test_the_command_line_wins_over_the_environment_over_the_file_over_the_default(tmp_path: Path) -> None:
    path = write(tmp_path, "generation: {epochs: 2, seed: 2, top_p: 0.2}")
    environ = {"LLMBENCH_EPOCHS": "3", "LLMBENCH_GENERATION__SEED": "3"}
    generation = load_settings(path, {"epochs": ("4", "--llmbench-epochs")}, environ).generation
    assert (generation.epochs, generation.seed, generation.top_p, generation.temperature) == (4, 3, 0.2, 0.7)


@pytest.mark.parametrize("name", ["s.yaml", "s.yml", "s.json"])
def test_a_file_may_be_yaml_or_json(tmp_path: Path, name: str) -> None:
    path = write(tmp_path, json.dumps({"model": {"base": "été"}, "server": {"headers": {"X-A": "b"}}}), name)
    settings = load_settings(path, {}, {})
    assert (settings.model.base, settings.server.headers) == ("été", {"X-A": "b"})


@pytest.mark.parametrize("content", ["", "# nothing\n", "generation:\nmodel:\n  # base: x\n"])
def test_a_file_with_everything_commented_out_changes_nothing(tmp_path: Path, content: str) -> None:
    assert load_settings(write(tmp_path, content), {}, {}) == Settings()


def test_paths_stay_relative_to_the_current_directory(tmp_path: Path) -> None:
    settings = load_settings(write(tmp_path, "output: {report_dir: out}\nbenchmark: {prompts: [a, b/c.yaml]}"), {}, {})
    assert settings.output.report_dir == Path("out")
    assert settings.benchmark.prompts == (Path("a"), Path("b/c.yaml"))


@pytest.mark.parametrize(
    ("key", "raw", "expected"),
    [
        ("batch-size", "auto", "auto"),
        ("batch-size", "8", 8),
        ("limit", "none", None),
        ("adapter", "none", "none"),
        ("quantization", "none", "none"),
        ("server.tool_choice", "none", "none"),
        ("server.tool_choice", "null", None),
        ("server.tool_choice", "volume_up", "volume_up"),
        ("generation.temperature", "0", 0.0),
        ("output.json", "off", False),
        ("generation.cache", "false", False),
        ("prompts", "a, b", (Path("a"), Path("b"))),
        ("prompts", '["a,b"]', (Path("a,b"),)),
        ("benchmark.categories", "x,y", ("x", "y")),
        ("model.device_map", "auto", "auto"),
        ("model.device_map", '{"lm_head": 0}', {"lm_head": 0}),
        ("server.adapter_body", '{"lora": [{"id": 0}]}', {"lora": [{"id": 0}]}),
        ("model.revision", "7", "7"),
        ("model.adapter", "a,b", "a,b"),
        ("model.adapter", '["a", "b"]', ("a", "b")),
        ("model.adapter", '["a"]', "a"),
        ("gate.margins", '{"relevance": 0.1}', {"relevance": 0.1}),
        ("quantile", "0.9", 0.9),
        ("quantile", "strict", "strict"),
        ("load.temperatures", "0, 0.5", (0.0, 0.5)),
        ("load.targets", '[{"url": "u", "model": "m"}]', (TargetSettings(url="u", model="m"),)),
    ],
)
def test_the_text_of_an_option_becomes_the_settings_kind(key: str, raw: str, expected: object) -> None:
    settings = load_settings(None, {key: (raw, "--option")}, {})
    assert value_at(settings, OPTIONS.get(key, key)) == expected


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_has_its_variable_in_the_environment(option: str) -> None:
    variable = f"LLMBENCH_{option.upper().replace('-', '_')}"
    odd = {
        "engine": "vllm",
        "quantization": "int8",
        "device": "cpu",
        "gate": "regression",
        "alpha": "0.1",
        "quantile": "strict",
        "strict": "true",
        "confirm": "true",
    }
    raw = odd.get(option, "7")
    given_by_name = load_settings(None, {option: (raw, "--option")}, {})
    assert load_settings(None, {}, {variable: raw}) == given_by_name != Settings()


FILE_FAULTS = [
    ("generation:\n  temprature: 1", "s:2: unknown key 'temprature' in 'generation'; did you mean 'temperature'?"),
    ("benchmark:\n  epochs: 3", "s:2: unknown key 'epochs' in 'benchmark'; it belongs in the section 'generation'"),
    (
        "output:\n  zzz: 3",
        (
            "s:2: unknown key 'zzz' in 'output'; choose from "
            "report_dir, json, png, text, html, markdown, language, answer_chars"
        ),
    ),
    ("\nmodle: {}", "s:2: unknown section 'modle'; did you mean 'model'?"),
    ("epochs: 3", "s:1: unknown section 'epochs'; it belongs in the section 'generation'"),
    ("metrics: true", "s:1: metrics: is a section; write its keys below it: cosine_similarity, keywords,"),
    ("- model", "s:1: a settings file is a mapping of the sections model, generation,"),
    ("model:\n  quantization: nf5", 's:2: model.quantization: "nf5" is not valid; give one of nf4, int8, none'),
    ("model:\n  base: ''", 's:2: model.base: "" is not valid; give a text'),
    ("model:\n  trust_remote_code: yse", 's:2: model.trust_remote_code: "yse" is not valid; give true or false'),
    ("model:\n  trust_remote_code: 1", "s:2: model.trust_remote_code: 1 is not valid; give true or false"),
    (
        "model:\n  template_arguments: {tokenize: false}",
        "s:2: model.template_arguments: tokenize is set by llmbench itself; give arguments of the chat template only",
    ),
    ("generation:\n  epochs: true", "s:2: generation.epochs: true is not valid; give a whole number from 1"),
    ("generation:\n  epochs: '3'", 's:2: generation.epochs: "3" is not valid; give a whole number from 1'),
    ("generation:\n  epochs: 0", "s:2: generation.epochs: 0 is not valid; give a whole number from 1"),
    ("generation:\n  max_new_tokens: 0", "s:2: generation.max_new_tokens: 0 is not valid; give a whole number from 1"),
    ("generation:\n  max_new_tokens:", "s:2: generation.max_new_tokens: null is not valid; give a whole number from 1"),
    ("generation:\n  temperature: -0.1", "s:2: generation.temperature: -0.1 is not valid; give a number from 0"),
    ("generation:\n  temperature: 1e999", "s:2: generation.temperature: Infinity is not valid; give a number from 0"),
    ("generation:\n  top_p: 0", "s:2: generation.top_p: 0 is not valid; give a number above 0 and up to 1"),
    ("generation:\n  top_p: 1.5", "s:2: generation.top_p: 1.5 is not valid; give a number above 0 and up to 1"),
    (
        "generation:\n  batch_size: atuo",
        's:2: generation.batch_size: "atuo" is not valid; give auto or a whole number from 1',
    ),
    ("generation:\n  batch_size: 0", "s:2: generation.batch_size: 0 is not valid; give auto or a whole number from 1"),
    ("gate:\n  margins: {relevance: x}", 's:2: gate.margins.relevance: "x" is not valid; give a number'),
    (
        "load:\n  targets:\n    - {url: http://a, modl: b}",
        "s:3: load.targets: there is no 'targets.0.modl'; did you mean 'model'?",
    ),
    ("load:\n  targets: [{model: b}]", "s:2: load.targets.0.url: is missing; give a text"),
    (
        "serving:\n  endpoints:\n    a: http://x/v1",
        's:3: serving.endpoints.a: "http://x/v1" is not valid; give a mapping',
    ),
    ("server:\n  headers: {a: [secret]}", "s:2: server.headers: its value is not valid; give a mapping"),
    ("benchmark:\n  prompts: []", "s:2: benchmark.prompts: [] is not valid; give a list of at least one text"),
    (
        "benchmark:\n  categories:\n    - a\n    - 3",
        's:4: benchmark.categories: ["a", 3] is not valid; give a list of texts or null',
    ),
    ("tune:\n  vary: {slots: 4}", "s:2: tune.vary.slots: 4 is not valid; give a list of values"),
    ("server:\n  base_body: {api_key: s3cret}", "s:2: server.base_body: api_key would be shown by reports"),
    (
        "server:\n  adapter_body: {extra_headers: {X-Api-Key: s3cret}}",
        "s:2: server.adapter_body: X-Api-Key would be shown by reports",
    ),
    ("server:\n  headers: {authorization: s3cret}", "s:2: server.headers: a key has no place in settings"),
    ("server:\n  headers: Bearer s3cret", "s:2: server.headers: its value is not valid; give a mapping"),
]


@pytest.mark.parametrize(("content", "told"), FILE_FAULTS)
def test_each_fault_of_a_file_is_one_line_with_key_and_choices(tmp_path: Path, content: str, told: str) -> None:
    (fault,) = faults_of(write(tmp_path, content), {}, {})
    assert fault.startswith(told)
    assert "s3cret" not in fault


def test_faults_of_file_environment_and_options_are_told_together(tmp_path: Path) -> None:
    path = write(tmp_path, "server:\n  retries: -1\ngeneration:\n  seed: x\n  sed: 1\n")
    told = faults_of(path, {"limit": ("0", "--llmbench-limit"), "nope": ("1", "-o")}, {"LLMBENCH_DEVICE": "tpu"})
    assert [line.split(": ")[0] for line in told] == ["s:2", "s:4", "s:5", "LLMBENCH_DEVICE", "--llmbench-limit", "-o"]


@pytest.mark.parametrize(
    ("environ", "told"),
    [
        (
            {"LLMBENCH_EPOCHZ": "1"},
            "LLMBENCH_EPOCHZ: unknown variable of the environment; did you mean 'LLMBENCH_EPOCHS'?",
        ),
        (
            {"LLMBENCH_GENERATION__SED": "1"},
            "LLMBENCH_GENERATION__SED: unknown variable of the environment; did you mean 'LLMBENCH_GENERATION__SEED'?",
        ),
        (
            {"LLMBENCH_LANGUAGE": "fr"},
            "LLMBENCH_LANGUAGE: unknown variable of the environment; did you mean 'LLMBENCH_OUTPUT__LANGUAGE'?",
        ),
        (
            {"LLMBENCH_TEMPERATURE": "0"},
            ("LLMBENCH_TEMPERATURE: unknown variable of the environment; "
             "did you mean 'LLMBENCH_GENERATION__TEMPERATURE'?"),
        ),
        (
            {"LLMBENCH_SERVER_URL": "x"},
            "LLMBENCH_SERVER_URL: unknown variable of the environment; did you mean 'LLMBENCH_SERVER__URL'?",
        ),
        (
            {"LLMBENCH_LOAD__LANGUAGE": "fr"},
            "LLMBENCH_LOAD__LANGUAGE: unknown variable of the environment; did you mean 'LLMBENCH_OUTPUT__LANGUAGE'?",
        ),
        (
            {"LLMBENCH_LANGAGE": "fr"},
            "LLMBENCH_LANGAGE: unknown variable of the environment; did you mean 'LLMBENCH_OUTPUT__LANGUAGE'?",
        ),
        (
            {"LLMBENCH_PORT": "8080"},
            ("LLMBENCH_PORT: unknown variable of the environment; "
             "did you mean 'LLMBENCH_SERVING__PORT' or 'LLMBENCH_STUDIO__PORT'?"),
        ),
        (
            {"LLMBENCH_APIKEY": "x"},
            "LLMBENCH_APIKEY: unknown variable of the environment; did you mean 'LLMBENCH_API_KEY'?",
        ),
        ({"LLMBENCH_SEED": "x"}, 'LLMBENCH_SEED: generation.seed: "x" is not valid; give a whole number from 0'),
        (
            {"LLMBENCH_METRICS__LATENCY_S": "flase"},
            'LLMBENCH_METRICS__LATENCY_S: metrics.latency_s: "flase" is not valid; give true or false',
        ),
        (
            {"LLMBENCH_SERVER__BASE_BODY": "{lora"},
            ('LLMBENCH_SERVER__BASE_BODY: server.base_body: "{lora" is not valid; give a mapping or null, '
            'written as {"key": value}'),
        ),
        (
            {"LLMBENCH_GATE__METRICS": "[keywords]"},
            ('LLMBENCH_GATE__METRICS: gate.metrics: "[keywords]" is not valid; give a list of at least one text, '
            'written as a,b or as ["a", "b"]'),
        ),
        (
            {"LLMBENCH_SEED": "1", "LLMBENCH_GENERATION__SEED": "1"},
            "LLMBENCH_SEED: generation.seed is also given by LLMBENCH_GENERATION__SEED; keep one of them",
        ),
        (
            {"LLMBENCH_NO_CACHE": "maybe"},
            'LLMBENCH_NO_CACHE: generation.cache: "maybe" is not valid; give true or false',
        ),
        (
            {"LLMBENCH_RESUME": "latest"},
            "LLMBENCH_RESUME: a run is resumed on the command line alone; unset this variable",
        ),
    ],
)  # fmt: skip
def test_each_fault_of_the_environment_names_its_variable(environ: dict[str, str], told: str) -> None:
    assert faults_of(None, {}, environ) == [told]


@pytest.mark.parametrize("given", ["1", "Yes"])
def test_the_variable_against_the_cache_means_the_opposite_of_its_setting(given: str) -> None:
    assert load_settings(None, {}, {"LLMBENCH_NO_CACHE": given}).generation.cache is False


@pytest.mark.parametrize("given", ["false", "0"])
@pytest.mark.parametrize("cache", [True, False])
def test_where_it_says_no_the_settings_file_decides(tmp_path: Path, given: str, cache: bool) -> None:  # noqa: FBT001
    file = tmp_path / "llmbench.yaml"
    file.write_text(f"generation:\n  cache: {str(cache).lower()}\n")
    assert load_settings(file, {}, {"LLMBENCH_NO_CACHE": given}).generation.cache is cache


def test_reserved_empty_and_foreign_variables_are_left_alone() -> None:
    environ = {**dict.fromkeys(RESERVED, "x"), "LLMBENCH_SERVER": " ", "PATH": "/bin", "LLMBENCHMARK": "1"}
    assert load_settings(None, {}, environ) == Settings()


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings().generation.epochs = 2


def test_the_dump_for_reports_hides_the_values_of_headers() -> None:
    settings = load_settings(None, {"server.headers": ('{"X-Key": "s3cret"}', "-o")}, {})
    assert settings.server.headers == {"X-Key": "s3cret"}
    dump = settings.model_dump(mode="json")
    assert dump["server"]["headers"] == {"X-Key": "***"}
    assert "s3cret" not in json.dumps(dump) + repr(settings)


def test_a_dump_without_headers_is_a_file_that_gives_the_same_settings(tmp_path: Path) -> None:
    settings = load_settings(None, {"prompts": ("a,b", "-o"), "limit": ("3", "-o")}, {})
    assert load_settings(write(tmp_path, settings.model_dump_json(), "s.json"), {}, {}) == settings


@given(
    key=st.sampled_from([f"{section}.{key}" for section, keys in Settings().model_dump().items() for key in keys]),
    raw=st.text(max_size=12) | st.sampled_from(["{", "[", "[]", "{}", "[1]", '{"a": []}', "nan", "inf", "-1", "1e400"]),
)
def test_any_text_is_a_value_or_one_message(key: str, raw: str) -> None:
    told = ""
    try:
        load_settings(None, {key: (raw, "--option")}, {})
    except UsageError as error:
        told = str(error)
    assert re.fullmatch(rf"(--option: {key}: .+)?", told)


_EMPTY = 'the path is empty, as an unset variable of a shell is; name a file or folder, "." for this one'


@pytest.mark.parametrize(
    "key",
    [
        *("model.adapters_dir", "benchmark.vocabulary", "output.report_dir", "load.conversations", "load.out"),
        *("serving.out", "finetune.dataset", "finetune.heldout", "studio.folder"),
    ],
)
def test_an_empty_path_is_not_the_current_folder(key: str) -> None:
    assert faults_of(None, {key: ("", "-o")}, {}) == [f"-o: {key}: {_EMPTY}"]
    assert value_at(load_settings(None, {key: (".", "-o")}, {}), key) == Path()


def test_none_of_several_paths_is_empty(tmp_path: Path) -> None:
    given = '["prompts", ""]', "--prompts"
    assert faults_of(None, {"prompts": given}, {}) == [f"--prompts: benchmark.prompts: {_EMPTY}"]
    path = write(tmp_path, 'benchmark: {prompts: [prompts, ""]}')
    assert faults_of(path, {}, {}) == [f"s:1: benchmark.prompts: {_EMPTY}"]
