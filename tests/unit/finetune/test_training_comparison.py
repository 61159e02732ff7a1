from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure
from support.command_line import llmbench
from support.trainings import OTHER, RECORD

from pytest_llmbench.cases.suites import Case
from pytest_llmbench.cli import app
from pytest_llmbench.core.errors import MissingRunError, UsageError
from pytest_llmbench.core.files import write_text
from pytest_llmbench.core.records import Completion
from pytest_llmbench.core.settings import ModelSettings, Settings
from pytest_llmbench.finetune.comparison import answers, comparison_notes, figures_table, read_trainings
from pytest_llmbench.finetune.history import find_training, save_training, worse_than
from pytest_llmbench.reports.charts.training_comparison import draw_comparison

KEPT = {**RECORD, "quantization": "nf4", "hyperparameters": {}, "held_out": {str(n): True for n in range(20)}}


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    made = []
    for name, record in (("tiny", RECORD), ("qwen", OTHER)):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "llmbench_training.json").write_text(json.dumps(record), encoding="utf-8")
        made.append(folder)
    return made


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that are saved."""
    saved: list[Figure] = []
    save = Figure.savefig

    def kept(self: Figure, *args: Any, **options: Any) -> None:
        saved.append(self)
        save(self, *args, **options)

    monkeypatch.setattr(Figure, "savefig", kept)
    return saved


def test_trainings_stand_side_by_side_with_the_best_of_each_figure(folders: list[Path]) -> None:
    lines = {line.title: (*line.values, line.best) for line in figures_table(read_trainings(folders))}
    assert lines["Duration"] == ("2 min 24 s", "1 min 18 s", "qwen")
    assert lines["Train loss, mean"] == ("2.266", "3.652", "tiny")
    assert lines["Train loss, last"] == ("2.000", "2.000", "-")
    assert lines["Trainable"] == ("12.6M (1.13%)", "12.6M (1.13%)", "-")
    assert lines["Samples/s"][-1] == "-"


def test_validation_losses_are_compared_and_drawn_where_there_are_any(
    folders: list[Path], tmp_path: Path, drawn: list[Figure]
) -> None:
    assert not any("alidation" in line.title for line in figures_table(read_trainings(folders)))
    for folder, last in zip(folders, (0.9, 1.1), strict=True):
        measured = [{"step": 0, "loss": 3.0, "token_accuracy": 0.2}, {"step": 2, "loss": last, "token_accuracy": 0.6}]
        record = {**RECORD, "validation": measured, "validation_dataset": {"sha256": folder.name}}
        (folder / "llmbench_training.json").write_text(json.dumps(record), encoding="utf-8")
    trainings = read_trainings(folders)
    lines = {line.title: (*line.values, line.best) for line in figures_table(trainings)}
    assert lines["Validation loss"] == ("3.000 → 0.900", "3.000 → 1.100", "tiny")
    assert "validation set" in comparison_notes(trainings)[0]
    draw_comparison(trainings, tmp_path / "curves.png")
    assert [line.get_label() for line in drawn[0].axes[0].lines] == [
        "tiny",
        "tiny, validation",
        "qwen",
        "qwen, validation",
    ]


def test_the_table_speaks_french(folders: list[Path]) -> None:
    trainings = read_trainings(folders)
    assert [line.title for line in figures_table(trainings, "fr")][3:5] == ["Durée", "Perte, moyenne"]
    assert comparison_notes(trainings, "fr")[0].startswith("Pas identiques : base. Perte")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"steps": [{"step": 1, "of": 9, "loss": 3.0}]}, "Not the same: steps."),
        ({"hyperparameters": {"max_length": 64}, "quantization": "none"}, "Not the same: max_length, quantization."),
        ({"dataset": {"name": "test.jsonl", "sha256": "e", "rows": 10}}, "Not the same: dataset."),
        ({"resumed_at_step": 4, "duration_s": 1.0}, "samples/s leave them out: qwen."),
    ],
)
def test_what_limits_a_comparison_is_said(folders: list[Path], changes: dict[str, Any], told: str) -> None:
    own = {"hyperparameters": {"max_length": 256}, "quantization": "nf4"}
    for folder, record in zip(folders, ({**RECORD, **own}, {**RECORD, **own, **changes}), strict=True):
        (folder / "llmbench_training.json").write_text(json.dumps(record), encoding="utf-8")
    trainings = read_trainings(folders)
    (note,) = comparison_notes(trainings)
    assert told in note
    if "resumed_at_step" in changes:  # the shorter time is of a part only
        assert {line.title: line.best for line in figures_table(trainings)}["Duration"] == "-"


def test_a_resumed_training_with_all_its_sessions_is_compared_without_reserve(folders: list[Path]) -> None:
    resumed = {**RECORD, "resumed_at_step": 4, "sessions": [{"from_step": 0}, {"from_step": 4}]}
    for folder, record in zip(folders, (RECORD, resumed), strict=True):
        (folder / "llmbench_training.json").write_text(json.dumps(record), encoding="utf-8")
    assert comparison_notes(read_trainings(folders)) == []


def test_equal_curves_both_stay_to_be_seen_above_the_table(
    folders: list[Path], tmp_path: Path, drawn: list[Figure]
) -> None:
    draw_comparison(read_trainings(folders), tmp_path / "curves.png", "fr")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    curves, figures = drawn[0].axes
    assert curves.get_title() == "Perte d'entraînement"
    assert len({(line.get_linestyle(), line.get_marker()) for line in curves.lines}) == 2
    assert figures.tables[0][4, 2].get_text().get_text() == "1 min 18 s"


def test_names_of_adapters_are_no_formulas_and_all_are_in_the_legend(tmp_path: Path, drawn: list[Figure]) -> None:
    names = ("a$_$b", "_old")
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "llmbench_training.json").write_text(json.dumps(RECORD), encoding="utf-8")
    draw_comparison(read_trainings([tmp_path / name for name in names]), tmp_path / "curves.png")
    curves, figures = drawn[0].axes
    legend = curves.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == list(names)
    assert [figures.tables[0][0, column].get_text().get_text() for column in (1, 2)] == list(names)


def test_adapters_are_asked_with_their_system_prompt_on_the_chosen_device(
    folders: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    class Echo:
        def __init__(self, settings: Settings) -> None:
            asked.append((settings.model.base, settings.model.device))

        def complete(self, cases: list[Case], variant: str) -> Iterator[Completion]:
            for case in cases:
                told = " / ".join(message["content"] for message in case.messages)
                yield Completion(case.name, case.epoch, variant, told, "stop")

        def close(self) -> None:
            pass

    monkeypatch.setattr("pytest_llmbench.benchmark.main_job.open_backend", Echo)
    told = answers(read_trainings(folders), ["Qui es-tu ?"], system="Tu es Jarvis.", model=ModelSettings(device="cpu"))
    assert told == [["Tu es Jarvis. / Qui es-tu ?"]] * 2
    assert asked == [("tinyllama", "cpu"), ("qwen2.5:1.5b", "cpu")]


def test_the_command_prints_the_table_for_people_and_programs(
    folders: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    names = [str(folder) for folder in folders]
    app(["compare-training", *names], standalone_mode=False)
    shown = capsys.readouterr().out
    assert re.search(r"^Train loss, mean +2\.266 +3\.652 +tiny$", shown, re.MULTILINE)
    assert "Not the same: base" in shown
    app(["compare-training", *names, "--language", "fr"], standalone_mode=False)
    assert re.search(r"^Perte, moyenne +2,266 +3,652 +tiny$", capsys.readouterr().out, re.MULTILINE)
    app(["compare-training", *names, "--json"], standalone_mode=False)
    assert json.loads(capsys.readouterr().out)["adapters"] == ["tiny", "qwen"]


def test_the_settings_say_the_language_and_how_the_bases_are_loaded(
    folders: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[ModelSettings] = []

    def refuse(settings: Settings) -> None:
        opened.append(settings.model)
        raise UsageError("enough")

    monkeypatch.setattr("pytest_llmbench.benchmark.main_job.open_backend", refuse)
    (tmp_path / "mine.yaml").write_text(
        "{output: {language: fr}, model: {base: tinyllama, revision: v2, trust_remote_code: true, device: cpu}}",
        encoding="utf-8",
    )
    assert "Perte, moyenne" in llmbench("compare-training", *folders, "--config", tmp_path / "mine.yaml").stdout
    llmbench("compare-training", *folders, "--config", tmp_path / "mine.yaml", "--ask", "Qui ?")
    assert [(model.revision, model.trust_remote_code, model.device) for model in opened] == [("v2", True, "cpu")]
    llmbench("compare-training", *folders, "--config", tmp_path / "mine.yaml", "--ask", "Qui ?", "--base", "org/other")
    assert (opened[-1].base, opened[-1].revision, opened[-1].trust_remote_code) == ("org/other", None, False)
    gone = folders[0] / "llmbench_training.json"
    gone.write_text(json.dumps({**RECORD, "base_spec": "was-a-folder"}), encoding="utf-8")
    monkeypatch.undo()
    told = llmbench("compare-training", *folders, "--ask", "Qui ?").stderr
    assert re.search(r"error: tiny: unknown model 'was-a-folder'.*; say where its base is now \(--base\)", told)


@pytest.mark.parametrize(
    ("format_", "start"), [("text", "=" * 110), ("markdown", "### Comparaison"), ("html", "<!doctype html>")]
)
def test_a_comparison_is_written_in_every_format_with_its_curves(
    folders: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], format_: str, start: str
) -> None:
    names, output = [str(folder) for folder in folders], tmp_path / "report"
    chosen = ["--format", format_, "--output", str(output), "--language", "fr", "--png", str(tmp_path / "curves.png")]
    app(["compare-training", *names, *chosen], standalone_mode=False)
    assert capsys.readouterr().out == f"{output}\n"
    text = output.read_text(encoding="utf-8")
    assert text.startswith(start)
    assert "2,266" in text
    assert {"text": "", "markdown": "(curves.png)", "html": "data:image/png;base64,"}[format_] in text


@pytest.mark.parametrize(
    ("png", "output", "linked"),
    [
        ("curves.png", "out/report.md", "(../curves.png)"),
        ("pictures/my curves (1).png", "report.md", "(pictures/my%20curves%20%281%29.png)"),
        ("pictures/curves.png", None, "(pictures/curves.png)"),
    ],
)
def test_markdown_links_the_picture_from_where_the_report_is(
    folders: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, png: str, output: str | None, linked: str
) -> None:
    monkeypatch.chdir(tmp_path)
    chosen = ["--format", "markdown", "--png", png, *(["--output", output] if output else [])]
    done = llmbench("compare-training", *folders, *chosen)
    assert linked in (Path(output).read_text(encoding="utf-8") if output else done.stdout)


def test_a_file_without_a_format_is_refused(folders: list[Path], tmp_path: Path) -> None:
    done = llmbench("compare-training", *folders, "--output", tmp_path / "x")
    assert done.exit_code == 2
    assert "--output is the file of --format" in done.stderr
    done = llmbench("compare-training", *folders, "--json", "--format", "html", "--output", tmp_path / "x")
    assert done.exit_code == 2
    assert "--json prints a document of its own" in done.stderr
    assert not (tmp_path / "x").exists()


def test_one_training_or_a_damaged_one_cannot_be_compared(folders: list[Path], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="two adapter folders"):
        read_trainings([folders[0], folders[0]])
    with pytest.raises(UsageError, match=r"has no llmbench_training\.json"):
        read_trainings([folders[0], tmp_path])
    record = folders[1] / "llmbench_training.json"
    record.write_text(json.dumps({**OTHER, "duration_s": "long"}), encoding="utf-8")
    with pytest.raises(UsageError, match=r"llmbench_training\.json is damaged: 'duration_s' is no such value; leave"):
        read_trainings(folders)


def test_a_kept_training_is_found_by_number_name_and_as_the_latest(tmp_path: Path) -> None:
    save_training(tmp_path, KEPT, "first one")
    path = save_training(tmp_path, {**KEPT, "train_loss": 1.0})
    assert path.name == "0002.json"
    assert find_training(tmp_path, "latest")["train_loss"] == 1.0
    assert find_training(tmp_path, "1") == find_training(tmp_path, "first-one") == find_training(tmp_path, "first one")
    with pytest.raises(MissingRunError, match="there are: 0001_first-one, 0002"):
        find_training(tmp_path, "third")
    path.write_text(json.dumps({**KEPT, "held_out": ["a"]}), encoding="utf-8")
    with pytest.raises(UsageError, match=r"0002\.json: not a kept training"):
        find_training(tmp_path, "2")


def test_trainings_that_end_at_once_are_both_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def slowly(path: Path, text: str) -> None:
        time.sleep(0.05)
        write_text(path, text)

    monkeypatch.setattr("pytest_llmbench.finetune.history.write_text", slowly)
    with ThreadPoolExecutor(2) as both:
        kept = list(both.map(lambda _: save_training(tmp_path, KEPT), range(2)))
    assert sorted(path.name for path in kept) == ["0001.json", "0002.json"]


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"train_loss": 2.6}, "train loss 2.600 was 2.266: worse by more than 10%"),
        ({"token_accuracy": 0.5}, "token accuracy 50.0% was 61.0%: worse by more than 10%"),
        ({"held_out": {str(n): n > 9 for n in range(20)}}, "held-out routing 10 of 20 was 20: worse beyond chance"),
    ],
)
def test_a_worse_metric_is_told(change: dict[str, Any], fault: str) -> None:
    (told,) = worse_than(KEPT, {**KEPT, **change}, margin=0.1, alpha=0.05)
    assert told.startswith(fault)


@pytest.mark.parametrize("broken", [math.nan, math.inf, None])
def test_a_metric_that_is_no_number_is_worse_than_any_and_no_measure_for_others(broken: float | None) -> None:
    (told,) = worse_than(KEPT, {**KEPT, "train_loss": broken}, margin=0.1, alpha=0.05)
    assert told == "train loss is no number any more"
    assert worse_than({**KEPT, "train_loss": broken}, KEPT, margin=0.1, alpha=0.05) == []


def test_a_change_within_the_margin_is_fine() -> None:
    close = {**KEPT, "train_loss": 2.4, "held_out": {**KEPT["held_out"], "0": False}}
    assert worse_than(KEPT, close, margin=0.1, alpha=0.05) == []


@pytest.mark.parametrize("option", ["--png", "--output"])
def test_a_comparison_does_not_replace_the_record_of_a_training(folders: list[Path], option: str) -> None:
    record = folders[0] / "llmbench_training.json"
    before = record.read_bytes()
    done = llmbench("compare-training", *folders, "--format", "text", option, record)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.endswith(f"({option})\n")
    assert record.read_bytes() == before


def test_figure_and_report_of_a_comparison_are_two_files(folders: list[Path], tmp_path: Path) -> None:
    same = tmp_path / "same.html"
    done = llmbench("compare-training", *folders, "--format", "html", "--output", same, "--png", same)
    assert (done.exit_code, same.exists()) == (2, False)
