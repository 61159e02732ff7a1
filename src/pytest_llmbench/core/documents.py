"""Reading what people write: text, YAML and JSON, with the line of every value, and all faults told at once."""

from __future__ import annotations

import bisect
import codecs
import dataclasses
import functools
import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from pytest_llmbench.core.errors import UsageError, located

MOST_FAULTS = 20

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ufffe\uffff]")  # what YAML refuses too
_TAB_FOR_SPACES = re.compile(r"[ -]*\t")
_JSON_BLANKS = re.compile(r"[ \t\n\r]*")
_TAG = "tag:yaml.org,2002:"
# JSON's scalars. YAML 1.1 would also turn `on`, `no`, `12:30`, `007` and dates into something that is not text.
_SCALARS: Mapping[str, tuple[re.Pattern[str], Callable[[str], Any]]] = {
    "null": (re.compile(r"(?:null|Null|NULL|~|)\Z"), lambda _: None),
    "bool": (re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z"), lambda text: text.lower() == "true"),
    "int": (re.compile(r"[-+]?(?:0|[1-9][0-9]{0,17})\Z"), int),
    "float": (re.compile(r"[-+]?(?:(?:\d+\.\d*|\.\d+)(?:[eE][-+]?\d+)?|\d+[eE][-+]?\d+)\Z", re.ASCII), float),
}


class Faults:
    """The faults found while loading, told together in one error of one line each."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def add(self, message: str) -> None:
        """Note a fault; a message of several lines counts as several."""
        self._lines.extend(message.split("\n"))

    def at(self, path: Path | str, line: int, message: str) -> None:
        """Note a fault at `path:line`."""
        self.add(located(path, line, message))

    def raise_any(self, names: tuple[str, ...] = ()) -> None:
        """Raise a UsageError with the first faults and the count of the rest, if there is any; `names` are its own."""
        if not self._lines:
            return
        shown, rest = self._lines[:MOST_FAULTS], len(self._lines) - MOST_FAULTS
        raise UsageError("\n".join([*shown, *([f"... and {rest} more"] if rest > 0 else [])]), names=names)


class _Spot(NamedTuple):
    line: int
    inside: Mapping[str | int, _Spot]


@dataclasses.dataclass(frozen=True, slots=True)
class Document:
    """A file's content as plain Python (`None` when empty), and where each part of it stands."""

    path: Path
    data: Any
    _root: _Spot

    def line(self, *keys: str | int) -> int:
        """The line of a key path such as `("cases", 3, "keywords")`; of its nearest parent where it does not exist."""
        spot = self._root
        for key in keys:
            if key not in spot.inside:
                break
            spot = spot.inside[key]
        return spot.line


def suggestion(word: str, choices: Iterable[str]) -> str:
    """The end of a message about a wrong name: the nearest right one, or all of them when none is near."""
    known = tuple(choices)
    near = nearest(word, known)
    return f"did you mean '{near}'?" if near else f"choose from {', '.join(known)}"


def nearest(word: str, choices: Iterable[str]) -> str | None:
    """The right name that was probably meant; None when none is near."""
    import difflib

    folded = {choice.casefold(): choice for choice in choices}
    near = difflib.get_close_matches(word.casefold(), folded, n=1)
    return folded[near[0]] if near else None


def read_text(path: Path | str) -> str:
    """The text of a UTF-8 file, with or without a byte order mark, its line ends as newlines.

    Raises:
        UsageError: the file cannot be read, has another encoding, or is not text.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from error
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise UsageError(located(path, 1, "the file is UTF-16; save it as UTF-8"))
    data = data.removeprefix(codecs.BOM_UTF8).replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return _decoded(data, path, 1)


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Where each line of a UTF-8 file begins, in bytes, and its text; a line at a time, however large the file.

    Raises:
        UsageError: as `read_text`, when the line is reached.
    """
    try:
        with path.open("rb") as file:
            offset = 0
            for number, data in enumerate(file, start=1):
                if number == 1 and data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                    raise UsageError(located(path, 1, "the file is UTF-16; save it as UTF-8"))
                line = data.removeprefix(codecs.BOM_UTF8) if number == 1 else data
                yield offset, _decoded(line.rstrip(b"\r\n"), path, number)
                offset += len(data)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from error


def _decoded(data: bytes, path: Path | str, first_line: int) -> str:
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + first_line
        raise UsageError(located(path, line, f"byte {data[error.start]:#x} is not UTF-8; save it as UTF-8")) from error
    if control := _CONTROL.search(text):
        line = text.count("\n", 0, control.start()) + first_line
        raise UsageError(located(path, line, f"control character {control[0]!r}; this is not a UTF-8 text file"))
    return text


def read_yaml(path: Path | str, *, nan_is_null: bool = False) -> Document:
    """Read a YAML file, or a JSON file when its suffix is `.json`. YAML scalars follow JSON: `on` and `12:30` are text.

    `nan_is_null` is for JSON, as `parse_record` says.

    Raises:
        UsageError: the file cannot be read or parsed, or has a key twice; the message starts with `file:line`.
    """
    path = Path(path)
    text = read_text(path)
    try:
        return (
            _read_json(path, text, nan_is_null=nan_is_null)
            if path.suffix.lower() == ".json"
            else _read_yaml(path, text)
        )
    except RecursionError as error:
        raise UsageError(f"{path}: nested too deeply") from error


def parse_yaml(text: str, path: Path | str) -> Any:
    """The value of a YAML text, by the rules of `read_yaml`. `path` is what messages call it.

    Raises:
        UsageError: it cannot be parsed, or has a key twice.
    """
    return _read_yaml(Path(path), text).data


def parse_json(text: str, path: Path | str, line: int) -> Any:
    """The value of one JSON text that stands on one line of a file.

    Raises:
        UsageError: it is not JSON, or has a key twice.
    """
    return _decode(_ROW_DECODER, text, path, line)


def parse_record(text: str, path: Path | str, line: int) -> Any:
    """As `parse_json`, without the keys that are null, at any depth: Arrow gives each record all keys of the file.

    NaN is null: pandas calls a missing value so, and Python's json writes it.

    Raises:
        UsageError: it is not JSON, or has a key twice.
    """
    return _decode(_RECORD_DECODER, text, path, line)


def parse_with_nulls(text: str, path: Path | str, line: int) -> Any:
    """As `parse_record`, with the keys that are null: `without_nulls` takes out those that say nothing.

    Raises:
        UsageError: it is not JSON, or has a key twice.
    """
    return _decode(_NULLS_DECODER, text, path, line)


def without_nulls(value: Any, kept: Collection[str] = ()) -> Any:
    """The value without the keys of its mappings that are null, at any depth, as `parse_record` reads it.

    What stands under a key that is `kept` stays as it is, null too.
    """
    if isinstance(value, dict):
        return {
            key: inner if key in kept else without_nulls(inner, kept)
            for key, inner in value.items()
            if inner is not None or key in kept
        }
    return [without_nulls(inner, kept) for inner in value] if isinstance(value, list) else value


def _decode(decoder: json.JSONDecoder, text: str, path: Path | str, line: int) -> Any:
    try:
        data = decoder.decode(text)
        if "\\ud" in text or "\\uD" in text:
            json.dumps(data, ensure_ascii=False).encode()  # half of a surrogate pair could never be written again
    except json.JSONDecodeError as error:
        message = f"not valid JSON: {error.msg} (column {error.colno})"
        raise UsageError(located(path, line + error.lineno - 1, message)) from error
    except (ValueError, RecursionError) as error:
        raise UsageError(located(path, line, f"not valid JSON: {error}")) from error
    return data


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data = dict(pairs)
    if len(data) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key '{next(key for key in keys if keys.count(key) > 1)}' appears twice")
    return data


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number")


_FILE_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)


