import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.gates import gate, judged, note, verdict
from support.rendered import markdown

from pytest_llmbench.core.errors import NotReadyError
from pytest_llmbench.reports.renderers import github
from pytest_llmbench.reports.renderers.github import MOST_ANNOTATIONS, SUMMARY_BYTES
from pytest_llmbench.reports.views.benchmark import benchmark_report
from pytest_llmbench.reports.views.gate import gate_report
from pytest_llmbench.runs.typed import gate_document, run_document


def annotations(gate: Mapping[str, Any]) -> list[str]:
    return github.annotations(gate_report(gate_document(gate), "en"))


def write_summary(document: Mapping[str, Any], path: Path, language: str) -> None:
    github.write_summary(benchmark_report(run_document(document), language), path)


COMMAND = re.compile(r"::(error|warning) title=([^:,\r\n]*)::([^\r\n]*)")


def test_a_failed_verdict_is_an_error_with_its_evidence_and_cases() -> None:
    assert annotations(gate(verdict())) == [
        (
            "::error title=llmbench%3A fail%3A Relevance of finetuned::Relevance of finetuned: 0.660 -> 0.540, -0.120 "
            "(95%25 interval -0.200 to -0.050, p = 0.003, n = 30)%0Atool_routing/cas-03: 1.000 -> 0.000"
        )
    ]


def test_what_is_open_or_noteworthy_is_a_warning() -> None:
    shown = annotations(gate(verdict("inconclusive"), notes=[note()]))
    assert [line.split(" ")[0] for line in shown] == ["::warning", "::warning"]
    assert "about 210 cases" in shown[0]
    assert shown[1] == (
        "::warning title=llmbench%3A Cases missing in this run::2 cases of the baseline are not in this run: a/b, a/c"
    )


def test_a_pass_without_notes_prints_nothing() -> None:
    some = [verdict("pass"), verdict("inconclusive", "keywords"), verdict("inconclusive", category="c")]
    assert annotations(gate(*some, outcome="pass")) == []


def test_a_session_that_fails_always_has_an_error() -> None:
    lost = gate(baseline=None, outcome="fail", failed=True, reason="no such run")
    assert annotations(lost)[0].startswith("::error ")
    unproven = gate(verdict("inconclusive"), kind="improvement", failed=True)
    assert [line.split(" ")[0] for line in annotations(unproven)] == ["::error", "::warning"]


def test_a_mere_comparison_warns_of_a_regression() -> None:
    shown = annotations(gate(verdict(), kind="compare", failed=False))
    assert [line.split(" ")[0] for line in shown] == ["::warning"]


def test_no_more_are_printed_than_github_shows() -> None:
    many = gate(*(verdict(category=f"c{place}") for place in range(25)), notes=[note()] * 12)
    shown = annotations(many)
    errors = [line for line in shown if line.startswith("::error")]
    assert len(errors) == MOST_ANNOTATIONS
    assert "and 16 more" in errors[-1]
    assert len(shown) - len(errors) == MOST_ANNOTATIONS


@given(st.text(max_size=60), st.text(max_size=60))
def test_hostile_names_cannot_end_the_command(name: str, message: str) -> None:
    some = gate(
        verdict(variant=name, moved=[{"case": f"{message}%0A::error::x", "before": 1.0, "after": 0.0}]),
        notes=[note(message=message)],
    )
    for line in annotations(some):
        parsed = COMMAND.fullmatch(line)
        assert parsed
        assert not re.search(r"%(?!25|0A|0D|3A|2C)", line)
        assert unquote(parsed[2]).startswith("llmbench: ")


@pytest.mark.parametrize("language", ["en", "fr"])
def test_the_summary_is_added_to_what_is_there(language: str, tmp_path: Path) -> None:
    path, document = tmp_path / "summary.md", judged(gate(verdict()))
    path.write_text("of an earlier step", encoding="utf-8")
    write_summary(document, path, language)
    assert path.read_text(encoding="utf-8") == f"of an earlier step\n{markdown(document, language)}"


def test_a_summary_that_github_would_refuse_is_left_out_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "summary.md"
    path.write_bytes(b"x" * (SUMMARY_BYTES - 100))
    write_summary(judged(gate(verdict())), path, "en")
    assert path.stat().st_size == SUMMARY_BYTES - 100
    assert "the report is left out" in caplog.text


def test_a_disk_that_refuses_is_one_clear_message(tmp_path: Path) -> None:
    with pytest.raises(NotReadyError, match=r"cannot write the job summary .*; check GITHUB_STEP_SUMMARY and the disk"):
        write_summary(judged(gate(verdict())), tmp_path / "missing" / "summary.md", "en")


def test_a_category_in_doubt_is_a_warning_where_it_alone_keeps_a_gate_from_passing() -> None:
    doubt, quiet = (verdict("inconclusive", category=name, in_doubt=name == "safety") for name in ("safety", "quiet"))
    (shown,) = annotations(gate(verdict("pass"), doubt, quiet))
    assert shown.startswith("::warning title=llmbench%3A inconclusive%3A Relevance of finetuned in safety::")
