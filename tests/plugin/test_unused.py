"""In a project that has the plugin installed and does not use it, nothing happens."""

from __future__ import annotations

import pytest

HEAVY = (
    "torch",
    "transformers",
    "scipy",
    "matplotlib",
    "pydantic",
    "aiohttp",
    "yaml",
    "numpy",
    "rich",
    "jsonschema",
    "filelock",
)
WATCH = f"""\
import subprocess, sys

started = []
popen = subprocess.Popen.__init__

def watched(self, command, *args, **kwargs):
    started.append(str(command))
    popen(self, command, *args, **kwargs)

def pytest_configure():
    subprocess.Popen.__init__ = watched

def pytest_unconfigure(config):
    heavy = [name for name in {HEAVY} if name in sys.modules]
    with open("seen-" + getattr(config, "workerinput", {{}}).get("workerid", "main"), "w") as file:
        file.write(f"heavy {{heavy}}, started {{started}}")
"""
OTHERS = ("hypothesispytest", "randomly", "benchmark", "cacheprovider", "asyncio")


def traces(pytester: pytest.Pytester, *options: str) -> dict[str, str]:
    """What each process saw, and every file that it left, by name."""
    result = pytester.runpytest_subprocess(*(f"-pno:{name}" for name in OTHERS), *options)
    result.assert_outcomes(passed=2)
    result.stdout.no_fnmatch_line("*llmbench*:*")
    left = [path for path in pytester.path.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    return {path.name: path.read_text() if path.name.startswith("seen") else "" for path in left}


@pytest.mark.parametrize("workers", [0, 2])
def test_unrelated_tests_leave_the_traces_that_they_leave_without_the_plugin(
    pytester: pytest.Pytester, workers: int
) -> None:
    pytester.makeconftest(WATCH)
    pytester.makepyfile(test_unrelated="def test_one():\n    pass\n\ndef test_two(tmp_path):\n    pass\n")
    seen = traces(pytester, f"-n{workers}")
    assert len([name for name in seen if name.startswith("seen")]) == 1 + workers
    assert all(text.startswith("heavy [],") for name, text in seen.items() if name.startswith("seen"))
    assert seen == traces(pytester, f"-n{workers}", "-pno:llmbench")
