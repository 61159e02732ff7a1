from __future__ import annotations

import xml.etree.ElementTree as ET

from support.plugin_project import Project


def test_junit_xml_counts_cases_and_carries_the_explanation_of_a_failure(project: Project) -> None:
    project.expect_the_impossible("sound/mute")
    project.run("--junit-xml", "junit.xml")
    suite = ET.parse(project.path / "junit.xml").getroot().find("testsuite")  # noqa: S314  # written by pytest
    assert suite is not None
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("6", "1", "0")
    failure = suite.find("testcase[@name='test_case[sound/mute]']/failure")
    assert failure is not None
    assert "always_1 of finetuned is 1, expected at least 2" in failure.get("message", "")
