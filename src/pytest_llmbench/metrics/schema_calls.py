"""One tool call held against an expected one, by the tool's JSON schema."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pytest_llmbench.cases.tools import argument_schema
from pytest_llmbench.metrics.call_faults import CallFault, Judge, Made

if TYPE_CHECKING:
    from jsonschema import ValidationError

    from pytest_llmbench.cases.tools import ExpectedCall
    from pytest_llmbench.metrics.text import Spelling

_KINDS: Sequence[tuple[type | tuple[type, ...], str]] = (
    (bool, "boolean"),
    ((int, float), "number"),
    (str, "text"),
    ((list, tuple), "array"),
    (dict, "object"),
)


def schema_judge(spelling: Spelling) -> Judge:
    """Judges calls by name, then by the types that the schema gives, then by the allowed values.

    Text is compared as `spelling` says, but what a schema lists in an `enum` must be written as there. Numbers are
    equal by value, and `true` is no number. An argument that may be left out, or that has an allowed value as its
    default, may be missing; one that only repeats its default may be there.
    """

    def judge(expected: ExpectedCall, call: Made) -> list[CallFault]:
        name, arguments = call["name"], call["arguments"]
        if name != expected.name:
            return [CallFault("wrong tool", name, expected=expected.name)]
        if not isinstance(arguments, Mapping):
            return [CallFault("unreadable call", name, found=arguments)]
        found = list(_missing(expected, arguments))
        for argument, value in arguments.items():
            schema = argument_schema(expected.parameters or {}, argument)
            if argument not in expected.arguments:
                if not _is_default(value, schema):
                    found.append(CallFault("unexpected argument", name, argument, found=value))
            elif fault := _fault(value, expected.arguments[argument], schema, spelling, argument in expected.optional):
                found.append(CallFault(fault, name, argument, list(expected.arguments[argument]), value))
        return found

    return judge


def _missing(expected: ExpectedCall, arguments: Mapping[str, Any]) -> Iterator[CallFault]:
    for argument, allowed in expected.arguments.items():
        if argument in arguments or argument in expected.optional:
            continue
        schema = argument_schema(expected.parameters or {}, argument)
        if "default" not in schema or schema["default"] not in allowed:
            yield CallFault("missing argument", expected.name, argument, list(allowed))


def _is_default(value: Any, schema: Mapping[str, Any]) -> bool:
    return "default" in schema and type(value) is type(schema["default"]) and value == schema["default"]


def _fault(
    value: Any,
    allowed: Sequence[Any],
    schema: Mapping[str, Any],
    spelling: Spelling,
    optional: bool,  # noqa: FBT001
) -> Any:
    """`wrong type`, `wrong value`, or None."""
    if value is None and optional:
        return None
    if schema:
        from jsonschema import Draft202012Validator

        errors = list(Draft202012Validator(schema).iter_errors(value))
        if errors:
            return "wrong type" if any(map(_is_of_type, errors)) else "wrong value"
    elif _kind(value) not in {_kind(one) for one in allowed}:
        return "wrong type"
    return None if any(_equal(value, one, spelling) for one in allowed) else "wrong value"


def _is_of_type(error: ValidationError) -> bool:
    """Whether it is the type that is wrong: by each choice of a union, where the schema has one."""
    if error.context:
        return all(map(_is_of_type, error.context))
    return error.validator == "type"


def _kind(value: Any) -> str:
    return next((name for kinds, name in _KINDS if isinstance(value, kinds)), "null")


def _equal(one: Any, other: Any, spelling: Spelling) -> bool:
    if _kind(one) != _kind(other):
        return False
    if isinstance(one, str):
        return spelling.normalise(one) == spelling.normalise(other)
    if isinstance(one, Mapping):
        return one.keys() == other.keys() and all(_equal(value, other[key], spelling) for key, value in one.items())
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(_equal, one, other, [spelling] * len(one)))
    return bool(one == other)