def _without_nulls_or_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data = _without_duplicates(pairs)
    return {key: value for key, value in data.items() if value is not None} if None in data.values() else data


def _missing(name: str) -> None:
    if name != "NaN":
        _refuse_constant(name)


_NAN_DECODER = json.JSONDecoder(parse_constant=_missing)
_RECORD_DECODER = json.JSONDecoder(parse_constant=_missing, object_pairs_hook=_without_nulls_or_duplicates)
_NULLS_DECODER = json.JSONDecoder(parse_constant=_missing, object_pairs_hook=_without_duplicates)
_ROW_DECODER = json.JSONDecoder(parse_constant=_refuse_constant, object_pairs_hook=_without_duplicates)


def _read_json(path: Path, text: str, *, nan_is_null: bool) -> Document:
    if not text.strip():
        return Document(path, None, _Spot(1, {}))
    data = _decode(_NAN_DECODER if nan_is_null else _FILE_DECODER, text, path, 1)
    finder = _JsonLines(path, text)
    root, _ = finder.value(0)
    finder.faults.raise_any()
    return Document(path, data, root)


class _JsonLines:
    """Walks a text that is known to be valid JSON and notes where each value stands."""

    def __init__(self, path: Path, text: str) -> None:
        self.faults = Faults()
        self._path = path
        self._text = text
        self._breaks = [match.start() for match in re.finditer("\n", text)]

    def value(self, at: int) -> tuple[_Spot, int]:
        """The spot of the value that starts at offset `at` (after blanks), and the offset behind it."""
        at = self._skip(at)
        match self._text[at]:
            case "{":
                inside, end = self._object(at)
            case "[":
                inside, end = self._array(at)
            case _:
                inside, end = {}, _NAN_DECODER.raw_decode(self._text, at)[1]
        return _Spot(self._line(at), inside), end

    def _object(self, at: int) -> tuple[dict[str | int, _Spot], int]:
        inside: dict[str | int, _Spot] = {}
        at = self._skip(at + 1)
        while self._text[at] != "}":
            key, end = _FILE_DECODER.raw_decode(self._text, at)
            if key in inside:
                self.faults.at(self._path, self._line(at), _twice(key, inside[key].line))
            spot, end = self.value(self._skip(end) + 1)
            inside[key] = _Spot(self._line(at), spot.inside)
            at = self._next(end)
        return inside, at + 1

    def _array(self, at: int) -> tuple[dict[str | int, _Spot], int]:
        inside: dict[str | int, _Spot] = {}
        at = self._skip(at + 1)
        while self._text[at] != "]":
            inside[len(inside)], end = self.value(at)
            at = self._next(end)
        return inside, at + 1

    def _next(self, at: int) -> int:
        at = self._skip(at)
        return self._skip(at + 1) if self._text[at] == "," else at

    def _skip(self, at: int) -> int:
        match = _JSON_BLANKS.match(self._text, at)
        return match.end() if match else at

    def _line(self, at: int) -> int:
        return bisect.bisect_left(self._breaks, at) + 1


