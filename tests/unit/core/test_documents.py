"""Reading YAML, JSON and text: what is understood, and where each fault is said to be."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmbench.core.documents import MOST_FAULTS, Faults, parse_json, read_text, read_yaml, suggestion
from pytest_llmbench.core.errors import UsageError

MARK = "@here@"

texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cn", "Cs"]))
scalars = (
    st.none() | st.booleans() | st.integers(-(2**50), 2**50) | st.floats(allow_nan=False, allow_infinity=False) | texts
)
short_keys = st.text("abcdefgé -:#", min_size=1, max_size=8)  # PyYAML writes `? key` on a line of its own for odd ones


def trees(keys: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    return st.recursive(
        scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4), max_leaves=15
    )


def error_of(path: Path, content: str | bytes) -> str:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(UsageError) as caught:
        read_yaml(path)
    return str(caught.value).replace(f"{path}:", "")


def places(tree: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The key path of every list and mapping in a tree that has one inside."""
    yield path
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ():
        yield from places(value, (*path, key))


def replaced(tree: Any, path: tuple[str | int, ...], value: Any) -> Any:
    """The tree with another value at a path."""
    if not path:
        return value
    if isinstance(tree, dict):
        return {key: replaced(item, path[1:], value) if key == path[0] else item for key, item in tree.items()}
    return [replaced(item, path[1:], value) if index == path[0] else item for index, item in enumerate(tree)]


@pytest.mark.parametrize("content", [b"\xef\xbb\xbf\xc3\xa9t\xc3\xa9\r\nb\rc", b"\xc3\xa9t\xc3\xa9\nb\nc"])
def test_a_byte_order_mark_and_foreign_line_ends_are_accepted(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.txt").write_bytes(content)
    assert read_text(tmp_path / "a.txt") == "été\nb\nc"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"a: 1\r\nb: \xe9t\xe9\r\n", "2: byte 0xe9 is not UTF-8"),
        (b"\xef\xbb\xbfa: 1\rb: \xe9", "2: byte 0xe9 is not UTF-8"),
        ("a: été".encode("utf-16"), "1: the file is UTF-16"),
        ("a: 1\nb: 2".encode("utf-16-le"), "1: control character '\\x00'"),
        (b"a: 1\n\nb: \x07", "3: control character '\\x07'"),
    ],
)
def test_what_is_not_utf8_text_is_refused_with_its_line(tmp_path: Path, content: bytes, expected: str) -> None:
    assert error_of(tmp_path / "a.yaml", content).startswith(expected)


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nowhere\.yaml: cannot be read: No such file"):
        read_yaml(tmp_path / "nowhere.yaml")
    with pytest.raises(UsageError, match="Is a directory"):
        read_yaml(tmp_path)


def test_yaml_words_times_and_dates_stay_text(tmp_path: Path) -> None:
    """PyYAML's YAML 1.1 would read the French words `on`, `no` and the time 12:30 as something else."""
    (tmp_path / "a.yaml").write_text("[on, no, yes, 12:30, 2024-01-01, 007, 0x1f, 1_000, true, 7, -1.5, 1e3, ~, null]")
    expected = ["on", "no", "yes", "12:30", "2024-01-01", "007", "0x1f", "1_000", True, 7, -1.5, 1000.0, None, None]
    assert read_yaml(tmp_path / "a.yaml").data == expected


