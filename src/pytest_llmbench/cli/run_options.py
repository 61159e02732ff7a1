"""The words that commands on saved runs share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pytest_llmbench.cli.setting_option import SettingOption
from pytest_llmbench.cli.settings_options import chosen_settings

RUN_HELP = "A saved run's number or name, latest, a path, a git reference, or REF:PATH in git."

Run = Annotated[str, typer.Argument(metavar="RUN", help=RUN_HELP)]
ReportDir = Annotated[Path | None, SettingOption("output.report_dir")]


def reports_folder(given: Path | None) -> Path:
    """The folder of reports and runs: the given one, else that of the project's settings."""
    return given or chosen_settings(None).output.report_dir
