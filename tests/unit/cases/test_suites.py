"""Suites, rows and the vocabulary: what is read from each format, and what is said about each fault."""

from __future__ import annotations

import csv
import io
import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_llmbench.cases import validation
from pytest_llmbench.cases.suites import Case, Vocabulary, load_cases, load_vocabulary
from pytest_llmbench.core.errors import UsageError

VOCABULARY = Vocabulary({"volume_up": ("son", "volume"), "light_on": ("lumière",)})
SCHEMA = json.loads((files("pytest_llmbench") / "schemas/suite.schema.json").read_text(encoding="utf-8"))

SUITE = """\
category: routing
language: fr
system: Tu es un assistant.
cases:
  - id: volume-up
    prompt: monte le son
    keywords: [volume, augmente]
    tool: volume_up
    expect: {tool_accuracy: true, keywords: 0.5}
  - id: 2
    reference: Bonjour.
    messages:
      - {role: user, content: salut}
      - role: assistant
        content: oui ?
      - role: user
        content: dis bonjour
"""


def write(folder: Path, name: str, content: str) -> Path:
    path = folder / name
    path.write_text(content, encoding="utf-8")
    return path


def load(path: Path, vocabulary: Vocabulary | None = VOCABULARY) -> list[Case]:
    return load_cases([path], vocabulary)


def faults_of(path: Path, vocabulary: Vocabulary | None = VOCABULARY) -> list[str]:
    with pytest.raises(UsageError) as caught:
        load_cases([path], vocabulary)
    return str(caught.value).replace(f"{path.parent}/", "").splitlines()


def without_source(cases: list[Case]) -> list[dict[str, Any]]:
    return [{name: getattr(case, name) for name in Case.__slots__ if name != "source"} for case in cases]


def test_a_suite_gives_complete_cases(tmp_path: Path) -> None:
    path = write(tmp_path, "a.yaml", SUITE)
    first, second = load(path)
    system = {"role": "system", "content": "Tu es un assistant."}
    assert first == Case(
        category="routing",
        id="volume-up",
        prompt="monte le son",
        messages=(system, {"role": "user", "content": "monte le son"}),
        keywords=("volume", "augmente"),
        tool="volume_up",
        expect={"tool_accuracy": True, "keywords": 0.5},
        language="fr",
        source=f"{path}:5",
    )
    assert first.name == "routing/volume-up"
    assert (second.id, second.prompt, second.reference, second.source) == ("2", "dis bonjour", "Bonjour.", f"{path}:10")
    assert [message["role"] for message in second.messages] == ["system", "user", "assistant", "user"]


def test_a_json_suite_is_the_same_as_its_yaml(tmp_path: Path) -> None:
    path = write(tmp_path, "a.json", json.dumps({"$schema": "suite.schema.json", **yaml.safe_load(SUITE)}))
    assert without_source(load(path)) == without_source(load(write(tmp_path, "a.yaml", SUITE)))


def test_a_case_with_its_own_system_message_does_not_get_the_suites(tmp_path: Path) -> None:
    messages = [{"role": "system", "content": "Sois bref."}, {"role": "user", "content": "salut"}]
    suite = {"category": "a", "system": "Sois long.", "cases": [{"id": "x", "messages": messages}]}
    (case,) = load(write(tmp_path, "a.json", json.dumps(suite)))
    assert case.messages == tuple(messages)


def test_cases_can_be_kept_in_sets(tmp_path: Path) -> None:
    cases = load(write(tmp_path, "a.yaml", SUITE))
    assert len({*cases, *load(tmp_path / "a.yaml")}) == 2


def case_fault(line: str) -> str:
    return f"category: a\ncases:\n  - id: x\n    prompt: salut\n    {line}\n"


def case_with_messages(*messages: str) -> str:
    return "\n      - ".join(["category: a\ncases:\n  - id: x\n    messages:", *messages])


