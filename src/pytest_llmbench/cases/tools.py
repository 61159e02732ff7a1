"""Tools as models are told of them, in OpenAI's form, and the calls that a case expects."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

Tool = Mapping[str, Any]
"""`{"type": "function", "function": {"name", "description", "parameters"}}`, the parameters a JSON schema."""

Dialect = Literal["json-schema", "python", "java", "javascript"]
"""By what calls are judged: the tools' JSON schemas, or the rules that BFCL has for each of its languages."""

ANY_CALL = "any"
"""Some tool is to be called, whichever."""

CHOICES = ("auto", "required", "none")
"""What `tool_choice` may be, besides the name of a tool."""

LEFT_OUT = "tools left out"
"""The reason of what is unscored since the tools did not reach the model."""

DEFINITIONS = ("$defs", "definitions")
"""Where a schema holds what its arguments may refer to."""

_NO_PARAMETERS: Mapping[str, Any] = {"type": "object", "properties": {}}


@dataclasses.dataclass(frozen=True, slots=True)
class ExpectedCall:
    """One call that is right. `arguments` hold the allowed values of each; what is `optional` may be left out.

    `parameters` are the schema that the call is judged by; None where none is known.
    """

    name: str
    arguments: Mapping[str, Sequence[Any]] = dataclasses.field(hash=False)
    optional: frozenset[str] = frozenset()
    parameters: Mapping[str, Any] | None = dataclasses.field(default=None, hash=False)

    def to_json(self) -> dict[str, Any]:
        """As a suite has it: the allowed values of each argument, null among those of one that may be left out."""
        null = {key: [None] if key in self.optional else [] for key in self.arguments}
        return {
            "name": self.name,
            "arguments": {key: [*values, *null[key]] for key, values in self.arguments.items()},
        }


@dataclasses.dataclass(frozen=True, slots=True)
class ExpectedCalls:
    """The calls that are right together, in any order; none where no tool is right, and with `anything` whichever."""

    calls: tuple[ExpectedCall, ...] = ()
    anything: bool = False
    dialect: Dialect = "json-schema"

    def to_json(self) -> Any:
        """As a suite has them, `any` or a list of calls with their allowed values."""
        if self.anything:
            return ANY_CALL
        return [call.to_json() for call in self.calls]


def as_openai(tool: Mapping[str, Any]) -> dict[str, Any]:
    """The tool in OpenAI's form, from that or from the bare form of its `function`."""
    function = tool.get("function", tool)
    kept = {key: value for key, value in function.items() if key != "type"}
    parameters = {"type": "object", **kept.get("parameters", _NO_PARAMETERS)}
    return {"type": "function", "function": {**kept, "parameters": parameters}}


def name_of(tool: Tool) -> str:
    """The tool's name."""
    name: str = tool["function"]["name"]
    return name


def parameters_of(tool: Tool) -> Mapping[str, Any]:
    """The JSON schema of the tool's arguments."""
    parameters: Mapping[str, Any] = tool["function"]["parameters"]
    return parameters


def argument_schema(parameters: Mapping[str, Any], argument: str) -> Mapping[str, Any]:
    """The schema of one argument, with the definitions that it may refer to; empty where the tool tells of none."""
    schema = parameters.get("properties", {}).get(argument)
    if not isinstance(schema, Mapping) or not schema:
        return {}
    return {**{key: parameters[key] for key in DEFINITIONS if key in parameters}, **schema}


def expected_values(given: Any) -> tuple[list[Any], bool]:
    """The values that a suite allows for an argument, one or a list of them, and whether it may be left out (null)."""
    listed = given if isinstance(given, list) else [given]
    return [value for value in listed if value is not None], any(value is None for value in listed)


def expected_calls(given: Any, tools: Sequence[Tool]) -> ExpectedCalls | None:
    """What a suite's `calls` mean; None where a case has none."""
    if given is None:
        return None
    if given == ANY_CALL:
        return ExpectedCalls(anything=True)
    parameters = {name_of(tool): parameters_of(tool) for tool in tools}
    return ExpectedCalls(tuple(_expected(call, parameters.get(call["name"])) for call in given))


def _expected(call: Mapping[str, Any], parameters: Mapping[str, Any] | None) -> ExpectedCall:
    read = {name: expected_values(value) for name, value in call.get("arguments", {}).items()}
    optional = frozenset(name for name, (_, may_be_left_out) in read.items() if may_be_left_out)
    return ExpectedCall(call["name"], {name: values for name, (values, _) in read.items()}, optional, parameters)
