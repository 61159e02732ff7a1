"""Every report of every kind, in each language: nothing that the other one says in it, and no English in French."""

from __future__ import annotations

import dataclasses
import functools
import html
import itertools
import json
import re
import string
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from babel.messages.pofile import read_po
from matplotlib.figure import Figure
from matplotlib.text import Text as DrawnText
from support.context_documents import several_contexts
from support.evaluation_documents import evaluation_document
from support.gates import gate, verdict
from support.report_runs import built, completion, full_run, run
from support.serving_documents import full_document, several_document
from support.tool_runs import shop_run
from support.trainings import TRAINED

from pytest_llmbench.autotune.document import typed_limits
from pytest_llmbench.core import locale
from pytest_llmbench.core.records import Run
from pytest_llmbench.core.settings import OutputSettings, Settings
from pytest_llmbench.reports.blocks import Depth
from pytest_llmbench.reports.charts import canvas
from pytest_llmbench.reports.charts.context import draw_context
from pytest_llmbench.reports.charts.training_comparison import draw_comparison
from pytest_llmbench.reports.renderers import github
from pytest_llmbench.reports.renderers.registry import default_renderers
from pytest_llmbench.reports.renderers.terminal import terminal_lines
from pytest_llmbench.reports.views.autotune import autotune_report
from pytest_llmbench.reports.views.benchmark import benchmark_report
from pytest_llmbench.reports.views.context import context_report
from pytest_llmbench.reports.views.training import training_report
from pytest_llmbench.reports.writing.autotune import write_document
from pytest_llmbench.reports.writing.benchmark import write_reports
from pytest_llmbench.reports.writing.evaluation import write_evaluation
from pytest_llmbench.runs.averages import in_short
from pytest_llmbench.runs.base_comparison import with_comparison
from pytest_llmbench.runs.baseline import comparable
from pytest_llmbench.runs.document import build_document
from pytest_llmbench.runs.gate import compare_runs
from pytest_llmbench.runs.gate_notes import gate_note
from pytest_llmbench.runs.typed import RunPoint, run_document

LANGUAGES = ("en", "fr")
_TELLING = 12  # characters of a sentence's longest fixed part: shorter ones are words that both languages may have
_STYLE = re.compile(r"<style>.*?</style>|<script(?! [^>]*json).*?</script>", re.DOTALL)
_DATA = re.compile(r"<script [^>]*json[^>]*>(.*?)</script>", re.DOTALL)
_TAG = re.compile(r"<[^>]*?(?:(?:aria-label|title|placeholder|alt)=\"([^\"]*)\"[^>]*)?>")
_ENGLISH = re.compile(
    r"\b(?:the|is|are|was|were|which|that|this|these|than|not|has|have|had|been|they|their|its|and|of|to|with|from|by|"
    r"only|so|for|at|where|what|there|no|or|would|could|them|be|an|in|more|less|came|within|answers|trials)\b",
    re.IGNORECASE,
)
_FILLING = re.compile(r"%(?:\.\d+)?([sdrf])")
_QUOTED = {
    # what users and their models wrote, and names that are no words
    "something general",
}


def announcements() -> list[dict[str, Any]]:
    """One of every sentence that engines announce with values."""
    with (locale.CATALOGUES / "fr.po").open("rb") as source:
        texts = [message.id for message in read_po(source, locale="fr") if isinstance(message.id, str)]
    fillings = [(text, _FILLING.findall(text.replace("%%", ""))) for text in texts]
    given = [(text, [3 if kind in "df" else "X1" for kind in kinds]) for text, kinds in fillings if kinds]
    return [{"said": text % tuple(values), "text": text, "values": values} for text, values in given]


