"""The training of a studio is the terminal's: the very command, run here on a model small enough for seconds."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from support.command_line import llmbench
from support.saved_runs import SaveRun
from support.scripted_jobs import add_dataset, studio_options
from support.tiny_training import other_rows, rows, save_tiny_model, write_rows

from pytest_llmbench.core.errors import NotReadyError
from pytest_llmbench.finetune.sft import Watch
from pytest_llmbench.finetune.training_journal import journaled
from pytest_llmbench.finetune.training_log import Moment, TrainingStep, Validation
from pytest_llmbench.models.adapters import find_adapter
from pytest_llmbench.models.sources import resolve
from pytest_llmbench.studio import results
from pytest_llmbench.studio.job_events import EvaluationData, StepData
from pytest_llmbench.studio.job_files import new_in_journal
from pytest_llmbench.studio.job_kinds import JOURNAL, KINDS, Finetuning, JobFiles
from pytest_llmbench.studio.jobs import Jobs, StartAutotune, StartFinetuning
from pytest_llmbench.studio.store import Store, open_store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = open_store(tmp_path / "studio")
    yield store
    store.close()


def test_the_command_trains_an_adapter_that_auto_finds_and_tells_its_course(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.set_num_threads(1)
    monkeypatch.chdir(tmp_path)
    base = save_tiny_model(tmp_path / "tiny")
    dataset = write_rows(tmp_path / "rows.jsonl", rows())
    add_dataset(store, dataset)
    options = dataclasses.replace(studio_options(tmp_path), allow_any_model=True)
    job = Jobs(store, options).start_finetuning(
        StartFinetuning(
            dataset_id="d1",
            model_name="tiny",
            quantization="none",
            batch_size=4,
            max_length=64,
            steps=6,
            targets=("q_proj", "v_proj"),
        )
    )
    files = JobFiles(
        store.folder / job.folder,
        dataset_path=dataset,
        validation_path=write_rows(tmp_path / "other.jsonl", other_rows()),
    )
    files.folder.mkdir(parents=True)
    journal = files.folder / JOURNAL
    journal.write_text('{"kind": "st', encoding="utf-8")  # a session that was killed
    _python, _p, _m, _module, *words = Finetuning().command(job, files, options)
    said = llmbench(*words, "--device", "cpu")
    assert said.exit_code == 0, said.output

    lines, faulty, read_to = new_in_journal(journal, 0)
    told = [line.data() for line in lines]
    assert (faulty, read_to) == ([], journal.stat().st_size)
    assert [data.step for data in told if isinstance(data, StepData)] == [1, 2, 3, 4, 5, 6]
    assert [data.step for data in told if isinstance(data, EvaluationData)] == [0, 6]
    adapter = find_adapter("auto", options.settings.model.adapters_dir, resolve(str(base)))
    assert adapter is not None
    assert Path(adapter.path) == Path(job.output or "")
    assert set(adapter.target_modules) == {"q_proj", "v_proj"}
    result = Finetuning().result(job, files, options, 0)
    assert (result["adapter"], result["token_accuracy"]) == (job.output, pytest.approx(told[-2].token_accuracy))


def test_a_step_whose_numbers_are_none_is_a_gap_and_no_fault(tmp_path: Path) -> None:
    moment = Moment(TrainingStep(1, 6, math.nan, math.nan, math.nan, 9), 1.0, None, 1)
    watch = journaled(Watch(), tmp_path / JOURNAL)
    watch.on_moment(moment)
    watch.on_validation(Validation(1, math.inf, math.nan))
    lines, faulty, _read_to = new_in_journal(tmp_path / JOURNAL, 0)
    assert faulty == []
    assert [(line.data().loss, line.data().token_accuracy) for line in lines] == [(None, None)] * 2


@pytest.mark.parametrize(("config", "given"), [(Path("other.yaml"), ["--config", "other.yaml"]), (None, [])])
def test_runs_are_compared_by_the_settings_file_that_the_studio_was_given(
    tmp_path: Path, save_run: SaveRun, monkeypatch: pytest.MonkeyPatch, config: Path | None, given: list[str]
) -> None:
    asked: list[str] = []

    def command(*words: str) -> str:
        asked.extend(words)
        raise NotReadyError("no need to go on")

    monkeypatch.setattr(results, "_command", command)
    chosen = dataclasses.replace(studio_options(tmp_path), config=config)
    for name in ("first", "second"):
        save_run(chosen.settings.output.report_dir, name)
    with pytest.raises(NotReadyError):
        results.Results(chosen).compare("0001_first", "0002_second")
    assert asked[asked.index("--config") :] == given if given else "--config" not in asked


def test_jobs_read_the_settings_file_that_the_studio_was_given(store: Store, tmp_path: Path) -> None:
    options = dataclasses.replace(studio_options(tmp_path), config=Path("other.yaml"))
    job = Jobs(store, options).start_autotune(StartAutotune(server="http://127.0.0.1:1/v1", max_users=2))
    files = JobFiles(store.folder / job.folder)
    words = KINDS["autotune"].command(job, files, options)
    assert words[3:5] == ("pytest_llmbench.cli", "autotune")
    assert {"--server=http://127.0.0.1:1/v1", "--max-users=2", "--config=other.yaml"} < set(words)
    assert f"--report-dir={files.folder}" in words
    job.output, job.settings = "adapters/mine", {"quantization": "nf4", "limit": 3}
    words = KINDS["benchmark"].command(job, files, options)
    assert words[1:5] == ("-m", "pytest", "-m", "benchmark")
    adapter = {f"--llmbench-{given}" for given in ("adapter=adapters/mine", "quantization=nf4", "limit=3")}
    assert {"--llmbench-config=other.yaml", "--llmbench-server=none", *adapter} < set(words)
