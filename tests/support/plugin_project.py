"""A user's project in a temporary folder: two suites, one test, and a backend that logs what it is asked."""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import shutil
from pathlib import Path
from typing import Any

import pytest

_PARROT = Path(__file__).with_name("parrot.py")
_FILES = {
    "pytest.ini": "[pytest]\nasyncio_default_fixture_loop_scope = function\n",
    "configs/llmbench.yaml": "output: {html: false, png: false}\n",
    "prompts/tools.yaml": "tools: {set_lights: [lampe, lumière], volume_up: [son, volume]}\n",
    "prompts/lights.yaml": """\
category: lights
cases:
  - {id: lamp, prompt: allume la lampe, keywords: [lampe], tool: set_lights}
  - {id: kitchen, prompt: allume la lampe de la cuisine}
  - {id: dark, prompt: il fait noir}
""",
    "prompts/sound.yaml": """\
category: sound
cases:
  - {id: louder, prompt: monte le son, keywords: [son], tool: volume_up}
  - {id: deaf, prompt: parle moins fort s'il te plaît}
  - {id: mute, prompt: chut}
""",
    "test_suite.py": """\
import pytest

@pytest.mark.benchmark
def test_case(llmbench_answers):
    llmbench_answers.check()
""",
}
_ROOMS = (
    *("autotune", "benchmark", "cases", "context", "core", "generation"),
    *("load", "metrics", "plugin", "reports", "runs"),
)
_LATE = (
    *("babel.dates", "babel.numbers", "filelock", "hypothesis", "jinja2.ext", "jsonschema", "psutil", "scipy.stats"),
    *("matplotlib.backends.backend_agg", "matplotlib.backends.backend_svg"),
    *("matplotlib.colorbar", "matplotlib.figure", "matplotlib.projections", "matplotlib.style"),
    *("mpl_toolkits.mplot3d", "aiohttp.web", "pydantic.type_adapter", "rich.progress", "yaml"),
)
CUT_SHORT = "cut short: every answer so far is in reports/runs/unfinished-*; go on with --llmbench-resume"
CASES = ("lights/lamp", "lights/kitchen", "lights/dark", "sound/louder", "sound/deaf", "sound/mute")


class Project:
    """The project of one test."""

    def __init__(self, pytester: pytest.Pytester) -> None:
        self._pytester = pytester
        self.path = pytester.path
        shutil.copy(_PARROT, self.path)
        for name, text in _FILES.items():
            self.write(name, text)
        self.backend()

    def write(self, name: str, text: str) -> None:
        """Write one file, and its folder."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def backend(self, arguments: str = "", more: str = "") -> None:
        """Write the `conftest.py`: `Parrot(<arguments>)` answers, and `more` is what else it holds."""
        self.write(
            "conftest.py",
            f"import os\nfrom parrot import Parrot\n\n{more}\n"
            f"def pytest_llmbench_backend(settings):\n    return Parrot({arguments})\n",
        )

    def expect_the_impossible(self, *cases: str) -> None:
        """Make these cases fail: a metric `always_1` is expected to be 2."""
        for case in cases:
            category, _, name = case.partition("/")
            suite = self.path / "prompts" / f"{category}.yaml"
            text = suite.read_text().replace(f"{{id: {name},", f"{{id: {name}, expect: {{always_1: 2}},")
            suite.write_text(text)
        hook = "def pytest_llmbench_metrics(registry):\n    registry.add('always_1', lambda case, completion: 1)\n"
        self.backend(more=hook)

    def run(self, *options: str) -> pytest.RunResult:
        """Run pytest in this process, in the order of the suites; the benchmark where the options have no `-m`."""
        return self.run_plain(*(() if "-m" in options else ("-m", "benchmark")), *options)

    def run_plain(self, *options: str) -> pytest.RunResult:
        """Run pytest in this process with these options and no marker."""
        return self._pytester.runpytest_inprocess("-p", "no:randomly", *options, no_reraise_ctrlc=True)

    def run_shuffled(self, seed: str) -> pytest.RunResult:
        """Run the benchmark in this process, in the order that pytest-randomly makes of the seed."""
        return self._pytester.runpytest_inprocess("-m", "benchmark", "--randomly-seed", seed)

    def run_alone(self, *options: str) -> pytest.RunResult:
        """Run pytest in a process of its own, with every plugin but one: Hypothesis is imported when a session ends."""
        return self._pytester.runpytest_subprocess("-p", "no:hypothesispytest", *options)

    def asked(self) -> list[str]:
        """What the backend was asked, `variant case#epoch`, in that order, by all runs so far."""
        return [" ".join(line.split()[:2]) for line in self._log()]

    def batches(self) -> list[int]:
        """How many cases were handed over together with each that was answered."""
        return [int(line.split()[2]) for line in self._log()]

    def processes(self) -> set[str]:
        """Who asked."""
        return {line.split()[3] for line in self._log()}

    def report(self, folder: str = "reports") -> dict[str, Any]:
        """The latest JSON report."""
        report: dict[str, Any] = json.loads((self.path / folder / "benchmark.json").read_text())
        return report

    def reported(self) -> list[str]:
        """The cases of the latest report."""
        return [f"{row['category']}/{row['prompt_id']}" for row in self.report()["results"]]

    def runs(self) -> list[str]:
        """The run folders; the part before the `_` or the `-`."""
        folders = (self.path / "reports" / "runs").glob("[!.]*")
        return sorted(folder.name.replace("-", "_").partition("_")[0] for folder in folders)

    def files(self) -> set[str]:
        """Every file there is, but for Python's and pytest's own caches."""
        names = (str(path.relative_to(self.path)) for path in self.path.rglob("*") if path.is_file())
        return {name for name in names if "__pycache__" not in name and ".pytest_cache" not in name}

    def _log(self) -> list[str]:
        log = self.path / "asked.log"
        return log.read_text().splitlines() if log.exists() else []


def asked_once(*cases: str) -> list[str]:
    """The sorted log of a backend that was asked for both variants of each of these cases once."""
    return sorted(f"{variant} {case}#0" for case in cases for variant in ("base", "finetuned"))


@pytest.fixture(scope="session")
def _imported_once() -> None:
    """In-process runs forget what they imported: slow to import again, and impossible where code is compiled."""
    for name in _LATE:
        importlib.import_module(name)
    for room in _ROOMS:
        package = importlib.import_module(f"pytest_llmbench.{room}")
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(found.name)


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, _imported_once: None) -> Project:
    """A project with nothing inherited from the environment, and a completion cache of its own."""
    for variable in [name for name in os.environ if name.startswith("LLMBENCH_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("LLMBENCH_CACHE_DIR", str(pytester.path / "cache"))
    return Project(pytester)


def assert_one_message(result: pytest.RunResult, message: str, exit_code: int) -> None:
    assert result.ret == exit_code
    result.stdout.fnmatch_lines([message])
    result.stdout.no_fnmatch_line("*Traceback*")
    result.stdout.no_fnmatch_line("*_pytest.outcomes*")
    result.stdout.no_fnmatch_line("*INTERNALERROR*")