SUITE_FAULTS = {
    "unknown key of a suite": (
        "category: a\nlangage: fr\ncases: [{id: x, prompt: p}]",
        "2: unknown key 'langage'; did you mean",
    ),
    "no category": ("cases: [{id: x, prompt: p}]", "1: the suite needs 'category'"),
    "category of another kind": ("\ncategory: [a]\ncases: [{id: x, prompt: p}]", "2: category: must be text"),
    "no cases": ("category: a", "1: the suite needs 'cases'"),
    "empty suite": ("category: a\ncases: []", "2: cases: must be a list of at least one case"),
    "cases as a mapping": ("category: a\ncases: {x: {prompt: p}}", "2: cases: must be a list"),
    "empty file": ("", "1: a suite is a mapping with the keys 'category' and 'cases'"),
    "a list": ("- a", "1: a suite is a mapping"),
    "empty system prompt": ("category: a\nsystem: ''\ncases: [{id: x, prompt: p}]", "2: system: is empty"),
    "a case that is text": ("category: a\ncases:\n  - salut", "3: not a case: 'salut'"),
    "unknown key of a case": (case_fault("keyword: [a]"), "5: unknown key 'keyword'; did you mean 'keywords'?"),
    "a heading's key in a case": (case_fault("category: b"), "5: unknown key 'category'; choose from id, prompt,"),
    "no id": ("category: a\ncases:\n  - prompt: salut", "3: needs 'id'"),
    "id with a blank": ("category: a\ncases:\n  - prompt: p\n    id: x y", "4: id: 'x y' would break a pytest id"),
    "id with a slash": ("category: a\ncases:\n  - prompt: p\n    id: x/y", "4: id: 'x/y' would break a pytest id"),
    "id with an accent": ("category: a\ncases:\n  - prompt: p\n    id: été", "4: id: 'été' would break a pytest id"),
    "id that is a number with a point": (
        "category: a\ncases:\n  - prompt: p\n    id: 1.10",
        "4: id: must be text, not 1.1; put it in quotes",
    ),
    "neither prompt nor messages": ("category: a\ncases:\n  - id: x", "3: needs either 'prompt' or 'messages'"),
    "both prompt and messages": (
        case_fault("messages: [{role: user, content: p}]"),
        "3: needs either 'prompt' or 'messages', not both",
    ),
    "empty prompt": ("category: a\ncases:\n  - id: x\n    prompt: ' '", "4: prompt: is empty"),
    "prompt left open": ("category: a\ncases:\n  - id: x\n    prompt:", "4: prompt: must be text, not None"),
    "prompt that is a number": (
        "category: a\ncases:\n  - id: x\n    prompt: 7",
        "4: prompt: must be text, not 7; put it in quotes",
    ),
    "keywords as text": (case_fault("keywords: son"), "5: keywords: must be a list of texts, not 'son'"),
    "keyword that is a number": (
        case_fault("keywords:\n      - a\n      - 7"),
        "7: keywords: item 2 must be text, not 7; put it in quotes",
    ),
    "empty keyword": (case_fault("keywords: ['']"), "5: keywords: item 1 is empty"),
    "keyword twice": (case_fault("keywords:\n      - son\n      - son"), "7: keywords: 'son' appears twice"),
    "tool that is a list": (case_fault("tool: [volume_up]"), "5: tool: must be text"),
    "expect as text": (case_fault("expect: tool"), "5: expect: must map metrics to true or a least score"),
    "expect false": (case_fault("expect:\n      tool: false"), "6: expect: tool must be true (score 1) or a number"),
    "messages left empty": (
        "category: a\ncases:\n  - id: x\n    messages: []",
        "4: messages: must be a list of messages",
    ),
    "message with another key": (
        case_with_messages("{role: user, text: p}"),
        "5: messages: message 1: needs exactly 'role' and 'content'",
    ),
    "unknown role": (
        case_with_messages("{role: usr, content: p}"),
        "5: messages: message 1: unknown role 'usr'; did you mean 'user'?",
    ),
    "late system message": (
        case_with_messages("{role: user, content: p}", "{role: system, content: p}"),
        "6: messages: message 2: a system message can only be the first",
    ),
    "message without content": (
        case_with_messages("role: user\n        content: ''"),
        "6: messages: message 1: content is empty",
    ),
}
LOADER_ONLY_FAULTS = {
    "id twice": (
        "category: a\ncases:\n  - {id: x, prompt: p}\n  - prompt: q\n    id: x",
        "5: the id 'x' is already taken on line 3",
    ),
    "unknown tool": (case_fault("tool: volume_upp"), "5: tool: 'volume_upp' is unknown; did you mean 'volume_up'?"),
    "keyword twice but for case": (case_fault("keywords: [son, Son]"), "5: keywords: 'Son' appears twice"),
    "answer at the end": (
        case_with_messages("{role: user, content: p}", "{role: assistant, content: p}"),
        "6: messages: the last message must be the user's",
    ),
    "endless score": (case_fault("expect: {tool: 1e999}"), "5: expect: tool must be true (score 1) or a number"),
}
ALL_FAULTS = {**SUITE_FAULTS, **LOADER_ONLY_FAULTS}