def rich() -> tuple[Run, list[RunPoint]]:
    """Announcements, tools, groups, lost and cut answers, a gate with notes, and a saved run that asked other cases."""
    results = [*full_run(cases=4).results, *shop_run().results]
    results = [dataclasses.replace(one, group=f"g{place // 2}") for place, one in enumerate(results)]
    failed = completion(results[0].case, "finetuned", "", finish="error", error="503")
    unscored = {name: {**of, "finetuned": None} for name, of in results[0].scores.items()}
    results[0] = dataclasses.replace(
        results[0], completions={**results[0].completions, "finetuned": failed}, scores=unscored, outcome="failed"
    )
    cut = completion(results[1].case, "finetuned", "volume", finish="length", batch_size=4)
    results[1] = dataclasses.replace(results[1], completions={**results[1].completions, "finetuned": cut})
    some = run(*results, seed=1, announcements=announcements())
    built = build_document(some, answer_chars=500)
    before = build_document(
        run(*full_run(cases=5).results, *shop_run().results, python="3.12", timestamp="2026-02-11T10:00:00+00:00"),
        answer_chars=500,
    )
    found = compare_runs(comparable(before, "accepted"), comparable(built, "run"), kind="regression")
    judged_run = dataclasses.replace(some, gate=found)
    compared = with_comparison({**built, "gate": found}).get("comparison")
    return dataclasses.replace(judged_run, comparison=compared), [in_short("0001_accepted", run_document(before))]


def gated(outcome: str) -> Run:
    """A run whose gate came to this outcome, over all and in a category."""
    found = gate(
        verdict(outcome),
        verdict("inconclusive", "keywords"),
        verdict(category="tool_routing"),
        notes=[gate_note("missing_in_run", "noted_missing_in_run", ["a/b", "a/c"])],
    )
    return dataclasses.replace(full_run(cases=6), gate=found | {"outcome": outcome})


UNCOUNTED = ("client_late", "client_busy", "client_stood_still", "server_busy", "users_stopped", "process_died")
CODES = ("surely_held", "surely_broken", "held_as_asked", "not_sure", "requests_sent", "time_over", *UNCOUNTED)
COUNTED = {"good": 19, "judged": 20, "limit_s": 3.0, "failed": 1, "error": "HTTP 500", "quantile": 0.95, "sent": 20}
CONTRADICTION = {"level": 8, "good": 9, "total": 20, "others_up_to": 12, "others_good": 199, "others_total": 200}
OTHERS = {
    "lag_ms": 71.4,
    "allowed_ms": 50.0,
    "cpu": 0.93,
    "allowed": 0.8,
    "standstill_s": 2.5,
    "allowed_s": 0.5,
    "waited_s": 30.0,
    "process": 1,
    "processes": 2,
}


def noted_document(document: dict[str, Any]) -> dict[str, Any]:
    """The same with a reason of every kind in its trials, and all that its notes and its temperature rest on."""
    for target in document["targets"]:
        for finding in target["findings"].values():
            for trial, code in zip(finding["trials"], itertools.cycle(CODES), strict=False):
                trial |= {"code": code, "values": OTHERS if code in UNCOUNTED else COUNTED}
            finding |= {"too_short_s": 20.0, "unbounded": True, "decided": False, "any_fall": True}
            finding["highest_tried"] = finding["highest"] - 1
            finding["contradiction"] = CONTRADICTION if finding["question"] == "users" else None
        if grid := target["temperature"]:
            grid["in_use"] = 0.7
            for point in grid["points"]:
                point["against"] = {}
    return document


def drawn(write: Callable[[], object]) -> list[str]:
    """What the figures say that this writes."""
    told: list[str] = []
    saved = Figure.savefig

    def hear(figure: Figure, path: Any, **how: Any) -> None:
        told.extend(text.get_text() for text in figure.findobj(DrawnText) if isinstance(text, DrawnText))
        if isinstance(path, Path):
            path.write_bytes(b"")  # what matters here is said before a pixel is drawn
        else:
            saved(figure, path, **how)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Figure, "savefig", hear)
        patched.setattr(canvas, "save_png", hear)
        write()
    return told


@functools.cache
def reports(language: str) -> dict[str, str]:
    """Every report: its kind and format to what it says, one piece a line."""
    return {name: "\n".join(" ".join(piece.split()) for piece in pieces) for name, pieces in _reports(language)}


