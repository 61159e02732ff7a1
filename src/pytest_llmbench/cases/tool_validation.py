"""What may stand under `tools`, `tool_choice` and `calls`: JSON-schema tools, and the calls that a case expects."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pytest_llmbench.cases.tools import (
    ANY_CALL,
    CHOICES,
    DEFINITIONS,
    Tool,
    argument_schema,
    as_openai,
    expected_values,
    name_of,
    parameters_of,
)
from pytest_llmbench.core.documents import suggestion, without_nulls

Fault = tuple[tuple[str | int, ...], str]
"""Where, as a key path below the value that was checked, and what is wrong."""

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_FUNCTION_KEYS = ("name", "description", "parameters", "strict")
_CALL_KEYS = ("name", "arguments")


def tools_fault(value: Any) -> Fault | None:
    """A fault of a list of tools, each in OpenAI's form, in the bare form of its `function`, or a vocabulary's name."""
    if type(value) is not list:
        return (), f"must be a list of tools, each with a name and its parameters, not {value!r:.40}"
    names: list[str] = []
    for index, tool in enumerate(value):
        if fault := _tool_fault(tool):
            return (index, *fault[0]), f"tool {index + 1}: {fault[1]}"
        name = tool if isinstance(tool, str) else name_of(as_openai(tool))
        if name in names:
            return (index,), f"tool {index + 1}: the name '{name}' is already taken"
        names.append(name)
    return None


def function_fault(function: Mapping[str, Any], where: tuple[str, ...] = ()) -> Fault | None:
    """A fault of a tool's name, description and parameters."""
    for key in function:
        if key not in _FUNCTION_KEYS:
            return (*where, key), f"unknown key '{key}'; {suggestion(str(key), _FUNCTION_KEYS)}"
    name = function.get("name")
    if type(name) is not str or not _NAME.fullmatch(name):
        return (*where, "name"), f"a tool's name has letters, digits, '_', '-' and '.', at most 64, not {name!r:.70}"
    if type(function.get("description", "")) is not str:
        return (*where, "description"), f"description: must be text, not {function['description']!r:.40}"
    fault = _schema_fault(function["parameters"]) if "parameters" in function else None
    return ((*where, "parameters", *fault[0]), f"parameters: {fault[1]}") if fault else None


def choice_fault(value: Any) -> Fault | None:
    """A fault of a `tool_choice`."""
    if type(value) is str and value and not value.isspace():
        return None
    return (), f"must be one of {', '.join(CHOICES)}, or the name of a tool, not {value!r:.40}"


def calls_fault(value: Any) -> Fault | None:
    """A fault in the form of the expected calls; `calls_faults` holds them against the tools."""
    if value == ANY_CALL:
        return None
    if type(value) is not list:
        return (), f"must be a list of calls, [] where no tool is right, or '{ANY_CALL}', not {value!r:.40}"
    for index, call in enumerate(value):
        if fault := _call_fault(call):
            return (index, *fault[0]), f"call {index + 1}{fault[1]}"
    return None


def _call_fault(call: Any) -> Fault | None:
    if type(call) is not dict or type(call.get("name")) is not str or not call["name"]:
        return (), f" needs the 'name' of a tool, and its 'arguments', not {call!r:.60}"
    for key in call:
        if key not in _CALL_KEYS:
            return (key,), f": unknown key '{key}'; {suggestion(str(key), _CALL_KEYS)}"
    arguments = call.get("arguments", {})
    if type(arguments) is not dict:
        return ("arguments",), f": arguments must be a mapping, not {arguments!r:.40}"
    for name, given in arguments.items():
        if given == []:
            told = f", {call['name']}: {name}: no value is allowed; write [[]] for the empty array"
            return ("arguments", name), told
    return None


def calls_faults(calls: Any, tools: Sequence[Tool]) -> Iterator[Fault]:
    """What is wrong with expected calls, given the tools: no answer could ever be right."""
    known = {name_of(tool): parameters_of(tool) for tool in tools}
    for index, call in enumerate(calls if isinstance(calls, list) and known else ()):
        if call["name"] not in known:
            told = f"calls: call {index + 1}: '{call['name']}' is no tool of this case; "
            yield ("calls", index, "name"), told + suggestion(call["name"], known)
            continue
        for where, told in _argument_faults(call.get("arguments", {}), known[call["name"]]):
            yield ("calls", index, "arguments", *where), f"calls: call {index + 1}, {call['name']}: {told}"


