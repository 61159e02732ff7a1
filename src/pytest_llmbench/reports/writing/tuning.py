"""Writing the reports of a tuning: `tune.json`, `.txt`, `.md`, `.html` and `.png`."""

from __future__ import annotations

import functools
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llmbench.context.serving.files import COMPOSE, CONFIG, command_line, compose_yaml, config_yaml, write_files
from pytest_llmbench.context.tuning.advice import advised_config
from pytest_llmbench.context.tuning.session import FOLDER
from pytest_llmbench.context.tuning.space import ENGINE_SETTINGS
from pytest_llmbench.core.files import delete
from pytest_llmbench.core.locale import words
from pytest_llmbench.reports.charts.tuning import save_tuning
from pytest_llmbench.reports.renderers.registry import default_renderers
from pytest_llmbench.reports.views.tuning import tuning_report
from pytest_llmbench.reports.writing import Write, rendered, write_together, writing
from pytest_llmbench.runs.storage import as_json

if TYPE_CHECKING:
    from pytest_llmbench.context.tuning.document import TuningDocument
    from pytest_llmbench.core.setting_sections import Settings

NAME = "tune"


def write_tuning(document: TuningDocument, settings: Settings) -> dict[str, Path]:
    """Write those that `output` leaves on into its `report_dir`, all of them or none; kind to path.

    `serving` is the folder with the files of the settings to run, beside the study.

    Raises:
        NotReadyError: the disk is full or the folder cannot be written.
    """
    output = settings.output
    draw = functools.partial(save_tuning, document, say=words(output.language))
    figure = f"{NAME}.png" if output.png else None
    report = tuning_report(document, output.language, draw=draw if output.png else None, figure=figure)
    switched = {"text": output.text, "markdown": output.markdown, "html": output.html}
    wanted: dict[str, tuple[str, Write]] = {
        **({"json": (".json", writing(lambda: as_json(document.model_dump(mode="json"))))} if output.json else {}),
        **rendered(report, default_renderers(), switched),
        **({"png": (".png", lambda path: draw(path=path))} if output.png else {}),
    }
    paths = write_together(output.report_dir, NAME, wanted)
    return {**paths, "serving": _write_advised(document, settings)}


def _write_advised(document: TuningDocument, settings: Settings) -> Path:
    """The settings to run: the command that was measured, and the files that `llmbench config` writes; the folder.

    These have no place for what a template alone knows: where that was searched, there is the command alone.
    """
    folder, advised = settings.output.report_dir / FOLDER / "serving", document.advised
    texts = {"serve.sh": f"#!/bin/sh\nexec {command_line(shlex.split(advised.command))}\n"}
    if advised.settings.keys() <= ENGINE_SETTINGS:
        config = advised_config(document, settings)
        texts |= {CONFIG: config_yaml(config), COMPOSE: compose_yaml(config, folder)}
    else:
        for name in (CONFIG, COMPOSE):  # of an earlier tuning
            delete(folder / name)
    write_files({folder / name: text for name, text in texts.items()}, force=True)
    return folder
