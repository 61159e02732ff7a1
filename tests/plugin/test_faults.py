"""What breaks below the plugin is one message and an exit code, and loses no answer."""

from __future__ import annotations

from support.plugin_project import CASES, CUT_SHORT, Project, asked_once, assert_one_message

LOST = """\
from pytest_llmbench.core.errors import NotReadyError

def lose(count):
    if count == 5:
        raise NotReadyError("the server at 127.0.0.1:9 went away; start it again")
"""
SMALL_MEMORY = """\
from pytest_llmbench.generation.backend import OutOfMemoryError

def refuse(size):
    if size > LARGEST:
        raise OutOfMemoryError
"""
FULL_DISK = """\
import errno, os, pathlib

replace = pathlib.Path.replace

def full(self, target):
    if os.path.exists("full"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    return replace(self, target)

def pytest_configure():
    pathlib.Path.replace = full

def pytest_unconfigure():
    pathlib.Path.replace = replace
"""


def test_a_backend_that_cannot_be_opened_is_exit_code_3(project: Project) -> None:
    project.write(
        "conftest.py",
        "from pytest_llmbench.core.errors import NotReadyError\n"
        "def pytest_llmbench_backend(settings):\n    raise NotReadyError('no model here; get one')\n",
    )
    assert_one_message(project.run(), "!* no model here; get one !*", 3)


def test_a_backend_lost_midway_keeps_its_answers_and_the_run_resumes(project: Project) -> None:
    project.backend("before_answer=lose", more=LOST)
    result = project.run("--llmbench-no-cache")
    assert_one_message(result, "*the server at 127.0.0.1:9 went away; start it again*", 3)
    result.stdout.fnmatch_lines([CUT_SHORT])
    project.backend()
    assert project.run("--llmbench-no-cache", "--llmbench-resume").ret == 0
    assert sorted(project.asked()) == asked_once(*CASES)


def test_a_batch_that_does_not_fit_is_halved_and_the_run_goes_on(project: Project) -> None:
    project.backend("batch_size=6, before_batch=refuse", more=SMALL_MEMORY.replace("LARGEST", "2"))
    project.write("configs/llmbench.yaml", "output: {language: fr}\n")
    result = project.run()
    result.assert_outcomes(passed=6)
    assert sorted(project.asked()) == asked_once(*CASES)
    assert max(project.batches()) == 1
    result.stdout.fnmatch_lines(
        [f"note*: mémoire insuffisante avec {size} demandes à la fois*: on continue avec moins" for size in (6, 3)]
    )


def test_a_prompt_that_does_not_fit_even_alone_fails_its_item_only(project: Project) -> None:
    project.backend("batch_size=1, before_batch=refuse", more=SMALL_MEMORY.replace("size > LARGEST", "next(SIZES)"))
    project.write("conftest.py", "SIZES = iter([1] + [0] * 99)\n" + (project.path / "conftest.py").read_text())
    result = project.run("--tb=short")
    result.assert_outcomes(passed=5, failed=1)
    result.stdout.fnmatch_lines(["E*lights/lamp: no answer", "E*base: out of memory with this prompt alone; lower *"])


def test_a_full_disk_is_one_message_and_every_answer_stays_in_the_journal(project: Project) -> None:
    project.backend(more=FULL_DISK)
    project.write("full", "")
    result = project.run("--llmbench-no-cache")
    assert_one_message(result, "ERROR: cannot write *: No space left on device; free some space*", 3)
    assert project.runs() == ["unfinished"]
    (project.path / "full").unlink()
    assert project.run("--llmbench-no-cache", "--llmbench-resume").ret == 0
    assert sorted(project.asked()) == asked_once(*CASES)
    assert project.runs() == ["0001"]


def test_a_report_folder_that_is_a_file_is_one_message(project: Project) -> None:
    project.write("taken", "")
    project.write("conftest.py", "def pytest_llmbench_backend(settings):\n    1 / 0  # nothing is loaded for this\n")
    assert_one_message(project.run("--llmbench-report-dir", "taken"), "*cannot write taken/*--llmbench-report-dir*", 3)


def test_an_answer_that_failed_fails_its_item_and_is_asked_again_next_time(project: Project) -> None:
    project.backend(
        more="import dataclasses\n"
        "class Parrot(Parrot):\n"
        "    def complete(self, cases, variant):\n"
        "        for done in super().complete(cases, variant):\n"
        "            bad = done.case == 'sound/mute'\n"
        "            yield dataclasses.replace(done, finish='error', text='', error='too long') if bad else done\n"
    )
    result = project.run()
    result.assert_outcomes(passed=5, failed=1)
    result.stdout.fnmatch_lines(["E*sound/mute: no answer", "E*finetuned: too long"])
    (project.path / "asked.log").unlink()
    project.backend()
    project.run().assert_outcomes(passed=6)
    assert sorted(project.asked()) == asked_once("sound/mute")


def test_a_case_that_the_backend_leaves_out_fails(project: Project) -> None:
    project.backend(
        more="class Parrot(Parrot):\n"
        "    def complete(self, cases, variant):\n"
        "        return super().complete([case for case in cases if case.id != 'dark'], variant)\n"
    )
    result = project.run()
    result.assert_outcomes(passed=5, failed=1)
    result.stdout.fnmatch_lines(["E*lights/dark: no answer", "E*base: the backend ended without an answer"])
