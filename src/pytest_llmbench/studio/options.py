"""What a studio is started with."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from pytest_llmbench.core.settings import Settings


@dataclasses.dataclass(frozen=True, slots=True)
class StudioOptions:
    """The settings of the project, and what no settings file may say.

    `folder` holds the database, the datasets and the jobs. `token` is asked of every request where it is given, which
    it must be for a `host` that other machines reach. Models outside the registry are refused unless `allow_any_model`.
    `config` is the settings' file where one was named: jobs read it too.
    """

    settings: Settings
    folder: Path
    host: str = "127.0.0.1"
    port: int = 8400
    token: str | None = None
    allow_any_model: bool = False
    config: Path | None = None
