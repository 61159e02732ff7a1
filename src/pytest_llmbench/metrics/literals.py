"""Values that are written in Java or JavaScript, read as BFCL's checker (2026.3.23) reads them.

What is not written as its type wants it stays text. The forms, and where they end, are those of its `type_convertor`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

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
