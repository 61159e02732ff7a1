"""What a value may be, in words: by the JSON Schema of a pydantic model."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pytest_llmbench.core.documents import suggestion

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic_core import ErrorDetails

_Schema = Mapping[str, Any]


def fault_text(model: type[BaseModel], fault: ErrorDetails) -> str:
    """A fault of a validation, with what would be right: `slots: 0 is not valid; give a whole number from 1`.

    What a check of the model's own says stands as it is.
    """
    place, schema = ".".join(map(str, fault["loc"])), model.model_json_schema()
    where = f"{place}: " if place else ""
    if fault["type"] == "value_error":
        return f"{where}{fault['ctx']['error']}"
    if fault["type"] == "extra_forbidden":
        known = _part(schema, schema, fault["loc"][:-1]).get("properties", ())
        return f"there is no {place!r}; {suggestion(str(fault['loc'][-1]), list(known))}"
    right = f"give {' or '.join(map(phrase, alternatives(_part(schema, schema, fault['loc']))))}"
    if fault["type"] == "missing":
        return f"{where}is missing; {right}"
    return f"{where}{printable(fault['input']):.60} is not valid; {right}"


def printable(value: Any) -> str:
    """A value as JSON, on one line."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if text.isprintable() else json.dumps(value, default=str)


def alternatives(schema: _Schema) -> list[_Schema]:
    """The schemas of which a value has to obey one."""
    found: list[_Schema] = schema.get("anyOf", [schema])
    return found


def phrase(schema: _Schema) -> str:
    """A JSON Schema in words: `a number above 0 and up to 1`."""
    if "const" in schema:  # before `enum`, which older pydantic gives beside it
        return f"{schema['const']}"
    if "enum" in schema:
        return f"one of {', '.join(schema['enum'])}"
    words = {
        "boolean": "true or false",
        "integer": "a whole number",
        "number": "a number",
        "string": "a path" if schema.get("format") == "path" else "a text",
        "array": _listed(schema),
        "object": "a mapping",
        "null": "null",
    }
    return f"{words[schema.get('type', 'object')]} {_bounds(schema)}".strip()


def _bounds(schema: _Schema) -> str:
    limits = {"minimum": "from", "exclusiveMinimum": "above", "maximum": "up to", "exclusiveMaximum": "below"}
    return " and ".join(f"{word} {schema[name]:g}" for name, word in limits.items() if name in schema)


def _listed(schema: _Schema) -> str:
    items = schema.get("items", {}) if schema.get("type") == "array" else {}
    if "enum" in items:
        return f"a list of {', '.join(items['enum'])}"
    what = {"number": "number", "integer": "number"}.get(
        items.get("type", "string"), "mapping" if "$ref" in items else "value" if "anyOf" in items else "text"
    )
    least = {1: f"at least one {what}", 2: f"at least two {what}s"}
    return f"a list of {least.get(schema.get('minItems', 0), f'{what}s')} {_bounds(items)}".strip()


def _part(whole: _Schema, schema: _Schema, where: Sequence[int | str]) -> _Schema:
    """The schema of a part of a document; an empty one where it has none."""
    found = next((one for one in alternatives(schema) if one.get("type") != "null"), schema)
    if "$ref" in found:
        found = whole["$defs"][found["$ref"].rpartition("/")[2]]
    if not where:
        return schema if "anyOf" in schema else found
    first, *others = where
    inner = found.get("items") if isinstance(first, int) else found.get("properties", {}).get(first)
    return _part(whole, inner or found.get("additionalProperties") or {}, others)
