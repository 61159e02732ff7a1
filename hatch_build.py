"""Compiles the translations when a wheel is built: git has their source, `locale/*.po`, alone."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_ROOT = Path(__file__).parent


class CompiledTranslations(BuildHookInterface):  # type: ignore[type-arg]  # generic for mypy alone
    """Puts each `.mo` file into the wheel, in place of its `.po` file."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002  # as hatchling calls it
        """Compile before files are gathered."""
        sys.path.insert(0, str(_ROOT / "src"))
        from pytest_llmbench.core.locale import compile_catalogues

        build_data["artifacts"] += [f"/{made.relative_to(_ROOT)}" for made in compile_catalogues()]
