"""What GitHub Actions shows of a report: annotations on the run, and the Markdown report as the job's summary."""

import logging
from collections.abc import Sequence
from pathlib import Path

from pytest_llmbench.core.errors import NotReadyError
from pytest_llmbench.core.locale import Words, words
from pytest_llmbench.core.text_cells import shorten
from pytest_llmbench.reports.blocks import Alert, Report
from pytest_llmbench.reports.renderers.markdown import Markdown

_log = logging.getLogger("pytest_llmbench")

MOST_ANNOTATIONS = 10
"""Errors, warnings and notices that GitHub shows of one step, each."""
SUMMARY_BYTES = 1024 * 1024
"""What GitHub takes of one step's summary; of a longer one it shows nothing."""

_TITLE_CELLS = 120
_LINE_CELLS = 600


def annotations(report: Report) -> list[str]:
    """Workflow commands to print, one a line: the report's alerts. Of each level as many as GitHub shows.

    Format: GitHub's "Workflow commands for GitHub Actions".
    """
    say = words(report.language)
    return [
        command
        for level in ("error", "warning", "notice")
        for command in _commands([one for one in report.alerts if one.level == level], say)
    ]


def write_summary(report: Report, path: Path) -> None:
    """Append the Markdown report to `path`, the file that `GITHUB_STEP_SUMMARY` names.

    Left out, with a warning, where the file would become longer than GitHub takes.

    Raises:
        NotReadyError: the disk is full or the file cannot be written.
    """
    added = f"\n{Markdown().render(report)}".encode()
    try:
        if path.exists() and path.stat().st_size + len(added) > SUMMARY_BYTES:
            _log.warning("job summary: %s would pass GitHub's %d bytes; the report is left out", path, SUMMARY_BYTES)
            return
        with path.open("ab") as summary:
            summary.write(added)
    except OSError as error:
        raise NotReadyError(
            f"cannot write the job summary {path}: {error.strerror or error}; check GITHUB_STEP_SUMMARY and the disk"
        ) from error


def _commands(alerts: Sequence[Alert], say: Words) -> list[str]:
    """The last one counts what is left out."""
    shown = list(alerts)
    if len(shown) > MOST_ANNOTATIONS:
        left_out = len(shown) - MOST_ANNOTATIONS + 1
        shown[MOST_ANNOTATIONS - 1 :] = [
            Alert(shown[0].level, "...", [say("and {count} more: see the job's summary or the report", count=left_out)])
        ]
    return [_command(one) for one in shown]


def _command(alert: Alert) -> str:
    message = "\n".join(shorten(line, _LINE_CELLS) for line in alert.lines)
    return f"::{alert.level} title={_property('llmbench: ' + shorten(alert.title, _TITLE_CELLS))}::{_data(message)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