@pytest.mark.parametrize(("content", "told"), ALL_FAULTS.values(), ids=ALL_FAULTS)
def test_each_fault_of_a_suite_is_one_message_with_its_line(tmp_path: Path, content: str, told: str) -> None:
    (fault,) = faults_of(write(tmp_path, "a.yaml", content))
    assert fault.startswith(f"a.yaml:{told}")


@pytest.mark.parametrize("content", [content for content, _ in SUITE_FAULTS.values()], ids=SUITE_FAULTS)
def test_the_schema_refuses_what_the_loader_refuses(content: str) -> None:
    assert not jsonschema.Draft7Validator(SCHEMA).is_valid(yaml.safe_load(content))


def test_the_schema_is_valid_and_accepts_good_suites() -> None:
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    jsonschema.validate(yaml.safe_load(SUITE), SCHEMA)


def test_the_schema_knows_the_keys_that_the_loader_knows() -> None:
    assert SCHEMA["properties"].keys() == validation.SUITE_CHECKS.keys()
    assert SCHEMA["definitions"]["case"]["properties"].keys() == validation.CASE_CHECKS.keys()
    assert SCHEMA["definitions"]["message"]["properties"]["role"]["enum"] == list(validation._ROLES)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.yaml", "category: a\ncases:\n  - {id: x, prompt: hi, group: lights}\n  - {id: y, prompt: ho, group: 7}\n"),
        ("a.jsonl", '{"id": "x", "prompt": "hi", "group": "lights"}\n{"id": "y", "prompt": "ho", "group": 7}\n'),
        ("a.csv", "id,prompt,group\nx,hi,lights\ny,ho,7\n"),
    ],
)
def test_cases_may_belong_to_a_group(tmp_path: Path, name: str, content: str) -> None:
    assert [case.group for case in load(write(tmp_path, name, content))] == ["lights", "7"]


def test_all_faults_of_all_files_are_told_together(tmp_path: Path) -> None:
    write(tmp_path, "a.yaml", "category: a\ncases:\n  - id: x\n  - id: y z\n    prompt: ''\n")
    write(tmp_path, "b.yaml", "category: [")
    write(tmp_path, "c.jsonl", '{"prompt": "p"}\n{"prompt": "p", "tool": "nope"}\n{\n')
    with pytest.raises(UsageError) as caught:
        load_cases([tmp_path, tmp_path / "gone.yaml"], VOCABULARY)
    places = [line.replace(f"{tmp_path}/", "").split(": ")[0] for line in str(caught.value).splitlines()]
    assert places == ["gone.yaml", "a.yaml:3", "a.yaml:4", "a.yaml:5", "b.yaml:1", "c.jsonl:2", "c.jsonl:3"]


