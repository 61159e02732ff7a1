"""What a session says first, whether it has a gate or not: better, worse, or no verdict."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from typing import Any

import pytest
from support.plugin_project import Project

CASES = [f"c{number}" for number in range(12)]


@pytest.fixture
def drilled(project: Project) -> Project:
    """Twelve cases of which the fine-tune knows the keyword, and the base does not."""
    for name in ("lights", "sound"):
        (project.path / f"prompts/{name}.yaml").unlink()
    cases = "\n".join(f"  - {{id: {case}, prompt: monte {case}, keywords: [volume]}}" for case in CASES)
    project.write("prompts/drill.yaml", f"category: drill\ncases:\n{cases}\n")
    return project


def document(project: Project) -> Any:
    return json.loads((project.path / "reports/benchmark.json").read_text())


def test_without_a_gate_the_comparison_with_the_base_comes_first_everywhere(
    drilled: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    text = drilled.run("--junit-xml=junit.xml").stdout.str()
    found = document(drilled)
    assert found["gate"] is None
    word = {"pass": "BETTER", "inconclusive": "NO CHANGE SHOWN"}[found["comparison"]["outcome"]]
    assert text.index(f"{word}: ") < text.index("base -> finetuned")
    assert f"::notice title=llmbench%3A {word}::" in text
    suite = ET.parse(drilled.path / "junit.xml").getroot().find("testsuite")  # noqa: S314  # written by pytest
    assert suite is not None
    said = [one.get("value", "") for one in suite.iter("property") if one.get("name") == "llmbench.verdict"]
    assert said[0].startswith(f"{word}: ")


def test_a_limited_session_has_no_verdict(drilled: Project) -> None:
    drilled.backend("knows=lambda case: True")
    text = drilled.run("--llmbench-limit=6").stdout.str()
    assert "LIMITED to the first cases (6" in text
    assert not any(word in text for word in ("BETTER", "EFFECTIVE"))


def test_a_session_is_limited_where_cases_were_left_out_however_many_it_asked(drilled: Project) -> None:
    drilled.backend("knows=lambda case: True")
    for asked, limited in ((("--llmbench-limit=12",), False), (("--llmbench-limit=6", "-k", "c0 or c1"), True)):
        assert ("LIMITED to the first cases" in drilled.run(*asked).stdout.str()) is limited
        assert document(drilled)["metadata"]["limited"] is limited


def test_a_run_that_is_cut_short_says_how_much_there_is(drilled: Project) -> None:
    drilled.expect_the_impossible("drill/c4")
    text = drilled.run("-x").stdout.str()
    assert "CUT SHORT: 5 of 12 results" in text
    assert document(drilled)["metadata"]["cut_short"] == {"results": 5, "planned": 12}
    assert not any(word in text for word in ("BETTER", "EFFECTIVE"))


def test_the_text_has_the_trend_where_no_picture_is_drawn(drilled: Project) -> None:
    drilled.write("configs/llmbench.yaml", "output: {png: false, html: false}\n")
    for _ in range(2):
        drilled.run()
    assert "Trend over the saved runs (2)" in (drilled.path / "reports/benchmark.txt").read_text(encoding="utf-8")