def _reports(language: Any) -> Iterator[tuple[str, list[str]]]:
    with tempfile.TemporaryDirectory() as folder:
        output = OutputSettings(report_dir=Path(folder), language=language)
        some, history = rich()
        yield from _written("benchmark", lambda: write_reports(built(some), output, earlier=history), output.report_dir)
        settings = Settings(output=output)
        for name, searched in (("one", full_document()), ("several", several_document())):
            write = functools.partial(
                write_document, typed_limits(noted_document(searched)), settings, output.report_dir
            )
            yield from _written(f"autotune {name}", write, output.report_dir)
        yield from _written("evaluation", lambda: write_evaluation(evaluation_document(), output), output.report_dir)
        picture = output.report_dir / "trainings.png"
        yield "context figure", drawn(lambda: draw_context(several_contexts(), picture, language))
        yield "trainings figure", drawn(lambda: draw_comparison(TRAINED, picture, language))
    runs = {
        "rich": some,
        **{outcome: gated(outcome) for outcome in ("pass", "fail", "inconclusive")},
        "alone": full_run(cases=2, variants=("base",)),
        "three": full_run(cases=2, variants=("base", "small", "large")),
        "empty": run(),
    }
    told = {name: with_comparison(build_document(one, answer_chars=500)) for name, one in runs.items()}
    shown = {
        **{f"benchmark {name}": benchmark_report(run_document(document), language) for name, document in told.items()},
        "autotune": autotune_report(typed_limits(noted_document(full_document())), language),
        "context": context_report(several_contexts(), language),
        "trainings": training_report(TRAINED, language, questions=["?"], answers=[["Oui."], ["Non."]]),
    }
    for name, report in shown.items():
        for renderer in default_renderers():
            yield f"{name} {renderer.name}", pieces(renderer.suffix, renderer.render(report))
        yield f"{name} terminal", terminal_lines(report, 200, Depth.FULL)
        yield f"{name} github", github.annotations(report)


def _written(name: str, write: Callable[[], object], folder: Path) -> Iterator[tuple[str, list[str]]]:
    yield f"{name} figures", drawn(write)
    for file in sorted(folder.iterdir()):
        if file.suffix in {".txt", ".md", ".html"}:
            yield f"{name} {file.suffix}", pieces(file.suffix[1:], file.read_text(encoding="utf-8"))
        file.unlink()


def pieces(format_: str, text: str) -> list[str]:
    """The parts of a report that a reader takes in one by one."""
    if format_ == "html":
        told = _DATA.sub(lambda data: "\n".join(strings_of(json.loads(data[1]))), _STYLE.sub("", text))
        return [html.unescape(piece) for piece in _TAG.sub(r"\n\1\n", told).splitlines()]
    return text.split("\n\n") if format_ == "txt" else text.splitlines()


def strings_of(data: object) -> Iterator[str]:
    """The texts in the data of a page's scripts, without the names that scripts know them by."""
    if isinstance(data, str):
        yield data
    elif isinstance(data, (list, dict)):
        for one in data.values() if isinstance(data, dict) else data:
            yield from strings_of(one)


def fixed_parts(of: int) -> dict[str, str]:
    """Of each sentence the longest part without placeholders, if it is long enough to be told apart.

    `of` is 0 for what the source says, 1 for its French; the key is the first of the two.
    """
    with (locale.CATALOGUES / "fr.po").open("rb") as source:
        messages = [(message.id, message.string) for message in read_po(source, locale="fr") if message.id]
    found = {}
    for message in messages:
        english, told = (one if isinstance(one, str) else list(one or [""])[-1] for one in (message[0], message[of]))
        fixed = (text for part, *_ in string.Formatter().parse(told) for text in _FILLING.sub("\0", part).split("\0"))
        parts = [part.replace("%%", "%").strip() for part in fixed]
        longest = max(parts, key=len, default="")
        if len(longest) >= _TELLING and " " in longest:
            found[english] = longest
    return found


@pytest.mark.parametrize(("language", "other"), [(1, 0), (0, 1)], ids=["fr", "en"])
def test_no_report_holds_a_sentence_of_the_other_language(language: int, other: int) -> None:
    own, foreign = fixed_parts(language), fixed_parts(other)
    shown = reports(LANGUAGES[language])
    mixed = [
        (name, part)
        for name, report in shown.items()
        for english, part in foreign.items()
        if part in report and part not in own.get(english, "")
    ]
    assert mixed == []
    told = {english for report in shown.values() for english, part in own.items() if part in report}
    assert len(told) > len(own) / 2  # these reports are rich enough to find a mixture in


def test_no_report_in_french_holds_english_that_no_catalogue_knows() -> None:
    """Two little words of English in one piece are a sentence that nobody marked for translation."""
    found = [
        (name, piece)
        for name, report in reports("fr").items()
        for piece in report.splitlines()
        if not any(quoted in piece for quoted in _QUOTED) and len({*map(str.lower, _ENGLISH.findall(piece))}) > 1
    ]
    assert found == []