def test_faults_beyond_twenty_are_counted(tmp_path: Path) -> None:
    told = faults_of(write(tmp_path, "a.jsonl", '{"id": 1}\n' * 25))
    assert len(told) == 21
    assert told[-1] == "... and 5 more"


def test_a_category_belongs_to_one_file(tmp_path: Path) -> None:
    write(tmp_path, "a.yaml", "category: same\ncases: [{id: x, prompt: p}]")
    write(tmp_path, "b.yaml", "language: fr\ncategory: same\ncases: [{id: y, prompt: p}]")
    with pytest.raises(UsageError, match=r"b\.yaml:2: category 'same' is already in .*a\.yaml; give one of them"):
        load_cases([tmp_path], VOCABULARY)


def test_a_file_given_twice_is_read_once(tmp_path: Path) -> None:
    path = write(tmp_path, "a.yaml", SUITE)
    assert load_cases([tmp_path, path, str(path)], VOCABULARY) == load(path)


def test_a_folder_means_its_suites_in_order_but_not_the_vocabulary(tmp_path: Path) -> None:
    for name in ("b.yaml", "a.yml", ".hidden.yaml"):
        write(tmp_path, name, f"category: {name[0]}\ncases: [{{id: x, prompt: p}}]")
    write(tmp_path, "c.jsonl", '{"prompt": "p"}')
    write(tmp_path, "README.md", "not a suite")
    write(tmp_path, "tools.yaml", "tools: {volume_up: [son]}")
    other = write(tmp_path, "vocabulary.yaml", "tools: {volume_up: [son]}")
    assert [case.category for case in load(tmp_path, load_vocabulary(other))] == ["a", "b", "c"]


def test_paths_that_hold_no_cases_are_refused(tmp_path: Path) -> None:
    assert "no such file or folder" in faults_of(tmp_path / "gone.yaml")[0]
    assert "give .yaml, .yml, .json, .jsonl, .csv" in faults_of(write(tmp_path, "a.txt", "salut"))[0]
    (tmp_path / "empty").mkdir()
    assert "this folder holds no suite" in faults_of(tmp_path / "empty")[0]
    with pytest.raises(UsageError, match="no prompts were given"):
        load_cases([], VOCABULARY)


def test_a_tool_needs_a_vocabulary(tmp_path: Path) -> None:
    path = write(tmp_path, "a.jsonl", '{"prompt": "p"}\n{"prompt": "p", "tool": "volume_up"}')
    (fault,) = faults_of(path, None)
    assert fault.startswith("a.jsonl:2: tool: 'volume_up' cannot be checked without a vocabulary")


def test_jsonl_rows_default_to_the_files_name_and_the_line(tmp_path: Path) -> None:
    last = '{"prompt": "b\u2028c", "id": 7, "category": "other", "system": "s"}'
    rows = ['\ufeff{"prompt": "a", "tool": null}', "", last, ""]
    first, second = load(write(tmp_path, "mes-cas.jsonl", "\r\n".join(rows)))
    assert (first.name, first.prompt, first.tool) == ("mes-cas/1", "a", None)
    assert (second.name, second.prompt, second.source) == ("other/7", "b\u2028c", f"{tmp_path}/mes-cas.jsonl:3")
    assert second.messages[0] == {"role": "system", "content": "s"}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("\n\n", "1: the file holds no case"),
        ('\n["a"]', "2: a case is an object with at least 'prompt', not ['a']"),
        ('{"prompt": "a"}\n{"prompt": "b"', "2: not valid JSON"),
        ('{"prompt": "a", "prompt": "b"}', "1: not valid JSON: the key 'prompt' appears twice"),
        ('{"prompt": "a"}\n{"prompt": "b", "id": 1}', "2: the id '1' is already taken on line 1"),
        ('{"prompt": null}', "1: needs either 'prompt' or 'messages'"),
        ('{"prompt": "a", "cases": []}', "1: unknown key 'cases'; did you mean 'calls'?"),
    ],
)
def test_each_fault_of_a_jsonl_file_is_one_message_with_its_line(tmp_path: Path, content: str, told: str) -> None:
    (fault,) = faults_of(write(tmp_path, "a.jsonl", content))
    assert fault.startswith(f"a.jsonl:{told}")


