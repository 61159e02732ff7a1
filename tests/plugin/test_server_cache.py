"""A gate on a server whose answers of before are in the cache."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator

import pytest
from aiohttp import web
from support.fake_chat_server import DONE, FakeChatServer, chunk, started
from support.plugin_project import Project


async def answer(server: FakeChatServer, request: web.Request) -> web.StreamResponse:
    await request.read()
    response = await started(request)
    await response.write(chunk("je monte le volume du son, sur la lampe") + chunk(finish="stop") + DONE)
    return response


@pytest.fixture
def server() -> Iterator[FakeChatServer]:
    fake = FakeChatServer(answer)
    yield fake
    fake.close()


def test_no_gate_passes_on_what_was_remembered(project: Project, server: FakeChatServer) -> None:
    (project.path / "conftest.py").unlink(missing_ok=True)  # the real server, not the parrot
    asked = ["--llmbench-server", server.url, "--llmbench-gate", "regression", "--llmbench-compare", "accepted"]
    project.run("--llmbench-server", server.url, "--llmbench-save", "accepted").assert_outcomes(passed=6)
    before = len(server.bodies)
    remembered = project.run(*asked, "--junit-xml", "junit.xml")
    assert len(server.bodies) == before
    gate = project.report()["gate"]
    assert (gate["outcome"], gate["failed"]) == ("inconclusive", False)
    remembered.stdout.fnmatch_lines(["INCONCLUSIVE: regression gate*", "*6 of 6 answers of base come from the*"])
    report = ET.parse(project.path / "junit.xml")  # noqa: S314  # written by pytest
    told = {one.get("name"): one.get("value") for one in report.iter("property")}
    assert told["outcome"] == "inconclusive"
    assert "generation.cache: false" in str(told["reason"])
    fresh = project.run(*asked, "--llmbench-no-cache")
    assert project.report()["gate"]["outcome"] == "pass"
    fresh.stdout.no_fnmatch_line("*completion cache*")
