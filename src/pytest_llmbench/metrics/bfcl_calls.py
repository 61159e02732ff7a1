"""One tool call held against an expected one, by the rules of the Berkeley Function Calling Leaderboard.

They are those of its published checker (`bfcl-eval` 2026.3.23, `ast_checker.py`), its leniencies included: text is
compared without case, spaces and the marks `,./-_*^`; the allowed value `""` marks what may be left out; a value of the
answer key's own type passes where the schema says another, as a variable's name does.

Values that are written in Java or JavaScript are read as its `type_convertor` reads them: what is not written as its
type wants it stays text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_llmbench.metrics.call_faults import CallFault, Judge, Made, Reason

if TYPE_CHECKING:
    from pytest_llmbench.cases.tools import Dialect, ExpectedCall


_IGNORED = re.compile(r"[ ,./\-_*^]")
_OPTIONAL = ""

_PYTHON: Mapping[str, type] = {
    "string": str,
    "any": str,
    "integer": int,
    "float": float,
    "number": float,
    "boolean": bool,
    "array": list,
    "tuple": list,
    "dict": dict,
    "object": dict,
}
_JAVA: Mapping[str, type] = {
    **dict.fromkeys(("byte", "short", "integer", "long"), int),
    **dict.fromkeys(("float", "double"), float),
    **dict.fromkeys(("char", "String", "any"), str),
    **dict.fromkeys(("Array", "ArrayList", "Queue", "Stack"), list),
    **dict.fromkeys(("HashMap", "Hashtable"), dict),
    "boolean": bool,
    "Set": set,
}
_JAVASCRIPT: Mapping[str, type] = {
    "String": str,
    "any": str,
    "integer": int,
    "float": float,
    "Bigint": int,
    "Boolean": bool,
    "dict": dict,
    "array": list,
}
_TYPES: Mapping[str, Mapping[str, type]] = {"python": _PYTHON, "java": _JAVA, "javascript": _JAVASCRIPT}
_WITH_ITEMS = {"python": ("array", "tuple"), "java": ("Array", "ArrayList"), "javascript": ("array",)}

_WHOLE = re.compile(r"^-?\d+$")
_DECIMAL = r"-?\d+(\.\d+)?([eE][+-]?\d+)?"
_LONG, _FLOAT, _DOUBLE = (re.compile(f"^{form}$") for form in (r"-?\d+[lL]", f"{_DECIMAL}[fF]", _DECIMAL))
_AS_LIST = re.compile(r"new\s+ArrayList<\w*>\(Arrays\.asList\((.+?)\)\)")
_ADDED = re.compile(r"new\s+ArrayList<\w*>\(\)\s*\{\{\s*(.+?)\s*\}\}", re.DOTALL)
_EMPTY_LIST = re.compile(r"new\s+ArrayList<\w*>\(\)")
_ARRAY = re.compile(r"new\s+\w+\[\]\s*\{(.*?)\}")
_MAP = re.compile(r"new\s+HashMap<.*?>\s*\(\)\s*\{\s*\{?\s*(.*?)\s*\}?\s*\}", re.DOTALL)
_EMPTY_MAP = re.compile(r"new\s+HashMap<.*?>\s*\(\)")
_PUT = re.compile(r"put\(\"(.*?)\",\s*(.*?)\)")

_PLAIN_FLOAT = re.compile(r"^-?\d+(\.\d+)?$")
_BIGINT = re.compile(r"^-?\d+n$")
_ROWS = re.compile(r"\[\s*\[.*?\]\s*(,\s*\[.*?\]\s*)*\]|\bnew\s+Array\(\s*\[.*?\]\s*(,\s*\[.*?\]\s*)*\)")
_ROW = re.compile(r"\[(.*?)\]")
_ITEMS = re.compile(r"\[(.*?)\]|\bnew\s+Array\((.*?)\)")
_OBJECT = re.compile(r"\{(.*?)\}")
_PAIR = re.compile(r"([^:]+):\s*(.*?)(?:,\s*(?=[^,]+:)|$)")


class _Typed(NamedTuple):
    """Whether the type is right, and whether it is that of the answer key instead of the schema's."""

    right: bool
    variable: bool = False