@pytest.mark.parametrize("name", ["a.jsonl", "mes cas.jsonl"])
@pytest.mark.parametrize(
    ("head", "told"),
    [
        ({"tools": 5, "category": "a"}, "1: tools: must be a list of tools"),
        ({"tools": [{"description": "x"}], "category": "a"}, "1: tools: tool 1: a tool's name has letters"),
        ({"category": {"a": 1}}, "1: category: must be text"),
        ({"language": 5, "category": "a"}, "1: language: must be text"),
        (
            {"category": "a", "tools": [{"name": "x", "parameters": "y"}]},
            "1: tools: tool 1: parameters: must be a JSON schema",
        ),
    ],
)
def test_what_is_wrong_in_the_head_of_a_jsonl_file_is_told_once(
    tmp_path: Path, name: str, head: dict[str, Any], told: str
) -> None:
    rows = [head, {"prompt": "p"}, {"prompt": "q"}]
    (fault,) = faults_of(write(tmp_path, name, "\n".join(map(json.dumps, rows))))
    assert fault.startswith(f"{name}:{told}")


def test_a_head_alone_is_no_case(tmp_path: Path) -> None:
    other = write(tmp_path, "b.jsonl", '{"prompt": "p"}')
    path = write(tmp_path, "a.jsonl", '{"category": "a"}\n')
    with pytest.raises(UsageError, match=r"a\.jsonl:1: the file holds no case"):
        load_cases([path, other])


@pytest.mark.parametrize("name", ["mes cas.jsonl", "mes cas.csv"])
def test_a_files_name_that_cannot_be_a_category_asks_for_one(tmp_path: Path, name: str) -> None:
    content = '{"prompt": "p"}' if name.endswith("jsonl") else "prompt\np"
    (fault,) = faults_of(write(tmp_path, name, content))
    assert "needs 'category', since the file's name 'mes cas' cannot be one" in fault


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_csv_is_read_as_spreadsheets_write_it(tmp_path: Path, delimiter: str) -> None:
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, lineterminator="\r\n")
    writer.writerows([["prompt", "keywords", "tool"], ["monte\nle son", "volume; son |", "volume_up"], ["", "", ""]])
    writer.writerow(['dis, "oui"; non', "", ""])
    first, second = load(write(tmp_path, "a.csv", "\ufeff" + out.getvalue()))
    assert (first.name, first.prompt, first.keywords, first.tool) == (
        "a/2",
        "monte\nle son",
        ("volume", "son"),
        "volume_up",
    )
    assert (second.name, second.prompt, second.keywords, second.tool) == ("a/5", 'dis, "oui"; non', (), None)


def test_csv_has_what_excel_and_pandas_put_round_it(tmp_path: Path) -> None:
    rows = f"sep=;\r\n;prompt;reference;\r\n0;monte;Oui.;\r\n1;{'x' * 200_000};;\r\n;;;\r\n"
    first, second = load(write(tmp_path, "a.csv", rows))
    assert (first.name, first.prompt, first.reference) == ("a/3", "monte", "Oui.")
    assert (second.name, len(second.prompt), second.reference) == ("a/4", 200_000, None)


