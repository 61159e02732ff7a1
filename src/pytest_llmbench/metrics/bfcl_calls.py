"""One tool call held against an expected one, by the rules of the Berkeley Function Calling Leaderboard.

They are those of its published checker (`bfcl-eval` 2026.3.23, `ast_checker.py`), its leniencies included: text is
compared without case, spaces and the marks `,./-_*^`; the allowed value `""` marks what may be left out; a value of the
answer key's own type passes where the schema says another, as a variable's name does.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_llmbench.metrics.call_faults import CallFault, Judge, Made, Reason
from pytest_llmbench.metrics.literals import java_value, javascript_value

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
