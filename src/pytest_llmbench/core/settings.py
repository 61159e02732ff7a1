"""Who decides a setting: options over the environment over the settings file over the defaults."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from pytest_llmbench.core.allowed import alternatives, fault_text, phrase, printable
from pytest_llmbench.core.documents import Document, Faults, nearest, read_yaml, suggestion
from pytest_llmbench.core.errors import UsageError
from pytest_llmbench.core.setting_sections import (
    BenchmarkSettings,
    ContextSettings,
    FinetuneSettings,
    GateSettings,
    GenerationSettings,
    LoadSettings,
    LoggingSettings,
    MetricsSettings,
    ModelSettings,
    OutputSettings,
    RaySettings,
    ServerSettings,
    ServingSettings,
    Settings,
    StudioSettings,
    TargetSettings,
    TuneSettings,
)
from pytest_llmbench.core.setting_table import SETTINGS

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

__all__ = [
    "OPTIONS",
    "RESERVED",
    "BenchmarkSettings",
    "ContextSettings",
    "FinetuneSettings",
    "GateSettings",
    "GenerationSettings",
    "LoadSettings",
    "LoggingSettings",
    "MetricsSettings",
    "ModelSettings",
    "OutputSettings",
    "RaySettings",
    "ServerSettings",
    "ServingSettings",
    "Settings",
    "StudioSettings",
    "TargetSettings",
    "TuneSettings",
    "load_settings",
]

OPTIONS: Mapping[str, str] = {shown.option: key for key, shown in SETTINGS.items() if shown.option}
"""Option name to the setting it gives."""

RESERVED = frozenset(
    {"LLMBENCH_API_KEY", "LLMBENCH_CACHE_DIR", "LLMBENCH_CONFIG", "LLMBENCH_SAVE", "LLMBENCH_STUDIO_TOKEN"}
)
"""Variables of the environment that are no settings."""

_BEGINS = {"array": "[", "object": "{"}
_AS_TEXT = {"array": 'written as a,b or as ["a", "b"]', "object": 'written as {"key": value}'}


class _GivenTwiceError(ValueError):
    """One name has two values in a mapping; its message is whole."""


_KEYS: Mapping[str, type[BaseModel]] = {
    f"{name}.{key}": section
    for name, field in Settings.model_fields.items()
    if isinstance(section := field.annotation, type) and issubclass(section, BaseModel)
    for key in section.model_fields
}
_PREFIX = "LLMBENCH_"


def _long_form(key: str) -> str:
    """The variable that gives a setting, whether it has an option or not."""
    return f"{_PREFIX}{key.upper().replace('.', '__')}"


_VARIABLES: Mapping[str, str] = {
    **{f"{_PREFIX}{option.upper().replace('-', '_')}": key for option, key in OPTIONS.items()},
    **{_long_form(key): key for key in _KEYS},
    "LLMBENCH_NO_CACHE": "generation.cache",
}
_OPPOSITE = "LLMBENCH_NO_CACHE"
"""The variable that is true where its setting is false, as the option of that name is: else it says nothing."""
_TRUE = frozenset({"1", "on", "t", "true", "y", "yes"})
_FALSE = frozenset({"0", "off", "f", "false", "n", "no"})
_RESUME = "LLMBENCH_RESUME"


def load_settings(
    path: Path | None,
    overrides: Mapping[str, tuple[str, str]] = {},
    environ: Mapping[str, str] = os.environ,
) -> Settings:
    """The settings: `overrides` over the environment's `LLMBENCH_*` over the file at `path` over the defaults.

    An override is an option's name or a dotted key with the text that was given and where, such as
    `{"epochs": ("3", "the command line")}`. Lists are given as `a,b` or as JSON, mappings as JSON, nothing as `none`
    or, where that is a value, as `null`. An empty variable of the environment counts as not set. Relative paths stay
    relative to the current directory.

    Raises:
        UsageError: unknown keys, wrong values or an unreadable file; one line for each fault: where, and what to do.
    """
    faults = Faults()
    settings = _from_file(read_yaml(path), faults) if path else Settings()
    given = {**_from_environment(environ, faults), **{OPTIONS.get(key, key): raw for key, raw in overrides.items()}}
    changes: dict[str, dict[str, Any]] = {}
    for dotted, (raw, origin) in given.items():
        if dotted not in _KEYS:
            faults.add(f"{origin}: unknown setting '{dotted}'; {suggestion(dotted, _KEYS)}")
            continue
        section, key = dotted.split(".")
        try:
            changes.setdefault(section, {})[key] = _from_text(dotted, raw)
        except json.JSONDecodeError:
            how = _AS_TEXT["array" if "array" in _kinds(dotted) else "object"]
            faults.add(f"{origin}: {_wrong(dotted, raw, ValueError())}, {how}")
        except _GivenTwiceError as error:
            faults.add(f"{origin}: {dotted}: {error}")
        except ValueError as error:
            faults.add(f"{origin}: {_wrong(dotted, raw, error)}")
    faults.raise_any()
    sections = {name: getattr(settings, name).model_copy(update=update) for name, update in changes.items()}
    return settings.model_copy(update=sections)


def _from_environment(environ: Mapping[str, str], faults: Faults) -> dict[str, tuple[str, str]]:
    found: dict[str, tuple[str, str]] = {}
    for variable, raw in sorted(environ.items()):
        if not variable.startswith(_PREFIX) or variable in RESERVED or not raw.strip():
            continue
        if variable == _OPPOSITE and raw.strip().lower() in _FALSE:
            continue
        key = _VARIABLES.get(variable)
        if variable == _RESUME:
            faults.add(f"{variable}: a run is resumed on the command line alone; unset this variable")
        elif key is None:
            faults.add(f"{variable}: unknown variable of the environment; {_variable_meant(variable)}")
        elif key in found:
            faults.add(f"{variable}: {key} is also given by {found[key][1]}; keep one of them")
        else:
            turned = variable == _OPPOSITE and raw.strip().lower() in _TRUE
            found[key] = "false" if turned else raw, variable
    return found


def _variable_meant(variable: str) -> str:
    """What to write for an unknown variable: the nearest one, or where a setting has no short one its long form."""
    meant = {name.removeprefix(_PREFIX): [name] for name in (*_VARIABLES, *RESERVED)}  # all are near by the prefix
    for key in _KEYS:
        for name in (key.partition(".")[2].upper(), key.upper().replace(".", "_")):
            if f"{_PREFIX}{name}" not in _VARIABLES:
                meant.setdefault(name, []).append(_long_form(key))
    word = variable.removeprefix(_PREFIX)
    own = word.rpartition("__")[2]  # in another section than was written
    near = nearest(own if own in meant else word, meant)
    shorts = (name for name in _VARIABLES if "__" not in name)
    return f"did you mean {_either(meant[near])}?" if near else f"choose from {', '.join(shorts)}"


def _either(names: Iterable[str]) -> str:
    return " or ".join(f"'{name}'" for name in names)


def _from_text(dotted: str, raw: str) -> Any:
    """The value that a text from outside means. Raises ValueError when it means none."""
    kinds = _kinds(dotted)
    text = raw.strip()
    value: Any = text
    if "null" in kinds and text.lower() in ("none", "null") and text not in _listed(dotted):
        value = None
    elif _is_json(kinds, text):
        value = json.loads(text, object_pairs_hook=_once_each)
    elif "array" in kinds and "string" not in kinds:
        value = [part.strip() for part in text.split(",") if part.strip()]
    key = dotted.partition(".")[2]
    return getattr(_KEYS[dotted].model_validate({key: value}), key)


def _is_json(kinds: set[str | None], text: str) -> bool:
    """Whether a text from outside is read as JSON."""
    return kinds == {"object"} or any(kind in kinds and text.startswith(begin) for kind, begin in _BEGINS.items())


def _kinds(dotted: str) -> set[str | None]:
    """The kinds of value that a setting takes, in the words of JSON Schema."""
    return {part.get("type") for part in alternatives(_schema(dotted))}


def _listed(dotted: str) -> set[str]:
    """The words that a setting lists as its values; `none` is one of some."""
    return {word for part in alternatives(_schema(dotted)) for word in part.get("enum", ())}


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A mapping of JSON, which would silently keep the last of two values of one name."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise _GivenTwiceError(f"{printable(name)} is given twice; give it once")
        found[name] = value
    return found


def _from_file(document: Document, faults: Faults) -> Settings:
    data = {} if document.data is None else document.data
    if not isinstance(data, dict):
        sections = ", ".join(Settings.model_fields)
        raise UsageError(f"{document.path}:1: a settings file is a mapping of the sections {sections}")
    data = {section: {} if values is None else values for section, values in data.items()}
    try:
        return Settings.model_validate_json(json.dumps(data), strict=True)
    except ValidationError as error:
        for line, message in sorted(set(_file_faults(document, data, error))):
            faults.at(document.path, line, message)
        return Settings()


def _file_faults(document: Document, data: Mapping[str, Any], error: ValidationError) -> Iterator[tuple[int, str]]:
    for item in error.errors(include_url=False):
        where = item["loc"]
        section, *keys = map(str, where[:2])
        if item["type"] == "extra_forbidden" and len(where) <= 2:  # noqa: PLR2004  # section and key
            message = _unknown(section, *keys)
        elif not keys:
            message = f"{section}: is a section; write its keys below it: {', '.join(_keys_of(section))}"
        else:
            message = _wrong(f"{section}.{keys[0]}", data[section][keys[0]], error)
        yield document.line(*where), message


def _unknown(section: str, key: str = "") -> str:
    name = key or section
    home = next((dotted for dotted in _KEYS if dotted.partition(".")[2] == name), None)
    names = _keys_of(section) if key else Settings.model_fields
    elsewhere = home and not nearest(name, names)
    known = f"it belongs in the section '{home.partition('.')[0]}'" if home and elsewhere else suggestion(name, names)
    return f"unknown key '{key}' in '{section}'; {known}" if key else f"unknown section '{section}'; {known}"


def _keys_of(section: str) -> list[str]:
    return [dotted.partition(".")[2] for dotted in _KEYS if dotted.startswith(f"{section}.")]


def _wrong(dotted: str, value: Any, error: ValueError) -> str:
    """What is wrong with a value: what its own check says, or what would have been right."""
    shows = _KEYS[dotted].model_fields[dotted.partition(".")[2]].repr
    for item in error.errors() if isinstance(error, ValidationError) else ():
        named = [part for part in item["loc"] if isinstance(part, str)]  # the others are places in a list
        if item["type"] == "value_error" and dotted.endswith(f".{named[-1]}"):
            return f"{dotted}: {item['ctx']['error']}"
        if shows and (inside := _fault_inside(dotted, value, item)):
            return inside
    shown = f"{printable(value):.60}" if shows else "its value"
    return f"{dotted}: {shown} is not valid; give {' or '.join(map(phrase, alternatives(_schema(dotted))))}"


def _fault_inside(dotted: str, value: Any, fault: ErrorDetails) -> str | None:
    """What is wrong with one value of a mapping, such as `load.targets.0.url`; None where it is no such fault."""
    section, _, key = dotted.partition(".")
    where = fault["loc"][1:] if fault["loc"][:1] == (section,) else fault["loc"]
    path = where[1:]
    if where[:1] != (key,) or not path:
        return None  # another setting's, or of the whole value
    if isinstance(value, str) and _is_json(_kinds(dotted), value.strip()):
        value = json.loads(value)
    for part in path[:-1]:
        within = part in value if isinstance(value, Mapping) else isinstance(value, list) and isinstance(part, int)
        if not within:
            return None  # the name of an alternative
        value = value[part]
    unknown = fault["type"] == "extra_forbidden"
    if not isinstance(value, Mapping) or not (path[-1] in value or fault["type"] == "missing"):
        return None
    nested: Any = {**fault, "loc": (key, *path)}
    return f"{f'{dotted}: ' if unknown else f'{section}.'}{fault_text(_KEYS[dotted], nested)}"


def _schema(dotted: str) -> Mapping[str, Any]:
    section = _KEYS[dotted]
    schema: Mapping[str, Any] = section.model_json_schema()["properties"][dotted.partition(".")[2]]
    return schema