def test_keys_that_arrow_writes_as_null_are_left_out_of_messages_too(tmp_path: Path) -> None:
    row = {"messages": [{"role": "user", "content": "monte", "tool_calls": None}], "expect": {"tool": None}}
    (case,) = load(write(tmp_path, "a.jsonl", json.dumps(row)))
    assert (case.messages, case.expect) == (({"role": "user", "content": "monte"},), {})


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "1: the file holds no case"),
        ("prompt,tool\n", "1: the file holds no case"),
        ("\nprompt,tols\np,volume_up", "2: unknown column 'tols' in the header; did you mean 'tools'?"),
        ("prompt,prompt\np,q", "1: the header names a column twice"),
        ("prompt,tool\n\np", "3: has 1 cell where the header has 2"),
        ('prompt,tool\n"a\nb",\nq,nope', "4: tool: 'nope' is unknown"),
        ('prompt,tool\np,\n"never closed,\nq,\n', "3: not valid CSV: unexpected end of data"),
        ("prompt,expect\np,{tool: true}", "2: not valid JSON"),
        ("messages\n\"[{'role': 'user', 'content': 'a'}]\"", "2: a list of messages written as Python text"),
    ],
)
def test_each_fault_of_a_csv_file_is_one_message_with_its_line(tmp_path: Path, content: str, told: str) -> None:
    (fault,) = faults_of(write(tmp_path, "a.csv", content))
    assert fault.startswith(f"a.csv:{told}")


texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cn", "Cs"]) | st.just("\n"), min_size=1)
prose = texts.filter(lambda text: not text.isspace())
words = prose.map(str.strip).filter(lambda word: word and not {";", "|"} & {*word})
conversation = st.lists(prose, min_size=1, max_size=3).map(
    lambda turns: [
        {"role": "assistant" if (len(turns) - index) % 2 == 0 else "user", "content": text}
        for index, text in enumerate(turns)
    ]
)
rows = st.fixed_dictionaries(
    {},
    optional={
        "keywords": st.lists(words, min_size=1, max_size=3, unique_by=str.casefold),
        "tool": st.sampled_from([*VOCABULARY.tools]),
        "reference": prose,
        "expect": st.dictionaries(words, st.just(True) | st.integers(0, 1) | st.floats(0, 1), min_size=1),  # noqa: FBT003
    },
).flatmap(lambda row: prose.map(lambda p: {**row, "prompt": p}) | conversation.map(lambda m: {**row, "messages": m}))
suites = st.builds(
    lambda heading, rows: {**heading, "cases": [{"id": f"c{index}", **row} for index, row in enumerate(rows)]},
    st.fixed_dictionaries(
        {"category": st.from_regex(r"[A-Za-z0-9._-]+", fullmatch=True)}, optional={"system": prose, "language": words}
    ),
    st.lists(rows, min_size=1, max_size=4),
)


class QuotingDumper(yaml.SafeDumper):
    """Quotes every text; PyYAML itself leaves `1e3` bare, which is a number in YAML 1.2."""


QuotingDumper.add_representer(
    str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"')
)


def as_yaml(suite: dict[str, Any]) -> str:
    return yaml.dump(suite, Dumper=QuotingDumper, allow_unicode=True, sort_keys=False)


def as_jsonl(suite: dict[str, Any]) -> str:
    heading = {key: value for key, value in suite.items() if key != "cases"}
    return "\n".join(json.dumps({**heading, **row}, ensure_ascii=False) for row in suite["cases"])


def as_csv(suite: dict[str, Any]) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, [*validation.ROW_CHECKS])
    writer.writeheader()
    for row in suite["cases"]:
        cells = {key: value for key, value in {**suite, **row}.items() if key != "cases"}
        cells |= {key: json.dumps(cells[key]) for key in ("messages", "expect") if key in cells}
        writer.writerow(cells | ({"keywords": ";".join(cells["keywords"])} if "keywords" in cells else {}))
    return out.getvalue()


@given(suite=suites)
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_the_same_cases_come_from_every_format(tmp_path_factory: pytest.TempPathFactory, suite: dict[str, Any]) -> None:
    folder = tmp_path_factory.getbasetemp()
    jsonschema.validate(suite, SCHEMA)
    loaded = [
        without_source(load(write(folder, name, content)))
        for name, content in {
            "a.json": json.dumps(suite),
            "a.yaml": as_yaml(suite),
            "a.jsonl": as_jsonl(suite),
            "a.csv": as_csv(suite),
        }.items()
    ]
    assert loaded == [loaded[0]] * 4
    assert [case["prompt"] for case in loaded[0]] == [
        row.get("prompt") or row["messages"][-1]["content"] for row in suite["cases"]
    ]


