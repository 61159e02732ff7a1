"""In a project that has the plugin installed and does not use it, nothing happens."""

from __future__ import annotations

import pytest

HEAVY = ("torch", "transformers", "matplotlib", "pydantic", "aiohttp", "yaml", "numpy", "rich", "jsonschema", "filelock")
WATCH = f"""\
import subprocess, sys

def no_process(*args, **kwargs):
    raise AssertionError("a process was started")

def pytest_configure(config):
    if not config.getoption("numprocesses"):
        subprocess.Popen.__init__ = no_process

def pytest_unconfigure(config):
    heavy = [name for name in {HEAVY} if name in sys.modules]
    with open("heavy-" + getattr(config, "workerinput", {{}}).get("workerid", "main"), "w") as file:
        file.write(" ".join(heavy))
"""


@pytest.mark.parametrize("workers", ["0", "2"])
def test_unrelated_tests_cost_no_file_no_process_and_no_heavy_import(pytester: pytest.Pytester, workers: str) -> None:
    pytester.makeconftest(WATCH)
    pytester.makepyfile(test_unrelated="def test_one():\n    pass\n\ndef test_two(tmp_path):\n    pass\n")
    before = {path.name for path in pytester.path.iterdir()}
    others = ["-p", "no:hypothesispytest", "-p", "no:randomly", "-p", "no:benchmark", "-p", "no:cacheprovider"]
    result = pytester.runpytest_subprocess("-n", workers, *others)
    result.assert_outcomes(passed=2)
    result.stdout.no_fnmatch_line("*llmbench =*")
    watched = {path.name: path.read_text() for path in pytester.path.glob("heavy-*")}
    assert set(watched.values()) == {""}
    assert len(watched) == (3 if workers == "2" else 1)
    written = {path.name for path in pytester.path.iterdir()} - before - {"__pycache__"} - set(watched)
    assert written <= {"runpytest-0"}  # where pytester itself puts the temporary files