def bfcl_judge(dialect: Dialect) -> Judge:
    """Judges calls in one of BFCL's languages; at most one fault, the first that its checker would tell."""

    def judge(expected: ExpectedCall, call: Made) -> list[CallFault]:
        name, arguments = call["name"], call["arguments"]
        if not isinstance(arguments, Mapping):
            return [CallFault("unreadable call", name, found=arguments)]
        if name != expected.name:
            return [CallFault("wrong tool", name, expected=expected.name)]
        parameters = expected.parameters or {}
        for argument in parameters.get("required", ()):
            if argument not in arguments:
                return [CallFault("missing argument", name, argument)]
        for argument, value in arguments.items():
            schema, allowed = parameters.get("properties", {}).get(argument), expected.arguments.get(argument)
            if schema is None or allowed is None:
                return [CallFault("unexpected argument", name, argument, found=value)]
            if reason := _fault(value, allowed, schema, dialect):
                return [CallFault(reason, name, argument, list(allowed), value)]
        left_out = (key for key, allowed in expected.arguments.items() if key not in arguments)
        missing = next((key for key in left_out if _OPTIONAL not in expected.arguments[key]), None)
        return [CallFault("missing argument", name, missing)] if missing else []

    return judge


def _fault(value: Any, allowed: Sequence[Any], schema: Mapping[str, Any], dialect: Dialect) -> Reason | None:
    described = schema["type"]
    outer = _TYPES[dialect].get(described, str)
    inner = _TYPES[dialect].get(schema.get("items", {}).get("type", "")) if described in _WITH_ITEMS[dialect] else None
    if dialect == "python":
        if described == "float" and type(value) is int:
            value = float(value)
    elif type(value) is not str:
        return "wrong type"
    else:
        read = java_value if dialect == "java" else javascript_value
        value = read(value, described, schema.get("items", {}).get("type") if inner else None)
    typed = _typed(value, allowed, outer, inner)
    if not typed.right:
        return "wrong type"
    return None if _is_allowed(value, allowed, outer, inner, variable=typed.variable) else "wrong value"


def _typed(value: Any, allowed: Sequence[Any], outer: type, inner: type | None) -> _Typed:
    own = next((type(one) for one in allowed if one != _OPTIONAL), None)
    variable = own is not None and own is not outer
    if type(value) is outer:
        if inner is None:
            return _Typed(right=True, variable=variable)
        items: Any = value
        for one in allowed:
            if type(one) is not list or all(_typed(item, one, inner, None).right for item in items):
                return _Typed(right=True, variable=variable)
        return _Typed(right=False)
    return _Typed(right=own is not None and type(value) is own, variable=True)


def _is_allowed(value: Any, allowed: Sequence[Any], outer: type, inner: type | None, *, variable: bool) -> bool:
    if variable:
        return value in allowed
    if outer is dict:
        return any(_same_object(value, one) for one in allowed if one != _OPTIONAL)
    if outer is list and inner is dict:
        return any(_same_objects(value, one) for one in allowed)
    if outer is str:
        return _standard(value) in [_standard(one) for one in allowed if type(one) is str]
    if outer is list:
        return [_standard(item) for item in value] in [[_standard(item) for item in one] for one in allowed]
    return value in allowed


def _same_objects(value: Sequence[Any], one: Sequence[Any]) -> bool:
    return len(value) == len(one) and all(map(_same_object, value, one))


def _same_object(value: Any, one: Any) -> bool:
    if not isinstance(value, Mapping) or not isinstance(one, Mapping):
        return False
    for key, item in value.items():
        if key not in one or _standard(item) not in [_standard(allowed) for allowed in one[key]]:
            return False
    return all(key in value or _OPTIONAL in allowed for key, allowed in one.items())


def _standard(value: Any) -> Any:
    return _IGNORED.sub("", value).lower().replace("'", '"') if type(value) is str else value


def java_value(text: str, kind: str, items: str | None = None) -> Any:
    """What a Java literal of type `kind` is in Python; `items` is the type of a collection's elements."""
    if kind in _JAVA_SCALARS:
        return _JAVA_SCALARS[kind](text)
    if kind == "ArrayList":
        return _java_list(text, items)
    if kind == "Array":
        found = _ARRAY.search(text)
        return [_java_item(one.strip(), items) for one in found[1].split(",") if one.strip()] if found else text
    return _java_map(text) if kind == "HashMap" else text


