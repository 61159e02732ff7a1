"""Writes what is generated from the schemas of settings and documents: `make reference`. `--check` names what is stale.

One place holds a setting's name, default and help: `core/setting_sections.py`. From it come the light table that faces
build their options from, the comments of `configs/llmbench.yaml`, and the tables of the documentation.
"""

from __future__ import annotations

import json
import re
import sys
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import typer
import yaml
from pydantic import BaseModel

from pytest_llmbench.context.tuning.document import TuningDocument
from pytest_llmbench.core.setting_help import SettingHelp
from pytest_llmbench.core.setting_sections import Settings
from pytest_llmbench.runs.context_document import ContextDocument

ROOT = Path(__file__).parents[1]
TABLE = "src/pytest_llmbench/core/setting_table.py"
CONFIG = "configs/llmbench.yaml"
CONTEXT_SCHEMA = "src/pytest_llmbench/schemas/context.schema.json"
TUNING_SCHEMA = "src/pytest_llmbench/schemas/tune.schema.json"
WIDTH = 120
_LONG = 50  # a line of so many characters does not push the comments of others aside
HEAD = """\
# Every setting with its default. Delete what you do not change: a key left out keeps its default.
#
# The command line (--llmbench-epochs 3) wins over the environment (LLMBENCH_EPOCHS=3, or
# LLMBENCH_GENERATION__EPOCHS=3 for any key of any section), which wins over this file.
# Relative paths count from the folder where the command is run.
"""


def sections() -> Iterator[tuple[str, type[BaseModel]]]:
    """The sections of a settings file, in their order."""
    for name, section in Settings():
        yield name, type(section)


def settings() -> dict[str, SettingHelp]:
    """Every setting by its key, as the schema has it."""
    found = {}
    for name, section in sections():
        properties = section.model_json_schema()["properties"]
        defaults = section().model_dump(mode="json")
        for key, field in section.model_fields.items():
            shown = properties[key]
            found[f"{name}.{key}"] = SettingHelp(
                shown.get("option"),
                shown.get("metavar") or metavar(shown),
                written(defaults[key]),
                str(field.description),
            )
    return found


def metavar(schema: Mapping[str, Any]) -> str:
    """What stands for a value in help, by the JSON Schema of the setting."""
    words = {"integer": "N", "number": "X", "boolean": "", "string": "TEXT", "array": "A,B", "object": "JSON"}
    found = []
    for part in schema.get("anyOf", [schema]):
        if "enum" in part:
            found += part["enum"]
        elif "const" in part:
            found.append(part["const"])
        elif part.get("type") != "null":
            found.append("PATH" if part.get("format") == "path" else words[part["type"]])
    return "|".join(dict.fromkeys(found))


def written(value: Any) -> str:
    """A value as a settings file has it, on one line."""
    text = yaml.safe_dump(value, default_flow_style=True, width=10_000, allow_unicode=True)
    return text.removesuffix("\n...\n").strip().replace("'", '"')


def table() -> str:
    """The module from which faces build their options."""
    rows = [row_of_table(key, shown) for key, shown in settings().items()]
    return (
        '"""Every setting as faces show it. Written by `make reference` from `setting_sections.py`, not by hand."""\n\n'
        "from __future__ import annotations\n\nfrom collections.abc import Mapping\n\n"
        "from pytest_llmbench.core.setting_help import SettingHelp\n\n"
        f"SETTINGS: Mapping[str, SettingHelp] = {{\n{''.join(rows)}}}\n"
    )


def row_of_table(key: str, shown: SettingHelp) -> str:
    """A setting as the formatter would leave it: on one line where it is short enough, else on three, else on many."""
    option, *texts = shown
    values = [quoted(option) if option else "None", *map(quoted, texts)]
    told = ", ".join(values)
    if "\n" not in told and len(told) + len(key) + len('    "": SettingHelp(),') <= WIDTH:
        return f"    {quoted(key)}: SettingHelp({told}),\n"
    if "\n" not in told and len(told) + 8 <= WIDTH:
        return f"    {quoted(key)}: SettingHelp(\n        {told}\n    ),\n"
    return f"    {quoted(key)}: SettingHelp(\n{''.join(f'        {value},{chr(10)}' for value in values)}    ),\n"


def quoted(text: str) -> str:
    """A text as the formatter would leave it: cut into several where the line would be too long."""
    parts = textwrap.wrap(text, WIDTH - 11, drop_whitespace=False) or [""]
    cut = [repr(part) if '"' in part else json.dumps(part, ensure_ascii=False) for part in parts]
    return "\n        ".join(cut)