def unpadded_calls(calls: Sequence[Mapping[str, Any]], tools: Sequence[Tool]) -> list[Mapping[str, Any]]:
    """Expected calls without the nulls that Arrow fills mappings up with, where the tools' schemas tell them apart.

    Those are arguments that the tool has not, and keys of a value that only without them is what its schema says.
    """
    known = {name_of(tool): parameters_of(tool) for tool in tools}
    return [{**call, "arguments": _unpadded(call.get("arguments", {}), known.get(call["name"], {}))} for call in calls]


def _unpadded(arguments: Mapping[str, Any], parameters: Mapping[str, Any]) -> dict[str, Any]:
    unknown = _unknown(arguments, parameters)
    kept = {name: given for name, given in arguments.items() if given is not None or name not in unknown}
    schemas = {name: argument_schema(parameters, name) for name in kept}
    return {
        name: [_unpadded_value(one, schemas[name]) for one in given]
        if isinstance(given, list)
        else _unpadded_value(given, schemas[name])
        for name, given in kept.items()
    }


def _unpadded_value(value: Any, schema: Mapping[str, Any]) -> Any:
    from jsonschema import Draft202012Validator

    bare = without_nulls(value)
    if bare == value:
        return value
    validator = Draft202012Validator(schema)
    return bare if validator.is_valid(bare) and not validator.is_valid(value) else value


def _unknown(arguments: Mapping[str, Any], parameters: Mapping[str, Any]) -> list[str]:
    """The arguments that a tool has not, where its schema says which it has."""
    properties = parameters.get("properties", {})
    closed = bool(properties) and not parameters.get("additionalProperties")
    return [name for name in arguments if closed and name not in properties]


def _argument_faults(arguments: Mapping[str, Any], parameters: Mapping[str, Any]) -> Iterator[Fault]:
    properties, unknown = parameters.get("properties", {}), _unknown(arguments, parameters)
    for name, given in arguments.items():
        if name in unknown:
            yield (name,), f"the tool has no argument '{name}'; {suggestion(str(name), properties)}"
        elif fault := _values_fault(given, argument_schema(parameters, name)):
            yield (name,), f"{name}: {fault}"
    for name in parameters.get("required", ()):
        if name not in arguments:
            yield (), f"the tool requires the argument '{name}'; say what it may be"


def _values_fault(given: Any, schema: Mapping[str, Any]) -> str | None:
    from jsonschema import Draft202012Validator

    validator = Draft202012Validator(schema)
    for value in expected_values(given)[0]:
        if error := next(validator.iter_errors(value), None):
            if isinstance(given, list) and validator.is_valid(given):
                return "a list here holds the values that are allowed: write [[a, b]] for the array [a, b]"
            return f"{error.message:.120}, says the tool's schema"
    return None


def _tool_fault(tool: Any) -> Fault | None:
    if type(tool) is str:
        return None
    if type(tool) is not dict:
        return (), f"must be a mapping with a name and its parameters, not {tool!r:.60}"
    if "function" not in tool:
        return function_fault({key: value for key, value in tool.items() if (key, value) != ("type", "function")})
    if type(tool["function"]) is not dict or tool.get("type", "function") != "function" or len(tool) > 2:  # noqa: PLR2004
        return (), f"must be {{type: function, function: {{name, description, parameters}}}}, not {tool!r:.60}"
    return function_fault(tool["function"], ("function",))


def _schema_fault(schema: Any) -> Fault | None:
    from jsonschema import Draft202012Validator, SchemaError

    if type(schema) is not dict or schema.get("type", "object") != "object":
        return (), f"must be a JSON schema of an object (type: object, properties: ...), not {schema!r:.60}"
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        return tuple(error.path), f"not a JSON schema: {error.message:.120}"
    if (broken := next(_lost_references(schema, schema), None)) is not None:
        return (), f"refers to '{broken}', which it does not hold under $defs"
    unknown = [name for name in schema.get("required", ()) if name not in schema.get("properties", {})]
    return (("required",), f"requires '{unknown[0]}', which is none of its properties") if unknown else None


def _lost_references(part: Any, schema: Mapping[str, Any]) -> Iterator[str]:
    """The references in a part of a schema that lead nowhere in it; what lies elsewhere is not fetched."""
    if isinstance(part, list):
        for item in part:
            yield from _lost_references(item, schema)
    elif isinstance(part, dict):
        reference = part.get("$ref")
        if isinstance(reference, str) and not _is_held(reference, schema):
            yield reference
        for item in part.values():
            yield from _lost_references(item, schema)


def _is_held(reference: str, schema: Any) -> bool:
    if not reference.startswith(tuple(f"#/{key}/" for key in DEFINITIONS)):  # an argument is judged with these alone
        return False
    for step in reference[2:].split("/"):
        name = step.replace("~1", "/").replace("~0", "~")
        if not isinstance(schema, dict) or name not in schema:
            return False
        schema = schema[name]
    return True