def _twice(key: str, first: int) -> str:
    return f"the key '{key}' appears twice, first on line {first}"


@functools.cache
def _yaml_loader() -> Any:
    import yaml

    class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
        yaml_implicit_resolvers: Mapping[str, Any] = {}

    for name, (pattern, _) in _SCALARS.items():
        Loader.add_implicit_resolver(_TAG + name, pattern, None)
    return Loader


def _read_yaml(path: Path, text: str) -> Document:
    import yaml

    try:
        node = yaml.compose(text, Loader=_yaml_loader())
    except yaml.MarkedYAMLError as error:
        last = text.rstrip().count("\n") + 1  # what breaks off is noticed behind the end
        line = min(error.problem_mark.line + 1, last) if error.problem_mark else 1
        began = f" (line {error.context_mark.line + 1})" if error.context_mark else ""
        context = f"{error.context}{began}, " if error.context else ""
        fault = f"{context}{error.problem}"
        if _TAB_FOR_SPACES.match(text.split("\n")[line - 1]):
            fault = "a tab indents this line, and YAML takes only spaces there; put spaces in its place"
        raise UsageError(located(path, line, f"not valid YAML: {fault}")) from error
    if node is None:
        return Document(path, None, _Spot(1, {}))
    builder = _YamlBuilder(path)
    data, root = builder.build(node)
    builder.faults.raise_any()
    return Document(path, data, root)


class _YamlBuilder:
    """Turns YAML nodes into plain data and spots; an alias gives the very same data again."""

    def __init__(self, path: Path) -> None:
        self.faults = Faults()
        self._path = path
        self._built: dict[int, tuple[Any, _Spot]] = {}
        self._open: set[int] = set()

    def build(self, node: Any) -> tuple[Any, _Spot]:
        """The data under `node` and where it stands; what it cannot hold becomes a fault and None."""
        if id(node) in self._built:
            return self._built[id(node)]
        line = node.start_mark.line + 1
        if id(node) in self._open:
            self.faults.at(self._path, line, "this part contains itself")
            return None, _Spot(line, {})
        self._open.add(id(node))
        data, inside = self._content(node, line)
        self._open.discard(id(node))
        self._built[id(node)] = data, _Spot(line, inside)
        return self._built[id(node)]

    def _content(self, node: Any, line: int) -> tuple[Any, Mapping[str | int, _Spot]]:
        match node.tag.removeprefix(_TAG):
            case "map" if node.id == "mapping":
                return self._mapping(node)
            case "seq" if node.id == "sequence":
                built = [self.build(item) for item in node.value]
                return [data for data, _ in built], {index: spot for index, (_, spot) in enumerate(built)}
            case "str" if node.id == "scalar":
                return node.value, {}
            case name if name in _SCALARS and node.id == "scalar" and _SCALARS[name][0].match(node.value):
                return _SCALARS[name][1](node.value), {}
        self.faults.at(self._path, line, f"the tag {node.tag} has no meaning here; write plain text, numbers and lists")
        return None, {}

    def _mapping(self, node: Any) -> tuple[dict[str, Any], dict[str | int, _Spot]]:
        data: dict[str, Any] = {}
        inside: dict[str | int, _Spot] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            key, _ = self.build(key_node)
            value, spot = self.build(value_node)
            if not isinstance(key, str):
                self.faults.at(self._path, line, f"the key {key!r} is not text; put it in quotes")
            elif key in data:
                self.faults.at(self._path, line, _twice(key, inside[key].line))
            else:
                data[key], inside[key] = value, _Spot(line, spot.inside)
        return data, inside
