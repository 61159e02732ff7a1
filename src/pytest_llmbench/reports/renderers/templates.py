"""The templates that pages are made of, each compiled once a process, and what stands in pages as it is."""

from __future__ import annotations

import functools
import importlib.resources
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import jinja2

_ROOT = "reports"


def template(folder: str, name: str) -> jinja2.Template:
    """One of `reports/<folder>/assets`. What it is given is escaped; a name that it is not given is an error."""
    return _environment(folder).get_template(name)


def asset(name: str) -> str:
    """A style or a script of pages."""
    return importlib.resources.files("pytest_llmbench").joinpath(_ROOT, "html", "assets", name).read_text("utf-8")


@functools.cache
def _environment(folder: str) -> jinja2.Environment:
    import jinja2

    return jinja2.Environment(
        loader=jinja2.PackageLoader("pytest_llmbench", f"{_ROOT}/{folder}/assets"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
