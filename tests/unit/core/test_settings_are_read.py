"""A setting that nothing reads is a promise that is not kept: each is looked at somewhere in the code."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from support.sources import modules

from pytest_llmbench.core.settings import Settings

CLASSES = {type(section).__name__: name for name, section in Settings()}
BY_ITS_SECTION = {
    "model.adapter",
    "context.languages",
}  # others ask for `ModelSettings.adapters`, and for `asked_languages`


def said(node: ast.AST | None) -> str:
    """The last word of an expression: `gate` of `self.settings.gate` and of `gate`."""
    match node:
        case ast.Name(name) | ast.Attribute(attr=name) | ast.arg(arg=name):
            return name
    return ""


def named(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """The names that a module has for sections: of annotated arguments and fields, and of what is assigned."""
    for node in ast.walk(tree):
        match node:
            case ast.arg(annotation=ast.Name(kind)) | ast.AnnAssign(annotation=ast.Name(kind)) if kind in CLASSES:
                yield said(node if isinstance(node, ast.arg) else node.target), CLASSES[kind]
            case ast.Assign(targets=[ast.Tuple(targets)], value=ast.Tuple(values)):
                yield from ((said(one), said(value)) for one, value in zip(targets, values, strict=True))
            case ast.Assign(targets=[target], value=value):
                yield said(target), said(value)


def read(tree: ast.AST) -> set[str]:
    """The settings that a module looks at."""
    names = {(name, section) for name, section in named(tree) if section in CLASSES.values()}
    sections = {(section, section) for section in CLASSES.values()} | names
    looks = [(said(node.value), node.attr) for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    return {f"{section}.{key}" for name, key in looks for known, section in sections if known == name}


def test_every_setting_is_read() -> None:
    readers = [tree for name, tree in modules().items() if not name.startswith("core/setting_")]
    looked_at = set[str]().union(*map(read, readers))
    unread = {f"{name}.{key}" for name, section in Settings() for key in type(section).model_fields} - looked_at
    assert unread == BY_ITS_SECTION


def test_it_is_seen_by_whatever_name_a_module_has_for_a_section() -> None:
    looks = (
        "def f(chosen: GateSettings) -> float:\n    return chosen.alpha",
        "x, y = settings.load, settings.gate\ny.alpha",
        "self._gate = settings.gate\nself._gate.alpha",
        "self.settings.gate.alpha",
    )
    assert [read(ast.parse(look)) for look in looks] == [{"gate.alpha"}] * 4
    assert read(ast.parse("alpha = chosen.alpha")) == set()