def config() -> str:
    """The settings file with every default, each with what it is for."""
    shown = settings()
    parts = [HEAD]
    for name, section in sections():
        about = " ".join(str(section.__doc__).split())
        lines = [f"  {key}: {shown[f'{name}.{key}'].default}" for key in section.model_fields]
        column = max(len(line) for line in lines if len(line) < _LONG) + 1
        parts.append("\n" + textwrap.fill(about, WIDTH, initial_indent="# ", subsequent_indent="# ") + f"\n{name}:\n")
        for line, key in zip(lines, section.model_fields, strict=True):
            parts.append(commented(line, column, shown[f"{name}.{key}"].description))
    return "".join(parts)


def commented(line: str, column: int, comment: str) -> str:
    """A line with its comment at the column; a long comment goes on below it."""
    start = max(column, len(line) + 1)
    first, *rest = textwrap.wrap(comment, max(WIDTH - start - 2, 30), break_long_words=False)
    below = "".join(f"{' ' * start}# {more}\n" for more in rest)
    return f"{line:<{start}}# {first}\n{below}"


def settings_page() -> str:
    """All settings by section, with the option and the variable that give each."""
    shown = settings()
    parts = []
    for name, section in sections():
        parts.append(f"\n## {name}\n\n{' '.join(str(section.__doc__).split())}\n\n")
        parts.append("| key | pytest option | default | meaning |\n| --- | --- | --- | --- |\n")
        parts += [row(key, shown[f"{name}.{key}"]) for key in section.model_fields]
    return "".join(parts)


def section_table(name: str) -> str:
    """One section as a table."""
    keys = {key.partition(".")[2]: one for key, one in settings().items() if key.startswith(f"{name}.")}
    lines = [row(key, one) for key, one in keys.items()]
    return "".join(["| key | pytest option | default | meaning |\n| --- | --- | --- | --- |\n", *lines])


def row(key: str, shown: SettingHelp) -> str:
    """A setting as a row of a table."""
    option = f"`--llmbench-{shown.option} {shown.metavar}".rstrip() + "`" if shown.option else ""
    cells = (f"`{key}`", option, f"`{shown.default}`", shown.description)
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |\n"


def command_table(name: str) -> str:
    """The options of a command: pytest's for the same, the setting, and what it is for."""
    from pytest_llmbench.cli import app
    from pytest_llmbench.cli.options import keys_of
    from pytest_llmbench.plugin.options import flags_by_name

    command = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
    keys, flags = keys_of(command), flags_by_name()
    lines = ["| option | pytest | setting | meaning |\n", "| --- | --- | --- | --- |\n"]
    for param in command.params:
        option = next((one for one in param.opts if one.startswith("--")), None)
        if option is None or param.name == "help":
            continue
        key = keys.get(param.name, "")
        same = flags.get(key or param.name, "")
        cells = [f"`{option}`", f"`{same}`" if same else "", f"`{key}`" if key else "", str(param.help)]
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |\n")
    return "".join(lines)


def schema_of(document: type[BaseModel], title: str, file: str) -> str:
    """The JSON Schema of a document, as its models have it."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **document.model_json_schema(mode="serialization"),
        "title": f"pytest-llmbench: {title}",
        "description": f"reports/{file}, schema version 1",
    }
    return json.dumps(schema, ensure_ascii=False, indent=2) + "\n"


def generated() -> Iterator[tuple[str, str]]:
    """Each file that is generated, whole or between marks, with what it should hold."""
    yield TABLE, table()
    yield CONFIG, config()
    yield CONTEXT_SCHEMA, schema_of(ContextDocument, "how long a context servers hold", "context.json")
    yield TUNING_SCHEMA, schema_of(TuningDocument, "launch settings that hold most users", "tune.json")
    for page in sorted((ROOT / "docs").glob("*.md")):
        text = page.read_text(encoding="utf-8")
        if "<!-- generated:" in text:
            yield f"docs/{page.name}", filled(text)


def filled(text: str) -> str:
    """A page with what stands between `<!-- generated: KIND NAME -->` and `<!-- end -->` made anew."""
    made = {"settings": lambda _: settings_page(), "section": section_table, "command": command_table}

    def fill(match: re.Match[str]) -> str:
        return f"{match[1]}\n{made[match[2]](match[3] or '').strip()}\n\n<!-- end -->"

    return re.sub(r"(<!-- generated: (\w+) ?([\w-]*) -->\n).*?<!-- end -->", fill, text, flags=re.DOTALL)


def stale() -> list[str]:
    """The files that are not as they should be."""
    return [name for name, text in generated() if not same(ROOT / name, text)]


def same(path: Path, text: str) -> bool:
    """Whether a file holds that already."""
    return path.is_file() and path.read_text(encoding="utf-8") == text


if __name__ == "__main__":
    if "--check" in sys.argv:
        sys.exit("\n".join(f"{name} is stale; run `make reference`" for name in stale()) or 0)
    for name, text in generated():
        if not same(ROOT / name, text):
            (ROOT / name).write_text(text, encoding="utf-8")
            sys.stdout.write(f"wrote {name}\n")
