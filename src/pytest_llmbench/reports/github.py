"""What GitHub Actions shows of a gate: annotations on the run, and the Markdown report as the job's summary."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_llmbench.core.errors import NotReadyError
from pytest_llmbench.core.text_cells import shorten
from pytest_llmbench.core.wording import words
from pytest_llmbench.reports import gate_sentences
from pytest_llmbench.reports.gate_sentences import Gate, Verdict
from pytest_llmbench.reports.judgement import beside_the_gate, verdict_sentences
from pytest_llmbench.reports.markdown import markdown
from pytest_llmbench.runs.gate_reasons import short

_log = logging.getLogger("pytest_llmbench")

MOST_ANNOTATIONS = 10
"""Errors, and warnings, that GitHub shows of one step."""
SUMMARY_BYTES = 1024 * 1024
"""What GitHub takes of one step's summary; of a longer one it shows nothing."""

_SAY = words("en")
_TITLE_CELLS = 120
_LINE_CELLS = 600

Annotation = tuple[str, list[str]]
"""A title, and the lines of the message."""


def annotations(gate: Mapping[str, Any]) -> list[str]:
    """Workflow commands to print, one a line: an error a failed verdict, warnings for what is open or noteworthy.

    What does not fail the session is a warning. Format: GitHub's "Workflow commands for GitHub Actions".
    """
    failed = [verdict for verdict in gate["verdicts"] if verdict["outcome"] == "fail"]
    told = [(_title(verdict), [_evidence(verdict, gate), *_moved(verdict)]) for verdict in failed]
    doubts = [
        (_title(verdict), [_evidence(verdict, gate), gate_sentences.settling(verdict, gate, _SAY)])
        for verdict in _inconclusive(gate)
    ]
    notes = [(_SAY.texts.get(f"note_{note['kind']}", note["kind"]), [note["message"]]) for note in gate["notes"]]
    if not gate["failed"]:
        return _commands("warning", [*told, *doubts, *notes])
    errors = told or [(gate_sentences.heading(gate, _SAY), [gate["reason"]])]
    return [*_commands("error", errors), *_commands("warning", [*doubts, *notes])]


def notices(document: Mapping[str, Any]) -> list[str]:
    """Workflow commands for the comparison with the base that the gate did not make: a notice with its sentences."""
    sentences = verdict_sentences(document, _SAY) if beside_the_gate(document) else []
    return _commands("notice", [(sentences[0].partition(":")[0], sentences)]) if sentences else []


def write_summary(document: Mapping[str, Any], path: Path, language: str) -> None:
    """Append the Markdown report to `path`, the file that `GITHUB_STEP_SUMMARY` names.

    Left out, with a warning, where the file would become longer than GitHub takes.

    Raises:
        NotReadyError: the disk is full or the file cannot be written.
        UsageError: the language is unknown.
    """
    added = f"\n{markdown(document, language)}".encode()
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


def _inconclusive(gate: Gate) -> list[Verdict]:
    """What keeps the gate from passing. Categories have few cases and are often open: the summary has them."""
    found = [verdict for verdict in gate_sentences.overall(gate) if verdict["outcome"] == "inconclusive"]
    return [] if gate["outcome"] == "pass" else found


def _title(verdict: Verdict) -> str:
    return f"{verdict['outcome']}, {gate_sentences.subject(verdict, verdict['metric'], _SAY)}"


def _evidence(verdict: Verdict, gate: Gate) -> str:
    return gate_sentences.evidence(verdict, gate, verdict["metric"], _SAY)


def _moved(verdict: Verdict) -> list[str]:
    return [
        f"{short(case['case'])}: {_SAY.number(case['before'])} -> {_SAY.number(case['after'])}"
        for case in verdict["moved"]
    ]


def _commands(level: str, told: Sequence[Annotation]) -> list[str]:
    """As many commands as GitHub shows; the last one counts what is left out."""
    shown = list(told)
    if len(shown) > MOST_ANNOTATIONS:
        left_out = len(shown) - MOST_ANNOTATIONS + 1
        shown[MOST_ANNOTATIONS - 1 :] = [("more", [f"and {left_out} more: see the job's summary or the report"])]
    return [_command(level, title, lines) for title, lines in shown]


def _command(level: str, title: str, lines: Sequence[str]) -> str:
    message = "\n".join(shorten(line, _LINE_CELLS) for line in lines)
    return f"::{level} title={_property('llmbench: ' + shorten(title, _TITLE_CELLS))}::{_data(message)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
