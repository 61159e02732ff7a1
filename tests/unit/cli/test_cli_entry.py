"""The command line as a whole: light to start, and one line where something is wrong."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from support.command_line import llmbench

from pytest_llmbench import __version__
from pytest_llmbench.benchmark import environment
from pytest_llmbench.cli import options

HEAVY = ("torch", "transformers", "matplotlib", "pydantic", "aiohttp", "rich", "yaml", "numpy", "pytest")


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, empty."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import atexit, sys; from pytest_llmbench.cli import main; sys.argv = ['llmbench', '--help']\n"
        f"atexit.register(lambda: print('imported:', [name for name in {HEAVY} if name in sys.modules]))\n"
        "main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Usage: llmbench" in done.stdout
    assert done.stdout.endswith("imported: []\n")


def test_help_tells_every_command() -> None:
    commands = llmbench("--help").stdout.partition("Commands:")[2]
    assert all(
        f"\n  {name} " in commands
        for name in (
            *("init", "check", "smoke", "dataset", "finetune", "report", "compare", "baseline", "rescore", "config"),
            *("autotune", "serve-demo", "models"),
        )
    )
    assert "..." not in commands  # a summary that does not fit is cut


def test_the_version_is_told() -> None:
    done = llmbench("--version")
    assert (done.exit_code, done.stdout) == (0, f"llmbench {__version__}\n")


@pytest.mark.parametrize("words", [["no-such-command"], ["check", "--no-such-option"], ["report"], []])
def test_wrong_words_are_wrong_use(words: list[str]) -> None:
    assert llmbench(*words).exit_code == 2


@pytest.mark.parametrize("command", ["check", "smoke", "config"])
def test_a_broken_settings_file_is_one_line(project: Path, command: str) -> None:
    (project / "broken.yaml").write_text("model:\n  bse: x\n")
    done = llmbench(command, "--config", "broken.yaml")
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr == "error: broken.yaml:2: unknown key 'bse' in 'model'; did you mean 'base'?\n"


def test_ctrl_c_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(environment, "check_setup", interrupted)
    done = llmbench("check")
    assert (done.exit_code, done.stdout, done.stderr) == (130, "", "interrupted\n")


@pytest.mark.parametrize(
    "words",
    [
        ("dataset", "check", "rows.jsonl", "--prompts"),
        ("dataset", "validate"),
        ("dataset", "split", "rows.jsonl", "--output"),
        ("finetune", "rows.jsonl", "--output"),
    ],
)
def test_a_path_that_the_system_refuses_is_one_line(words: tuple[str, ...]) -> None:
    long = f"{'a' * 300}.jsonl"
    done = llmbench(*words, long)
    assert done.exit_code in {2, 3}, "from Python 3.12 on there is no such file where its name is too long"
    assert (done.stdout, done.stderr[:7], done.stderr.count("\n")) == ("", "error: ", 1)


def test_a_file_of_ours_that_is_missing_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def faulty(*_: object, **__: object) -> None:
        raise FileNotFoundError(2, "No such file or directory", "ours")

    monkeypatch.setattr(environment, "check_setup", faulty)
    assert isinstance(llmbench("check").exception, FileNotFoundError)


def test_a_fault_of_ours_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def faulty(*_: object, **__: object) -> None:
        raise RuntimeError("ours")

    monkeypatch.setattr(environment, "check_setup", faulty)
    assert isinstance(llmbench("check").exception, RuntimeError)


def test_options_that_are_shared_are_settings() -> None:
    from pytest_llmbench.core.settings import OPTIONS

    assert {"base", "adapter", "quantization", "device"} <= OPTIONS.keys()
    given = options.chosen_settings(None, base="mine").model
    assert given.base == "mine"


def _typed(line: str) -> subprocess.CompletedProcess[str]:
    """A line as a shell runs it."""
    command = f"{shlex.quote(sys.executable)} -m pytest_llmbench.cli {line}"
    return subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, check=False)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.parametrize("words", ["--help", "--version", "config show", "query --help"])
def test_output_that_cannot_be_written_is_one_line(words: str) -> None:
    done = _typed(f"{words} > /dev/full")
    assert (done.returncode, done.stderr) == (3, "error: standard output, or an open file: No space left on device\n")


def test_a_reader_that_has_enough_is_no_error() -> None:
    assert _typed("config show | head -1").stderr == ""


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("- <&-", "standard input is closed; write the question as the argument, or into standard input"),
        ("- < latin.txt", "the question is not UTF-8; write it in that encoding"),
        ('"$(cat latin.txt)"', "the question is not UTF-8; write it in that encoding"),
    ],
)
def test_a_question_that_cannot_be_read_is_refused_before_a_model_is_loaded(given: str, message: str) -> None:
    Path("latin.txt").write_bytes(b"caf\xe9")
    done = _typed(f"query {given} --base no-such-model")
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"error: {message}\n")


@pytest.mark.parametrize(
    "words",
    [
        ("report", "1", "--report-dir"),
        ("compare", "1", "2", "--report-dir"),
        ("dataset", "check", "rows.jsonl", "--prompts"),
        ("dataset", "generate", "rows.jsonl", "--output", "new.jsonl", "--prompts"),
        ("finetune", "rows.jsonl", "--output", "mine", "--prompts"),
        ("rescore", "1", "--prompts"),
    ],
)
def test_an_empty_path_of_an_option_is_refused(words: tuple[str, ...]) -> None:
    done = llmbench(*words, "")
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {words[-1]}: ")
    assert ": the path is empty, " in done.stderr