def javascript_value(text: str, kind: str, items: str | None = None) -> Any:
    """What a JavaScript literal of type `kind` is in Python; `items` is the type of an array's elements."""
    if kind in _JAVASCRIPT_SCALARS:
        return _JAVASCRIPT_SCALARS[kind](text)
    if kind == "array":
        return _javascript_array(text.strip(), items)
    return _javascript_object(text.strip()) if kind == "dict" else text


def _number(form: re.Pattern[str], make: Callable[[str], Any], suffix: str = "") -> Callable[[str], Any]:
    return lambda text: make(text.rstrip(suffix) if suffix else text) if form.match(text) else text


def _boolean(text: str) -> Any:
    return text == "true" if text in ("true", "false") else text


_JAVA_SCALARS: Mapping[str, Callable[[str], Any]] = {
    **dict.fromkeys(("byte", "short", "integer"), _number(_WHOLE, int)),
    "long": _number(_LONG, int, "lL"),
    "float": _number(_FLOAT, float, "fF"),
    "double": _number(_DOUBLE, float),
    "boolean": _boolean,
    "char": str,
    "String": str,
    "any": str,
}
_JAVASCRIPT_SCALARS: Mapping[str, Callable[[str], Any]] = {
    "integer": _number(_WHOLE, int),
    "float": _number(_PLAIN_FLOAT, float),
    "Bigint": _number(_BIGINT, int, "n"),
    "Boolean": _boolean,
    "any": str,
    "String": lambda text: text[1:-1] if _is_quoted(text, "\"'") else text,
}


def _java_list(text: str, items: str | None) -> Any:
    if found := _AS_LIST.search(text):
        return [_unquoted(one.strip(), items) for one in found[1].split(",")]
    if found := _ADDED.search(text):
        return [_unquoted(one.strip(), items) for one in re.findall(r"add\((.+?)\)", found[1])]
    return [] if _EMPTY_LIST.search(text) else text


def _unquoted(text: str, items: str | None) -> Any:
    return text[1:-1] if items in ("char", "String") else _java_item(text, items)


def _java_item(text: str, items: str | None) -> Any:
    return java_value(text, items) if items else _java_guess(text)


def _java_map(text: str) -> Any:
    if found := _MAP.search(text):
        return {key: _java_guess(value.strip()) for key, value in _PUT.findall(found[1])}
    return {} if _EMPTY_MAP.search(text) else text


def _java_guess(text: str) -> Any:
    if text in ("true", "false"):
        return text == "true"
    if _is_quoted(text, '"'):
        return text[1:-1]
    if _LONG.match(text):
        return int(text[:-1])
    return float(text[:-1]) if _FLOAT.match(text) else _as_number(text)


def _javascript_array(code: str, items: str | None) -> Any:
    if rows := _ROWS.match(code):
        found = [row.strip() for row in _ROW.findall(rows[0])]
        found[0] = found[0].removeprefix("[")
        return [[_javascript_guess(one) for one in row.split(",")] for row in found]
    if (whole := _ITEMS.match(code)) is None:
        return code
    listed = (whole[1] if whole[1] is not None else whole[2]).strip()
    elements = [one.strip() for one in listed.split(",")] if listed else []
    return [javascript_value(one, items) if items else _javascript_guess(one) for one in elements]


def _javascript_object(code: str) -> Any:
    if code == "{}":
        return {}
    if (whole := _OBJECT.match(code)) is None:
        return code
    return {key.strip().strip("'\""): _javascript_item(value.strip()) for key, value in _PAIR.findall(whole[1])}


def _javascript_item(value: str) -> Any:
    if value.startswith("[") and value.endswith("]"):
        return _javascript_array(value, None)
    if value.startswith("{") and value.endswith("}"):
        return _javascript_object(value)
    return _javascript_guess(value.strip("'\""))


def _javascript_guess(text: str) -> Any:
    text = text.strip()
    if text in ("true", "false"):
        return text == "true"
    return text[1:-1] if _is_quoted(text, "\"'") else _as_number(text)


def _is_quoted(text: str, quotes: str) -> bool:
    return any(text.startswith(quote) and text.endswith(quote) for quote in quotes)


def _as_number(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
