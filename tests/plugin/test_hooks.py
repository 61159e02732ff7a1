"""What other plugins and `conftest.py` files can add."""

from __future__ import annotations

import pytest
from support.plugin_project import CUT_SHORT, Project

needs_subtests = pytest.mark.skipif(not hasattr(pytest, "Subtests"), reason="chunks need the subtests of pytest 9")

METRICS = """\
def pytest_llmbench_metrics(registry):
    registry.add("words", lambda case, completion: len(completion.text.split()))
    registry.add("longer", lambda case, base, completion: len(completion.text) > len(base.text), pair=True)
"""


def test_a_metric_of_conftest_is_scored_reported_and_can_be_expected(project: Project) -> None:
    project.backend(more=METRICS)
    project.write("own.yaml", "category: own\ncases:\n  - {id: a, prompt: un deux, expect: {words: 2, longer: 0}}\n")
    project.run("--llmbench-prompts", "own.yaml").assert_outcomes(passed=1)
    scores = project.report()["results"][0]["scores"]
    assert scores["words"] == {"base": 4, "finetuned": 2}
    assert scores["longer"] == {"finetuned": 0}


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        ("registry.add('keywords', lambda case, completion: 1)", "*already a metric 'keywords'*"),
        ("registry.add('one', lambda completion: 1)", "*metric 'one': it is called with (case, completion)*"),
        ("registry.add('text', lambda case, completion: 'good')", "*metric 'text'*returned 'good' (str)*"),
    ],
)
def test_a_metric_that_cannot_be_used_is_one_message(project: Project, metric: str, message: str) -> None:
    project.backend(more=f"def pytest_llmbench_metrics(registry):\n    {metric}\n")
    result = project.run()
    assert result.ret == 2
    result.stdout.fnmatch_lines([message])
    result.stdout.no_fnmatch_line("*Traceback*")


def test_a_metric_that_raises_shows_its_author_where(project: Project) -> None:
    project.backend(more="def pytest_llmbench_metrics(registry):\n    registry.add('odd', lambda c, a: 1 / 0)\n")
    result = project.run("-k", "dark")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["E*ZeroDivisionError*", "E*metric 'odd', case lights/dark, variant 'base'"])


def test_the_report_hook_gets_the_run_and_its_folder_once(project: Project) -> None:
    project.backend(
        more="def pytest_llmbench_report(run, report_dir):\n"
        "    print('HOOK', len(run.results), run.variants, (report_dir / 'benchmark.json').is_file())\n"
    )
    result = project.run("-s")
    assert [line.partition("HOOK")[2] for line in result.outlines if "HOOK" in line] == [
        " 6 ('base', 'finetuned') True"
    ]


def test_the_report_hook_is_not_called_for_a_run_that_was_cut_short(project: Project) -> None:
    project.expect_the_impossible("lights/lamp")
    hooks = (project.path / "conftest.py").read_text() + "\ndef pytest_llmbench_report(run):\n    print('HOOK')\n"
    project.write("conftest.py", hooks)
    result = project.run("-s", "-x")
    result.stdout.fnmatch_lines([CUT_SHORT])
    result.stdout.no_fnmatch_line("*HOOK*")


OWN_REPORT = """\
from pytest_llmbench.reports.blocks import Column, Depth, Number, Section, Sentences, Table

class Titles:
    name, suffix = "titles", "titles"

    def render(self, report):
        return "\\n".join([report.title, *(section.name for section in report.sections)])

def pytest_llmbench_report_renderers(registry):
    registry.add(Titles())

def pytest_llmbench_report_sections(document, kind, language):
    answers = Number(len(document["results"]))
    table = Table([Column("counted", left=True), Column("n")], [["answers", answers]])
    return [Section("own", f"My {kind} in {language}", [Sentences(["Said by a <plugin>."], depth=Depth.BRIEF), table])]
"""


def test_a_format_and_a_section_of_conftest_are_in_every_report(project: Project) -> None:
    project.backend(more=OWN_REPORT)
    project.write("configs/llmbench.yaml", "output: {png: false}\n")
    result = project.run()
    assert result.ret == 0
    result.stdout.fnmatch_lines(["- Said by a <plugin>.", "titles*: reports/benchmark.titles"])
    written = {name: (project.path / "reports" / name).read_text() for name in ("benchmark.txt", "benchmark.md")}
    page = (project.path / "reports/benchmark.html").read_text()
    for text in (*written.values(), page):
        assert "My benchmark in en" in text
    assert "│ answers" in written["benchmark.txt"]
    assert "| answers | 6 |" in written["benchmark.md"]
    assert "Said by a &lt;plugin&gt;." in page
    assert "own" in (project.path / "reports/benchmark.titles").read_text().splitlines()


@pytest.mark.parametrize(
    ("hook", "message"),
    [
        (
            "def pytest_llmbench_report_sections(document):\n    return ['text']\n",
            "*pytest_llmbench_report_sections gave a str: return a list of*Section*",
        ),
        (
            (
                "class Mine:\n    name, suffix = 'mine', 'md'\n"
                "def pytest_llmbench_report_renderers(registry):\n    registry.add(Mine())\n"
            ),
            "*renderer 'mine': files that end in .md are markdown's*",
        ),
    ],
)
def test_what_a_report_cannot_use_is_one_message(project: Project, hook: str, message: str) -> None:
    project.backend(more=hook)
    result = project.run()
    assert result.ret == 2
    result.stdout.fnmatch_lines([message])
    result.stdout.no_fnmatch_line("*Traceback*")


TOGETHER = """\
class Together(Parrot):
    def complete_together(self, asked):
        for case, variant in asked:
            yield from self.complete([case], variant)
"""


def test_variants_that_are_asked_together_have_one_pass_between_them(project: Project) -> None:
    project.run()
    each = project.report()["metadata"]["passes"]
    assert {variant: (one["answers"], one["tokens"]) for variant, one in each.items()} == {
        "base": (6, 18),
        "finetuned": (6, 18),
    }
    project.backend(more=f"{TOGETHER}\n\nParrot = Together\n")
    project.run("--llmbench-no-cache")
    metadata = project.report()["metadata"]
    assert "passes" not in metadata
    assert (metadata["shared_pass"]["answers"], metadata["shared_pass"]["tokens"]) == (12, 36)


EMBEDDED = """\
import base64, dataclasses, struct

class Embedded(Parrot):
    def embed(self, pairs):
        for _, done in pairs:
            vector = (1.0, 0.0) if done.variant == "base" else (3.0, 4.0)
            yield dataclasses.replace(done, embedding=base64.b64encode(struct.pack("<2f", *vector)).decode())

Parrot = Embedded
"""


@pytest.mark.parametrize("options", ["-v", "-n2", pytest.param("--llmbench-chunk=2", marks=needs_subtests)])
def test_answers_to_different_cases_are_compared_for_what_their_similarity_means(
    project: Project, options: str
) -> None:
    project.backend(more=EMBEDDED)
    project.run(options)
    measured = project.report()["metadata"]["cosine_between_cases"]["finetuned"]
    assert measured["mean"] == 0.6
    assert measured["pairs"] > 0
    assert "different cases" in (project.path / "reports/benchmark.txt").read_text()