@pytest.mark.parametrize("name", ["a.yaml", "a.json"])
def test_an_empty_file_has_no_data(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("\n")
    document = read_yaml(tmp_path / name)
    assert document.data is None
    assert document.line("anything") == 1


def test_a_path_that_does_not_exist_has_the_line_of_its_nearest_parent(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("a:\n\n  - b: 1\n  -\n    c: 2\n")
    document = read_yaml(tmp_path / "a.yaml")
    assert [document.line(*keys) for keys in [(), ("a",), ("a", 0, "z"), ("a", 1), ("a", 7), ("z",)]] == [
        1,
        1,
        3,
        5,
        1,
        1,
    ]


@given(tree=trees(texts), data=st.data(), indent=st.sampled_from([None, 2, "\t"]))
def test_every_part_of_a_json_file_keeps_its_value_and_knows_its_line(
    tmp_path_factory: pytest.TempPathFactory, tree: Any, data: st.DataObject, indent: int | str | None
) -> None:
    where = data.draw(st.sampled_from(list(places(tree))))
    marked = replaced(tree, where, MARK)
    text = "\n\n" + json.dumps(marked, indent=indent, ensure_ascii=data.draw(st.booleans()))
    path = tmp_path_factory.getbasetemp() / "tree.json"
    path.write_text(text, encoding="utf-8")
    document = read_yaml(path)
    assert document.data == marked
    assert document.line(*where) == text[: text.index(json.dumps(MARK))].count("\n") + 1


@given(tree=trees(short_keys), data=st.data())
def test_every_part_of_a_yaml_file_knows_its_line(
    tmp_path_factory: pytest.TempPathFactory, tree: Any, data: st.DataObject
) -> None:
    where = data.draw(st.sampled_from(list(places(tree))))
    marked = replaced(tree, where, MARK)
    flow = data.draw(st.sampled_from([None, False, True]))
    text = yaml.safe_dump(marked, allow_unicode=True, default_flow_style=flow, default_style='"', width=10**6)
    for tag in ("!!null", "!!int", "!!bool", "!!float"):
        text = text.replace(tag, "")
    path = tmp_path_factory.getbasetemp() / "tree.yaml"
    path.write_text(text, encoding="utf-8")
    assert read_yaml(path).line(*where) == text[: text.index(MARK)].count("\n") + 1


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("a: [1,\nb: 2\n", "2: not valid YAML: while parsing a flow sequence (line 1), did not find expected"),
        ("a: b: c", "1: not valid YAML: mapping values are not allowed"),
        ("a: 1\n\tb: 2", "2: not valid YAML"),
        ("a: 1\n---\nb: 2", "2: not valid YAML: expected a single document"),
        ("a: 1\nb: *nope", "2: not valid YAML: found undefined alias"),
        ("a: 1\nb: &x\n  - *x", "2: this part contains itself"),
        ("a: 1\nb: !!python/object/apply:os.system [ls]", "2: the tag tag:yaml.org,2002:python/object"),
        ("a: 1\nb: !!int one", "2: the tag tag:yaml.org,2002:int has no meaning here"),
        ("a: 1\n2: b", "2: the key 2 is not text"),
        ("? [a]\n: 1", "1: the key ['a'] is not text"),
    ],
)
def test_bad_yaml_is_refused_with_its_line(tmp_path: Path, content: str, expected: str) -> None:
    assert error_of(tmp_path / "a.yaml", content).startswith(expected)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('{"a": 1,\n "b": }', "2: not valid JSON: Expecting value (column 7)"),
        ('{"a": 1,\n "b": NaN}', "1: not valid JSON: NaN is not a number"),
        ('["\\ud83d"]', "1: not valid JSON"),
        ("[" * 100_000, "1: not valid JSON"),
        ('{"a": ' + "9" * 5000 + "}", "1: not valid JSON: Exceeds the limit"),
    ],
)
def test_bad_json_is_refused_with_its_line(tmp_path: Path, content: str, expected: str) -> None:
    assert error_of(tmp_path / "a.json", content).startswith(expected)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.yaml", "a: 1\nb:\n  c: 1\n  c: 2\na: 3\n"),
        ("a.json", '{"a": 1,\n"b": {\n"c": 1,\n"c": 2},\n"a": 3}'),
    ],
)
def test_every_key_that_appears_twice_is_told(tmp_path: Path, name: str, content: str) -> None:
    told = "4: the key 'c' appears twice, first on line 3\n5: the key 'a' appears twice, first on line 1"
    assert error_of(tmp_path / name, content) == told


def test_aliases_of_aliases_cost_no_more_than_their_text(tmp_path: Path) -> None:
    """Thirty levels of doubling would be a thousand million items if each alias was built anew."""
    lines = ["l0: &l0 [x]", *(f"l{n}: &l{n} [*l{n - 1}, *l{n - 1}]" for n in range(1, 31))]
    (tmp_path / "a.yaml").write_text("\n".join(lines))
    assert read_yaml(tmp_path / "a.yaml").line("l30", 1) == 30


def test_a_row_of_json_with_a_key_twice_is_refused() -> None:
    with pytest.raises(UsageError, match=r"rows\.jsonl:7: not valid JSON: the key 'b' appears twice"):
        parse_json('{"a": 1, "b": 2, "b": 3}', "rows.jsonl", 7)


def test_a_suggestion_names_the_nearest_word_or_all() -> None:
    assert suggestion("volume_upp", ["volume_up", "light_on"]) == "did you mean 'volume_up'?"
    assert suggestion("debug", ["DEBUG", "INFO"]) == "did you mean 'DEBUG'?"
    assert suggestion("xyz", ["nf4", "int8"]) == "choose from nf4, int8"


def test_faults_are_told_together_up_to_a_limit() -> None:
    faults = Faults()
    faults.raise_any()
    for line in range(1, MOST_FAULTS + 4):
        faults.at("a.yaml", line, "wrong")
    with pytest.raises(UsageError) as caught:
        faults.raise_any()
    lines = str(caught.value).splitlines()
    assert lines[0] == "a.yaml:1: wrong"
    assert lines[MOST_FAULTS:] == ["... and 3 more"]


@pytest.mark.parametrize("text", ["a:\n\tb: 1\n", "a:\n  b: 1\n\tc: 2\n", "- x\n-\ty\n", "\ta: 1\n", "a: |\n\tx\n"])
def test_a_tab_that_indents_is_called_a_tab(tmp_path: Path, text: str) -> None:
    path = tmp_path / "tab.yaml"
    path.write_text(text)
    line = text[: text.index("\t")].count("\n") + 1
    with pytest.raises(UsageError, match=rf"tab\.yaml:{line}: .*a tab indents this line"):
        read_yaml(path)


def test_a_tab_elsewhere_is_no_fault(tmp_path: Path) -> None:
    path = tmp_path / "tab.yaml"
    path.write_text("a:\tb\nc: [1,\n\t2]\n")
    assert read_yaml(path).data == {"a": "b", "c": [1, 2]}
