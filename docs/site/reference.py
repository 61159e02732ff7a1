"""The pages of the reference, made from the package itself: nothing in them is written twice."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, get_args, get_origin

import typer
from _pytest.config.argparsing import Parser
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from pytest_llmbench import api, config
from pytest_llmbench.cli import app
from pytest_llmbench.core.settings import OPTIONS, Settings
from pytest_llmbench.plugin import fixtures, hookspecs
from pytest_llmbench.plugin.options import add_options

_SETTINGS = (
    "In `configs/llmbench.yaml`, section by section, or in the environment: `LLMBENCH_GATE__MARGIN` is `gate.margin`. "
    "The command line wins over the environment, which wins over the file."
)
_OPTIONS = (
    "Each is an ini name too, with `_` for `-` (`llmbench_epochs`), and a variable of the environment "
    "(`LLMBENCH_EPOCHS`)."
)


def pages() -> Mapping[str, str]:
    """Markdown by the page's path."""
    return {f"reference/{name}.md": make() for name, make in _PAGES.items()}


def _settings() -> str:
    flags = {setting: f"--llmbench-{option}" for option, setting in OPTIONS.items()}
    parts = [f"# Settings\n\n{_SETTINGS}\n"]
    for name, field in Settings.model_fields.items():
        section = field.annotation
        if not (isinstance(section, type) and issubclass(section, BaseModel)):
            raise TypeError(f"settings.{name} is no section")
        parts.append(f"## {name}\n\n{_told(section)}\n\n| setting | default | | option |\n| --- | --- | --- | --- |")
        parts += [
            f"| `{name}.{key}` | `{_default(one)}` | {_meaning(one)} | {_flag(flags, f'{name}.{key}')} |"
            for key, one in section.model_fields.items()
        ]
        parts.append("")
    return "\n".join(parts)


def _meaning(field: FieldInfo) -> str:
    choices = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
    values = f" ({', '.join(f'`{choice}`' for choice in choices)})" if choices else ""
    return _cell(field.description or "") + values


def _flag(flags: Mapping[str, str], setting: str) -> str:
    return f"`{flags[setting]}`" if setting in flags else ""


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    return _cell(str(list(value) if isinstance(value, tuple) else value) or "''")


def _options() -> str:
    parser = Parser(_ispytest=True)
    add_options(parser)
    rows = [
        f"| `{_cell(' '.join([name, said.get('metavar') or '']))}` | {_cell(said.get('help', ''))} |"
        for option in parser.getgroup("llmbench").options
        for name, said in ((name, option.attrs()) for name in option.names())
    ]
    return "\n".join([f"# Options of pytest\n\n{_OPTIONS}\n\n| option | |\n| --- | --- |", *rows])


def _commands() -> str:
    root = typer.main.get_command(app)
    return "\n".join(["# Commands\n", *_command("llmbench", root)])


def _command(name: str, command: Any) -> Iterator[str]:
    children = getattr(command, "commands", {})
    if name != "llmbench":
        yield f"## {name}\n\n{inspect.cleandoc(command.help or '')}\n"
    shown = [parameter for parameter in command.params if not getattr(parameter, "hidden", False)]
    if shown and name != "llmbench":
        yield "| | |\n| --- | --- |"
        for parameter in shown:
            yield f"| `{_typed(parameter)}` | {_cell(getattr(parameter, 'help', '') or '')} |"
        yield ""
    for child, one in children.items():
        yield from _command(f"{name} {child}", one)


def _typed(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return str(parameter.metavar or parameter.name.upper())
    return ", ".join([*parameter.opts, *parameter.secondary_opts])


def _hooks() -> str:
    parts = ["# Hooks\n\nFunctions that a `conftest.py` or another plugin may define.\n"]
    for name, hook in vars(hookspecs).items():
        if name.startswith("pytest_llmbench_") and callable(hook):
            parts.append(f"## {name}\n\n```python\ndef {name}{_signature(hook)}\n```\n\n{_told(hook)}\n")
    return "\n".join(parts)


def _fixtures() -> str:
    found = [
        node
        for node in ast.walk(ast.parse(Path(fixtures.__file__).read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef)
        and any("pytest.fixture" in ast.unparse(one) for one in node.decorator_list)
    ]
    parts = ["# Fixtures\n"]
    for node in found:
        scope = "session" if any("session" in ast.unparse(one) for one in node.decorator_list) else "function"
        given = ast.unparse(node.returns) if node.returns else "None"
        parts.append(f"## {node.name}\n\n`{given}`, scope {scope}. {ast.get_docstring(node)}\n")
    return "\n".join(parts)


def _interface() -> str:
    return _module("Python", api, api.__all__)


def _server_settings() -> str:
    return _module("Server settings", config, [name for name in config.__all__ if name not in api.__all__])


def _module(title: str, module: ModuleType, names: Iterable[str]) -> str:
    parts = [f"# {title}\n\n{_told(module)}\n"]
    for name in names:
        parts += [f"## {name}\n", *_documented(name, getattr(module, name))]
    return "\n".join(parts)


def _documented(name: str, found: Any) -> Iterator[str]:
    if isinstance(found, ModuleType):
        yield f"{_told(found)}\n"
        for key, member in vars(found).items():
            if isinstance(member, type) and member.__module__ == found.__name__ and not key.startswith("_"):
                yield f"### {name}.{key}\n"
                yield from _documented(f"{name}.{key}", member)
        return
    if not isinstance(found, type):
        yield f"```python\n{name}{_signature(found)}\n```\n\n{_told(found)}\n"
        return
    if dataclasses.is_dataclass(found):
        fields = [one for one in dataclasses.fields(found) if not one.name.startswith("_")]
        yield f"```python\n{name}({', '.join(f'{one.name}: {one.type}' for one in fields)})\n```\n"
    yield f"{_told(found)}\n"
    for key, member in vars(found).items():
        function = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
        if key.startswith("_") or not inspect.isfunction(function) or not function.__doc__:
            continue
        signature = "" if isinstance(member, property) else _signature(function)
        yield f"**`{key}{signature}`**\n\n{_told(function)}\n"


def _told(documented: object) -> str:
    """A docstring with its list of errors as Markdown."""
    text = inspect.getdoc(documented) or ""
    text = re.sub(r"^    (?=\w+: )", "- ", text, flags=re.MULTILINE)
    return text.replace("\nRaises:\n", "\nRaises:\n\n").replace("\nArgs:\n", "\nArguments:\n\n")


def _signature(function: Callable[..., Any]) -> str:
    return str(inspect.signature(function)).replace("'", "")


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


_PAGES: Mapping[str, Callable[[], str]] = {
    "settings": _settings,
    "options": _options,
    "commands": _commands,
    "fixtures": _fixtures,
    "hooks": _hooks,
    "api": _interface,
    "config": _server_settings,
}
