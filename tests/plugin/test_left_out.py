"""What loads a model or a server runs only when asked for by marker, file or `-k`; what is left out is told."""

from __future__ import annotations

import sys

import pytest
from support.plugin_project import CASES, Project, asked_once

FIXTURES = {
    "llmbench_case": "benchmark",
    "llmbench_answers": "benchmark",
    "answers": "benchmark",
    "llmbench_backend": "benchmark",
    "server_limits": "autotune",
    "short_training": "finetune",
}
RUN = "llmbench: 1 test needs a model or a server, left out; run with -m benchmark (1)*"


def heavy(project: Project) -> None:
    """One test for each heavy fixture, and a quick one; `slow` is a marker of the user's own."""
    tests = "".join(f"@pytest.mark.slow\ndef test_{name}({name}):\n    1 / 0\n\n" for name in FIXTURES)
    project.write("test_heavy.py", f"import pytest\n\n{tests}")
    project.write("test_quick.py", "def test_quick(llmbench_settings):\n    pass\n")
    project.write("pytest.ini", "[pytest]\nmarkers = slow: takes long\n")


@pytest.mark.parametrize(
    "options",
    [(), (".",), ("--lf",), ("-m", "not gpu"), ("-m", "not (slow and gpu)"), ("-k", "not lights"), ("-n", "2")],
    ids=" ".join,
)
def test_a_plain_run_leaves_every_kind_out_and_says_so_in_one_line(project: Project, options: tuple[str, ...]) -> None:
    heavy(project)
    before = project.files()
    result = project.run_plain(*options)
    assert result.parseoutcomes()["passed"] == 1
    told = [line for line in result.outlines if line.startswith("llmbench:")]
    how = "-m benchmark (5), -m autotune (1), -m finetune (1), -k, or by file"
    assert told == [f"llmbench: 7 tests need a model or a server, left out; run with {how}"]
    assert project.files() == before


@pytest.mark.parametrize(
    "options", [("-m", "benchmark"), ("test_suite.py",), ("-k", "lamp or sound"), ("-k", "test_case")]
)
def test_a_marker_a_file_or_a_word_of_the_name_asks_for_it(project: Project, options: tuple[str, ...]) -> None:
    result = project.run_plain(*options)
    assert result.ret == 0
    result.stdout.no_fnmatch_line("llmbench:*left out*")
    asked = [case for case in CASES if "lamp" not in options[-1] or "lamp" in case or "sound" in case]
    assert sorted(project.asked()) == asked_once(*asked)


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        (("-m", "slow"), set(FIXTURES)),
        (("-m", "finetune or not slow"), {"short_training"}),
        (("-m", "autotune and slow"), {"server_limits"}),
        (("-k", "short and not limits"), {"short_training"}),
        (("test_heavy.py::test_server_limits", "test_quick.py"), {"server_limits"}),
    ],
)
def test_one_kind_is_asked_for_as_another(project: Project, options: tuple[str, ...], kept: set[str]) -> None:
    heavy(project)
    result = project.run_plain("--collect-only", "-q", *options)
    collected = {line.partition("::test_")[2].partition("[")[0] for line in result.outlines if "test_heavy" in line}
    assert collected == kept


def test_suites_that_nobody_asked_for_are_not_read(project: Project) -> None:
    project.write("prompts/lights.yaml", "no: suite\n")
    result = project.run_plain()
    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED
    result.stdout.fnmatch_lines([RUN])


def test_a_fixture_got_at_run_time_is_asked_for_as_well(project: Project) -> None:
    project.write("test_suite.py", "def test_late(request):\n    request.getfixturevalue('llmbench_backend')\n")
    result = project.run_plain("-rs")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED*llmbench_backend loads a model or a server*"])
    project.run_plain("test_suite.py").assert_outcomes(passed=1)


def test_a_marker_of_pytest_benchmark_is_the_users(project: Project) -> None:
    project.write("test_suite.py", "import pytest\n\n@pytest.mark.benchmark(group='own')\ndef test_own():\n    pass\n")
    result = project.run_plain()
    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("llmbench:*")


def test_a_suite_that_k_leaves_out_is_not_called_uncollected(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "test_benchmark", raising=False)  # this session may have collected the original
    project.write("tests/suites/test_benchmark.py", "def test_model(llmbench_backend):\n    pass\n")
    result = project.run_plain("-m", "benchmark", "-k", "no_such_word")
    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED
    result.stdout.no_fnmatch_line("*was not collected*")


def test_before_init_the_marker_points_to_init(project: Project) -> None:
    (project.path / "test_suite.py").unlink()
    result = project.run_plain("-m", "benchmark")
    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED
    result.stdout.fnmatch_lines(["llmbench: no test here is one of 'benchmark'; `llmbench init` writes tests/suites/*"])
    project.write("tests/suites/test_benchmark.py", "")
    project.write("unit/test_unit.py", "def test_unit():\n    pass\n")
    result = project.run_plain("-m", "benchmark", "unit")
    result.stdout.fnmatch_lines(["llmbench: *was not collected; name its folder: pytest -m benchmark tests/suites"])


def test_without_pytest_benchmark_its_items_are_skipped_with_the_command_that_installs_it(project: Project) -> None:
    project.write("test_suite.py", "def test_speed(benchmark, llmbench_backend):\n    1 / 0\n")
    result = project.run("-p", "no:benchmark")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(
        ["llmbench: 1 skipped without pytest-benchmark: pip install 'pytest-llmbench[[]speed]'"]
    )


def test_pytest_asyncios_word_about_its_options_is_not_the_users(project: Project) -> None:
    project.write("pytest.ini", "[pytest]\n")
    project.write("test_suite.py", "def test_quick():\n    pass\n")
    result = project.run_alone()
    result.assert_outcomes(passed=1)
    assert "loop_scope" not in result.stderr.str()