@given(
    good=st.lists(prose, min_size=1, max_size=8),
    data=st.data(),
    fault=st.sampled_from([{"prompt": ""}, {"tool": "nope"}, {"keywords": [""]}, {"tols": "x"}]),
)
def test_an_injected_fault_is_told_with_its_very_line(
    tmp_path_factory: pytest.TempPathFactory, good: list[str], data: st.DataObject, fault: dict[str, Any]
) -> None:
    at = data.draw(st.integers(0, len(good) - 1))
    rows = [{"id": f"c{index}", "prompt": prompt, "category": "a"} for index, prompt in enumerate(good)]
    rows[at] |= fault
    gaps = [data.draw(st.integers(0, 2)) * "\n" for _ in rows]
    content = "".join(gap + json.dumps(row) + "\n" for gap, row in zip(gaps, rows, strict=True))
    (told,) = faults_of(write(tmp_path_factory.getbasetemp(), "a.jsonl", content))
    assert told.startswith(f"a.jsonl:{at + 1 + sum(map(len, gaps[: at + 1]))}: ")


VOCABULARY_FAULTS = [
    ("", "1: a vocabulary needs 'tools'"),
    ("tools: {}", "1: tools: must hold at least one tool"),
    ("langage: fr\ntools: {a: [b]}", "1: unknown key 'langage'; did you mean 'language'?"),
    ("tools:\n  a: [b]\n  c: []", "3: tool 'c': needs at least one term"),
    ("tools:\n  a: [b]\n  c:", "3: tool 'c': needs at least one term"),
    ("tools:\n  a: [b]\n  c: d", "3: tool 'c': must be a list of texts, not 'd'"),
    ("tools:\n  a:\n    - son\n    - Son", "4: tool 'a': 'Son' appears twice"),
    ("tools:\n  a:\n    - son\n    - 7", "4: tool 'a': item 2 must be text, not 7"),
    ("tools:\n  a: [b]\n  a: [c]", "3: the key 'a' appears twice, first on line 2"),
    ("tools:\n  monte le son: [b]", "2: tool 'monte le son': 'monte le son' would break a pytest id"),
]


def test_a_vocabulary_holds_tools_and_terms_which_tools_may_share(tmp_path: Path) -> None:
    path = write(tmp_path, "v.yaml", "language: fr\ntools:\n  volume_up: [son, plus fort]\n  volume_down: [son]\n")
    tools = {"volume_up": ("son", "plus fort"), "volume_down": ("son",)}
    assert load_vocabulary(path) == Vocabulary(tools, "fr", path)


@pytest.mark.parametrize(("content", "told"), VOCABULARY_FAULTS)
def test_each_fault_of_a_vocabulary_is_one_message_with_its_line(tmp_path: Path, content: str, told: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_vocabulary(write(tmp_path, "v.yaml", content))
    assert str(caught.value).startswith(f"{tmp_path}/v.yaml:{told}")
    assert len(str(caught.value).splitlines()) == 1


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["", "a", "été", "user", "volume_up"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*validation.ROW_CHECKS, "role", "content", "x"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(heading=anything, row=anything, name=st.sampled_from(["a.json", "a.jsonl", "tools.json"]))
def test_whatever_a_file_holds_is_read_or_refused_with_a_message(
    tmp_path_factory: pytest.TempPathFactory, heading: Any, row: Any, name: str
) -> None:
    suite = {"category": "a", "cases": [row], "tools": row, **(heading if isinstance(heading, dict) else {})}
    path = write(tmp_path_factory.getbasetemp(), name, json.dumps(row if name == "a.jsonl" else suite))
    told = ""
    try:
        _ = load_vocabulary(path) if name == "tools.json" else load(path)
    except UsageError as error:
        told = str(error)
    assert all(line.startswith(f"{path}:1: ") for line in told.splitlines())
