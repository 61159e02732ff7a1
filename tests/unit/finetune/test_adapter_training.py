"""A training from its request to its adapter, on a model small enough for seconds."""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import os
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import filelock
import pytest
import torch
from datasets import Dataset
from safetensors.torch import load_file
from support.command_line import llmbench
from support.tiny_training import other_rows, rows, save_tiny_model, write_rows
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import SFTConfig, SFTTrainer

from pytest_llmbench.core.documents import parse_json
from pytest_llmbench.core.errors import ModelError, NotReadyError, UsageError
from pytest_llmbench.core.settings import ModelSettings, Settings
from pytest_llmbench.datasets.row_formats import new_row
from pytest_llmbench.finetune.checkpoints import newest_checkpoint
from pytest_llmbench.finetune.finetune import finetune
from pytest_llmbench.finetune.memory import expected_memory
from pytest_llmbench.finetune.request import FinetuneRequest
from pytest_llmbench.finetune.sft import Hyperparameters, TrainingStopped, Watch, train
from pytest_llmbench.finetune.tokenized import tokenize_file
from pytest_llmbench.finetune.trainer import has_bfloat16, planned_steps
from pytest_llmbench.finetune.training_checks import request_of
from pytest_llmbench.finetune.training_journal import journaled
from pytest_llmbench.finetune.training_log import DestroyedTraining, Moment
from pytest_llmbench.finetune.training_rows import read_files
from pytest_llmbench.models.chat_templates import base_form
from pytest_llmbench.models.quiet import quiet_libraries
from pytest_llmbench.models.registry import Preset
from pytest_llmbench.models.sources import resolve

CHANGES = {
    "quantization": "none",
    "batch_size": 4,
    "max_length": 64,
    "steps": 6,
    "save_steps": 2,
    "learning_rate": 0.02,
}


@pytest.fixture(scope="module")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def request_with(tiny_base: Path, tmp_path: Path) -> Callable[..., FinetuneRequest]:
    dataset = write_rows(tmp_path / "rows.jsonl", rows())

    def build(changes: dict[str, Any] | None = None, **fields: Any) -> FinetuneRequest:
        request = FinetuneRequest(
            dataset, tmp_path / "adapter", str(tiny_base), device="cpu", changes={**CHANGES, **(changes or {})}
        )
        return dataclasses.replace(request, **fields)

    return build


Build = Callable[..., FinetuneRequest]


def stopping_at(step: int) -> Watch:
    seen: list[Moment] = []
    return Watch(on_moment=seen.append, stop=lambda: bool(seen) and seen[-1].step.step >= step - 1)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "adapter_model.safetensors")


def test_the_adapter_comes_with_a_record_of_its_training(request_with: Build) -> None:
    done = finetune(request_with())
    record = json.loads((request_with().output / "llmbench_training.json").read_text(encoding="utf-8"))
    assert record == json.loads(json.dumps(done.record))
    assert [step["step"] for step in record["steps"]] == [1, 2, 3, 4, 5, 6]
    assert record["gradients"]["without"] == []
    assert record["dataset"]["rows"] == 32
    assert record["tokens"] > 0
    assert done.training.samples == 24
    assert not request_with().output.with_name("adapter.checkpoints").exists()


def test_a_stopped_training_goes_on_to_the_same_weights(request_with: Build, tmp_path: Path) -> None:
    finetune(request_with(output=tmp_path / "whole"))
    with pytest.raises(TrainingStopped, match=r"step 3 of 6.*checkpoint-3.*--resume"):
        finetune(request_with(), stopping_at(3))
    assert not (tmp_path / "adapter").exists()
    read: list[str] = []
    done = finetune(request_with(resume=True), Watch(lambda what, *_: read.append(what)))
    assert read == ["reading rows.jsonl"], "its tokens are there"
    assert done.training.resumed_at == 3
    assert [step.step for step in done.training.steps] == [1, 2, 3, 4, 5, 6]
    expected = weights(tmp_path / "whole")
    for name, found in weights(tmp_path / "adapter").items():
        torch.testing.assert_close(found, expected[name], rtol=0, atol=0)


@pytest.mark.parametrize("changes", [{}, {"gradient_accumulation": 2}, {"steps": 8}], ids=["", "accumulated", "a pass"])
def test_a_checkpoint_of_the_last_step_is_not_trained_further(
    request_with: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    held_out = write_rows(tmp_path / "validation.jsonl", other_rows())
    whole = finetune(request_with(changes, output=tmp_path / "whole", validation=held_out))
    with monkeypatch.context() as broken:
        broken.setattr("pytest_llmbench.finetune.finetune.save_adapter", Mock(side_effect=NotReadyError("full")))
        with pytest.raises(NotReadyError, match="full"):
            finetune(request_with(changes, validation=held_out))
    record = finetune(request_with(changes, validation=held_out, resume=True)).record
    last = whole.training.steps[-1].step
    assert [step["step"] for step in record["steps"]] == [*range(1, last + 1)]
    assert [one["step"] for one in record["validation"]] == [one.step for one in whole.training.validations]
    assert (record["sessions"][-1]["from_step"], record["sessions"][-1]["to_step"]) == (last, last)
    assert record["gradients"]["without"] == [], "none was looked at"
    expected = weights(tmp_path / "whole")
    for name, found in weights(tmp_path / "adapter").items():
        torch.testing.assert_close(found, expected[name], rtol=0, atol=0)


def test_an_adapter_that_cannot_be_written_is_gone_on_with(
    request_with: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = Mock(side_effect=OSError(28, "No space left on device"))
    monkeypatch.setattr("pytest_llmbench.finetune.adapter_folder._save_weights", full)
    with pytest.raises(
        NotReadyError, match="the disk is full; free some space, then go on from checkpoint-6: "
    ) as told:
        finetune(request_with())
    assert str(told.value).endswith(request_with().going_on().command())
    with pytest.raises(NotReadyError, match="the disk is full; free some space or choose another folder"):
        finetune(request_with({"save_steps": 7}, overwrite=True))


def loss_without_a_number(trainer: Any) -> None:
    compute = trainer.compute_loss
    trainer.compute_loss = lambda *of, **options: (
        compute(*of, **options) * (math.nan if trainer.state.global_step == 3 else 1)
    )


def gradient_without_a_number(trainer: Any) -> None:
    weights = next(weights for name, weights in trainer.model.named_parameters() if "lora_B" in name)
    weights.register_hook(lambda gradient: gradient * (math.nan if trainer.state.global_step == 5 else 1))


@pytest.mark.parametrize(
    ("planted", "told"),
    [
        (loss_without_a_number, "^the loss is nan at step 4 of 6: the learning rate of 0.02 is too high; no adapter"),
        (gradient_without_a_number, "lora_A.* holds no numbers after step 6: the learning rate of 0.02 is too high"),
    ],
)
def test_a_training_that_was_destroyed_leaves_nothing_but_its_reason(
    request_with: Build, tmp_path: Path, planted: Callable[[Any], None], told: str
) -> None:
    with pytest.raises(DestroyedTraining, match=told) as raised:
        finetune(request_with(), journaled(Watch(prepare=planted), tmp_path / "journal.jsonl"))
    assert (raised.value.exit_code, raised.value.names) == (2, ("learning_rate",))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["journal.jsonl", "rows.jsonl"]
    for line in (tmp_path / "journal.jsonl").read_text(encoding="utf-8").splitlines():
        parse_json(line, "journal.jsonl", 1)  # which refuses NaN


@pytest.mark.parametrize(("keeps", "left"), [(True, ["checkpoint-2"]), (False, [])])
def test_checkpoints_of_a_destroyed_training_stay_where_they_are_to_be_kept(
    request_with: Build,
    tmp_path: Path,
    keeps: bool,  # noqa: FBT001
    left: list[str],
) -> None:
    told = r"; its checkpoints are kept in .*adapter\.checkpoints$" if keeps else "; its checkpoints are gone$"
    with pytest.raises(DestroyedTraining, match=told):
        finetune(request_with(keep_checkpoints=keeps), Watch(prepare=loss_without_a_number))
    assert [path.name for path in tmp_path.glob("adapter.checkpoints/checkpoint-*")] == left


def test_a_base_without_numbers_is_told_from_the_first_step_of_a_long_training(request_with: Build) -> None:
    def plant(trainer: Any) -> None:
        compute = trainer.compute_loss
        trainer.compute_loss = lambda *of, **options: compute(*of, **options) * math.nan

    with pytest.raises(DestroyedTraining, match="the loss is nan at step 1 of 600: the base itself gives no number"):
        finetune(request_with({"steps": 600}), Watch(prepare=plant))


def test_a_number_that_is_none_is_null_in_the_record(request_with: Build) -> None:
    def no_entropy(trainer: Any) -> None:
        log = trainer.log

        def changed(logs: dict[str, float], *rest: Any) -> None:
            for scores in trainer._windows[True]:
                scores["entropy"] = math.nan
            log(logs, *rest)

        trainer.log = changed

    done = finetune(request_with(), Watch(prepare=no_entropy))
    assert done.record["entropy"] is None
    json.dumps(done.record, allow_nan=False)


def test_a_stopped_training_is_not_thrown_away_unasked(request_with: Build) -> None:
    with pytest.raises(TrainingStopped):
        finetune(request_with(), stopping_at(3))
    with pytest.raises(UsageError, match="of a stopped training; resume it, or overwrite it") as raised:
        finetune(request_with())
    assert raised.value.names == ("resume", "overwrite")
    with pytest.raises(UsageError, match="another learning_rate"):
        finetune(request_with({"learning_rate": 0.5}, resume=True))


@pytest.mark.parametrize(
    ("done", "doing"),
    [
        ("reading validation.jsonl", "reading rows.jsonl"),
        ("tokenizing rows.jsonl", "tokenizing validation.jsonl"),
    ],
)
def test_who_stops_before_the_first_step_need_not_wait_for_it(
    request_with: Build, tmp_path: Path, done: str, doing: str
) -> None:
    told: list[str] = []
    held_out = write_rows(tmp_path / "validation.jsonl", other_rows())
    watch = Watch(lambda what, *_: told.append(what), stop=lambda: done in told)
    with pytest.raises(TrainingStopped, match=f"stopped while {re.escape(doing)}, before the first step"):
        finetune(request_with(validation=held_out), watch)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rows.jsonl", "validation.jsonl"]


def test_a_validation_set_is_neither_added_nor_left_out_on_the_way(request_with: Build, tmp_path: Path) -> None:
    held_out = write_rows(tmp_path / "validation.jsonl", other_rows())
    with pytest.raises(TrainingStopped):
        finetune(request_with(validation=held_out), stopping_at(3))
    with pytest.raises(UsageError, match="another validation; ask for the same"):
        finetune(request_with(resume=True))
    (tmp_path / "adapter.checkpoints" / "training.json").unlink()
    with pytest.raises(UsageError, match=r"training\.json is missing or damaged; overwrite it") as raised:
        finetune(request_with(validation=held_out, resume=True))
    assert raised.value.names == ("overwrite",)


def test_the_base_is_loaded_as_the_settings_have_it(
    request_with: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def note(_source: Any, settings: ModelSettings) -> None:
        loaded.append(settings)
        raise NotReadyError

    loaded: list[ModelSettings] = []
    monkeypatch.setattr("pytest_llmbench.models.loading.load_base", note)
    served = ModelSettings(double_quant=False, compute_dtype="float16", device_map={"": "cpu"})
    asked = request_of(Settings(model=served), request_with().dataset, tmp_path / "adapter")
    fields = ("double_quant", "compute_dtype", "device_map")
    with pytest.raises(NotReadyError):
        finetune(request_with(**{name: getattr(asked, name) for name in fields}))
    assert [[getattr(settings, name) for name in fields] for settings in loaded] == [[False, "float16", {"": "cpu"}]]


def test_the_threads_of_a_model_whose_shapes_are_those_of_its_text_are_chosen_too(
    request_with: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import Gemma3Config

    def note(width: int) -> None:
        widths.append(width)
        raise NotReadyError

    widths: list[int] = []
    config = Gemma3Config(text_config={"hidden_size": 96})
    loaded = SimpleNamespace(device="cpu", model=SimpleNamespace(config=config))
    monkeypatch.setattr("pytest_llmbench.models.loading.load_base", lambda *_: loaded)
    monkeypatch.setattr("pytest_llmbench.finetune.finetune._choose_threads", note)
    with pytest.raises(NotReadyError):
        finetune(request_with())
    assert widths == [96]


def test_a_gpu_that_would_emulate_bfloat16_has_the_base_in_float32(
    request_with: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    def note(_source: Any, settings: ModelSettings) -> None:
        loaded.append(settings.compute_dtype)
        raise NotReadyError

    loaded: list[str] = []
    monkeypatch.setattr("pytest_llmbench.models.loading.choose_device", lambda _asked: "cuda")
    monkeypatch.setattr("pytest_llmbench.models.loading.load_base", note)
    for fast in (True, False):
        monkeypatch.setattr("pytest_llmbench.finetune.trainer.has_bfloat16", lambda _device, fast=fast: fast)
        for asked in ("bfloat16", "float16"):
            with pytest.raises(NotReadyError):
                finetune(request_with(compute_dtype=asked, overwrite=True))
    assert loaded == ["bfloat16", "float16", "float32", "float16"]


def test_a_base_in_float32_is_expected_to_take_more_memory(tiny_base: Path) -> None:
    preset = Preset(quantization="nf4", batch_size=1, max_length=8)
    half, wide = (
        expected_memory("tiny", preset, "cpu", folder=str(tiny_base), compute_dtype=dtype, force=True)
        for dtype in ("bfloat16", "float32")
    )
    assert half is not None
    assert wide is not None
    assert wide > half


@pytest.mark.parametrize("change", [{"double_quant": False}, {"compute_dtype": "float32"}])
def test_a_training_does_not_go_on_over_a_base_that_is_loaded_otherwise(
    request_with: Build, change: dict[str, Any]
) -> None:
    with pytest.raises(TrainingStopped):
        finetune(request_with(), stopping_at(3))
    with pytest.raises(UsageError, match=f"with another {next(iter(change))}"):
        finetune(request_with(resume=True, **change))


def test_there_is_nothing_to_resume_without_a_checkpoint(request_with: Build) -> None:
    with pytest.raises(UsageError, match="nothing to resume"):
        finetune(request_with(resume=True))


def test_a_checkpoint_that_was_cut_short_is_not_resumed_from(request_with: Build) -> None:
    with pytest.raises(TrainingStopped):
        finetune(request_with(), stopping_at(3))
    folder = request_with().output.with_name("adapter.checkpoints")
    (folder / "checkpoint-3" / "optimizer.pt").write_bytes(b"cut")
    newest = newest_checkpoint(folder)
    assert newest is not None
    assert newest.name == "checkpoint-2"


def test_a_checkpoint_of_other_layers_is_not_resumed_from(request_with: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as earlier:
        earlier.setattr("pytest_llmbench.finetune.trainer.target_modules", lambda *_: ["q_proj"])
        with pytest.raises(TrainingStopped):
            finetune(request_with(), stopping_at(3))
    with pytest.raises(UsageError, match=r"checkpoint-3 has a LoRA over other layers .*overwrite it") as raised:
        finetune(request_with(resume=True))
    assert raised.value.names == ("overwrite",)


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),
        Exception("No space left on device (os error 28)"),  # of tokenizers
        RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 64 vs 0"),  # of PyTorch
    ],
    ids=["system", "tokenizers", "torch"],
)
def test_a_full_disk_leaves_the_earlier_checkpoint(request_with: Build, error: Exception) -> None:
    def fill_the_disk(trainer: Any) -> None:
        save = trainer._save_optimizer_and_scheduler

        def fail_later(folder: str) -> None:
            if folder.endswith("checkpoint-4"):
                raise error
            save(folder)

        trainer._save_optimizer_and_scheduler = fail_later

    told = r"checkpoint-4: the disk is full; checkpoint-2 is whole: free some space and resume from it"
    with pytest.raises(NotReadyError, match=told) as raised:
        finetune(request_with(), Watch(prepare=fill_the_disk))
    assert raised.value.names == ("resume",)
    assert not (request_with().output.with_name("adapter.checkpoints") / "checkpoint-4").exists()
    assert finetune(request_with(resume=True)).training.resumed_at == 2


def test_too_little_memory_halves_the_batch_and_doubles_the_accumulation(
    request_with: Build, caplog: pytest.LogCaptureFixture
) -> None:
    widths: list[int] = []

    def hold_two_rows(trainer: Any) -> None:
        compute = trainer.compute_loss

        def fail_above_two(model: Any, inputs: Any, *rest: Any, **options: Any) -> Any:
            widths.append(inputs["input_ids"].shape[1])
            if len(inputs["input_ids"]) > 2:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return compute(model, inputs, *rest, **options)

        trainer.compute_loss = fail_above_two

    with caplog.at_level(logging.WARNING, "pytest_llmbench"):
        done = finetune(request_with(), Watch(prepare=hold_two_rows))
    assert done.record["hyperparameters"]["batch_size"] == 2
    assert done.record["hyperparameters"]["gradient_accumulation"] == 2
    assert "4 rows at once do not fit" in caplog.text
    assert widths[0] == max(widths), "the longest rows come first"


def test_a_training_goes_on_with_the_batch_that_fitted(request_with: Build) -> None:
    def hold_two_rows(trainer: Any) -> None:
        compute = trainer.compute_loss

        def fail_above_two(model: Any, inputs: Any, *rest: Any, **options: Any) -> Any:
            if len(inputs["input_ids"]) > 2:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return compute(model, inputs, *rest, **options)

        trainer.compute_loss = fail_above_two

    with pytest.raises(TrainingStopped):
        finetune(request_with(), dataclasses.replace(stopping_at(3), prepare=hold_two_rows))
    done = finetune(request_with(resume=True))  # the memory would hold four rows now, in other steps
    assert done.training.resumed_at == 3
    assert done.record["hyperparameters"]["batch_size"] == 2
    assert done.record["hyperparameters"]["gradient_accumulation"] == 2
    assert [step.step for step in done.training.steps] == [1, 2, 3, 4, 5, 6]


def test_fewer_processes_do_not_go_on_with_a_training(request_with: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TrainingStopped):
        finetune(request_with(), stopping_at(3))
    identity = request_with().output.with_name("adapter.checkpoints") / "training.json"
    known = json.loads(identity.read_text(encoding="utf-8"))
    identity.write_text(json.dumps({**known, "number of processes": 2}), encoding="utf-8")
    with pytest.raises(UsageError, match="with another number of processes"):
        finetune(request_with(resume=True))


def test_a_folder_without_a_name_is_refused_and_a_link_keeps_pointing(request_with: Build, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="name one for the adapter"):
        finetune(request_with(output=Path()))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    finetune(request_with(output=tmp_path / "link"))
    assert (tmp_path / "link").is_symlink()
    assert weights(tmp_path / "elsewhere")


def test_strictness_without_any_case_is_refused(request_with: Build) -> None:
    with pytest.raises(UsageError, match="no cases to hold the rows against"):
        finetune(request_with(strict=True, suites=()))


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling")],
)
def test_memory_that_holds_no_row_is_told(request_with: Build, error: Exception) -> None:
    def hold_nothing(trainer: Any) -> None:
        def fail(*_: Any, **__: Any) -> Any:
            raise error

        trainer.compute_loss = fail

    with pytest.raises(NotReadyError, match="out of memory with one row at once"):
        finetune(request_with(), Watch(prepare=hold_nothing))


def test_two_trainings_of_one_adapter_do_not_mix(request_with: Build) -> None:
    folder = request_with().output.with_name("adapter.checkpoints")
    folder.mkdir()
    with filelock.FileLock(folder / ".lock"), pytest.raises(UsageError, match="in use: another training"):
        finetune(request_with())


def test_rows_that_the_suites_ask_are_told_and_refused_when_strict(
    request_with: Build, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    asked = rows()[7]["prompt"][0]["content"]
    suite = tmp_path / "suite.yaml"
    suite.write_text(f"category: a\nlanguage: fr\ncases:\n  - {{id: b, prompt: {asked}}}\n", encoding="utf-8")
    with pytest.raises(
        UsageError,
        match=rf"rows of rows\.jsonl ask what the cases ask.*{asked}.*; leave out those that `llmbench dataset check",
    ):
        finetune(request_with(suites=[suite], strict=True))
    shutil.copy(suite, tmp_path / "another one.yaml")
    suite.write_text(suite.read_text(encoding="utf-8").replace("category: a", "category: b"), encoding="utf-8")
    suites = [suite, tmp_path / "another one.yaml"]
    with caplog.at_level(logging.WARNING, "pytest_llmbench"):
        finetune(request_with({"steps": 1}, suites=suites))
    (lists,) = re.findall("; (llmbench dataset check .*) lists them", caplog.text)
    found = llmbench(*shlex.split(lists)[1:])
    assert json.loads(found.stdout)["cases"] == 2
    assert len(json.loads(found.stdout)["contaminated"]) == int(re.findall(r"(\d+) rows of rows", caplog.text)[0])
    assert re.search(r"rows of rows\.jsonl ask what the cases ask.*; llmbench dataset check .* lists them", caplog.text)


def test_a_gated_model_is_told_at_once(request_with: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "models.yaml").write_text("models:\n  closed: {hub: org/closed, gated: true}\n")
    with pytest.raises(
        ModelError, match=r"org/closed is gated: accept its licence on https://huggingface.co/org/closed"
    ):
        finetune(request_with(base="closed"))
    here = {"a-tag": tmp_path}
    monkeypatch.setattr("pytest_llmbench.models.sources.cached", lambda _, revision: here.get(revision))
    with pytest.raises(ModelError, match="no weights"):  # what is here needs no licence; this folder is no model
        finetune(request_with(base="closed", revision="a-tag"))


def test_a_training_that_will_not_fit_is_refused_before_loading(
    request_with: Build, tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = tmp_path / "large"
    shutil.copytree(tiny_base, large)
    config = json.loads((large / "config.json").read_text(encoding="utf-8"))
    config |= {"hidden_size": 65536, "intermediate_size": 262144, "num_hidden_layers": 400}
    (large / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(NotReadyError, match="force tries it all the same") as raised:
        finetune(request_with(base=str(large)))
    assert raised.value.names == ("force",)


def test_a_base_without_a_template_is_refused_unless_it_is_known_to_continue_text(
    request_with: Build, tiny_base: Path, tmp_path: Path
) -> None:
    silent = tmp_path / "silent"
    shutil.copytree(tiny_base, silent)
    (silent / "chat_template.jinja").unlink()
    with pytest.raises(UsageError, match="no chat template"):
        finetune(request_with(base=str(silent)))


def test_a_row_that_is_too_long_is_named(request_with: Build) -> None:
    with pytest.raises(
        UsageError, match=r"rows\.jsonl:\d+: the row has \d+ tokens, more than max_length 8; raise it, or shorten"
    ) as raised:
        finetune(request_with({"max_length": 8}))
    assert raised.value.names == ("max_length",)


def test_rows_that_the_base_cannot_read_whole_are_refused_before_it_is_loaded(
    request_with: Build, tiny_base: Path, tmp_path: Path
) -> None:
    short = tmp_path / "short"
    shutil.copytree(tiny_base, short)
    config = json.loads((short / "config.json").read_text(encoding="utf-8"))
    (short / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 8}), encoding="utf-8")
    (short / "model.safetensors").write_bytes(b"no weights")
    told = r"reads 8 tokens at once, and the longest row of .*{0} has 11; .*dataset check .*{0} --base"
    with pytest.raises(UsageError, match=told.format(r"rows\.jsonl")) as raised:
        finetune(request_with(base=str(short)))
    assert "dataset check {} --base {} --max-length 8` lists them".format(*(request_with().dataset, short)) in str(
        raised.value
    )
    (short / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 11}), encoding="utf-8")
    long = {"prompt": "ouvre", "completion": "ouvre " * 12}
    held_out = write_rows(tmp_path / "validation.jsonl", [*other_rows(), long])
    with pytest.raises(
        UsageError, match=r"longest row of .*validation\.jsonl has \d+; .*check .*validation\.jsonl --base"
    ):
        finetune(request_with(base=str(short), validation=held_out))


def test_the_command_of_a_record_asks_for_the_same_from_the_beginning(request_with: Build) -> None:
    record = finetune(request_with({"steps": 1}, overwrite=True)).record
    assert record["command"] == request_with({"steps": 1}).command()


def test_targets_that_the_base_does_not_have_are_a_wrong_use(
    request_with: Build, tiny_base: Path, tmp_path: Path
) -> None:
    missing = r"^targets: no linear layer is called 'foo_proj'; LoRA targets are .*q_proj"
    with pytest.raises(UsageError, match=missing) as raised:
        finetune(request_with({"targets": ("q_proj", "foo_proj")}))
    assert raised.value.names == ("targets",)
    unknown = AutoModelForCausalLM.from_pretrained(tiny_base)  # as a base whose shapes are not known
    with pytest.raises(UsageError, match=missing):
        train(
            unknown, None, Dataset.from_list([]), Hyperparameters(targets=("q_proj", "foo_proj")), work_folder=tmp_path
        )


def test_the_sessions_of_a_resumed_training_are_summed(request_with: Build, tmp_path: Path) -> None:
    whole = finetune(request_with(output=tmp_path / "whole")).record
    with pytest.raises(TrainingStopped):
        finetune(request_with(), stopping_at(3))
    moments: list[Moment] = []
    record = finetune(request_with(resume=True), Watch(on_moment=moments.append)).record
    first, second = record["sessions"]
    assert (first["from_step"], first["to_step"], second["from_step"], second["to_step"]) == (0, 3, 3, 6)
    assert record["duration_s"] == pytest.approx(first["seconds"] + second["seconds"], abs=0.1)
    assert min(first["seconds"], second["seconds"]) > 0
    assert first["tokens"] + second["tokens"] == record["tokens"] == whole["tokens"]
    assert first["samples"] + second["samples"] == whole["sessions"][0]["samples"] == 24
    assert record["gradients"]["without"] == []
    assert [step["tokens"] for step in record["steps"]] == [step["tokens"] for step in whole["steps"]]
    assert min(moment.tokens_per_s for moment in moments) > 0


@pytest.mark.parametrize(
    ("quantization", "stopped"),
    [("none", 10), ("nf4", 10), ("none", 8)],  # an answer repacks 4-bit weights on some CPUs; 8 steps are a pass
)
def test_rows_that_are_not_learnt_are_looked_at_after_each_pass(
    request_with: Build, tmp_path: Path, quantization: str, stopped: int
) -> None:
    held_out = write_rows(tmp_path / "validation.jsonl", other_rows())
    changes = {"steps": 12, "quantization": quantization}
    plain = finetune(request_with(changes, output=tmp_path / "plain"))
    with pytest.raises(TrainingStopped):
        finetune(request_with(changes, validation=held_out), stopping_at(stopped))
    done = finetune(request_with(changes, validation=held_out, resume=True))
    measured = done.record["validation"]
    assert [one["step"] for one in measured] == [0, 8, 12]
    assert measured[-1]["loss"] < measured[0]["loss"]
    assert measured[-1]["token_accuracy"] > measured[0]["token_accuracy"]
    assert done.record["validation_dataset"]["rows"] == 8
    assert plain.record["validation"] == []
    expected = weights(tmp_path / "plain")
    for name, found in weights(tmp_path / "adapter").items():
        torch.testing.assert_close(found, expected[name], rtol=0, atol=0, msg="looking changes nothing")


def test_a_training_stopped_in_its_last_step_is_measured_to_the_end(request_with: Build, tmp_path: Path) -> None:
    held_out = write_rows(tmp_path / "validation.jsonl", other_rows())
    done = finetune(request_with(validation=held_out), stopping_at(6))
    assert [one["step"] for one in done.record["validation"]] == [0, 6]


def test_what_is_learnt_says_nothing_of_other_questions(
    request_with: Build, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    copied = write_rows(tmp_path / "copied.jsonl", rows(5))
    told = r"copied\.jsonl: {} of its {} questions are asked by training rows too; their loss tells of memory; .*split"
    with pytest.raises(UsageError, match=told.format(5, 5)):
        finetune(request_with(validation=copied))
    spaced = write_rows(tmp_path / "my rows.jsonl", rows())
    with pytest.raises(UsageError, match=r"`llmbench dataset split '.*/my rows\.jsonl'`"):
        finetune(request_with(dataset=spaced, validation=copied))
    write_rows(copied, [*rows(5), *other_rows(3)])
    with caplog.at_level(logging.WARNING, "pytest_llmbench"):
        finetune(request_with({"steps": 1}, validation=copied))
    assert re.search(told.format(5, 8), caplog.text)


def test_tokens_and_labels_are_those_that_trl_makes(request_with: Build, tiny_base: Path, tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_base)
    dataset = request_with().dataset
    ours = tokenize_file(dataset, base_form(tokenizer, {}, "system"), 64, kept=tmp_path / "rows", identity={}).examples
    with quiet_libraries():
        theirs = SFTTrainer(
            AutoModelForCausalLM.from_pretrained(tiny_base),
            SFTConfig(output_dir=str(tmp_path / "trl"), use_cpu=True, bf16=False, report_to="none", max_length=64),
            train_dataset=Dataset.from_list([{key: row[key] for key in ("prompt", "completion")} for row in rows()]),
            processing_class=tokenizer,
        ).train_dataset
    assert [ours[at]["input_ids"] for at in range(32)] == [theirs[at]["input_ids"] for at in range(32)]
    assert [ours[at]["labels"] for at in range(32)] == [theirs[at]["labels"] for at in range(32)]


def test_a_single_step_learns_and_other_programs_find_the_base_of_its_files(
    request_with: Build, tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("configs").mkdir()
    Path("configs/models.yaml").write_text("models:\n  alias: {hub: org/known}\n")
    monkeypatch.setattr("pytest_llmbench.finetune.finetune._resolve", lambda _request: resolve(str(tiny_base)))
    before = os.umask(0o027)
    try:
        finetune(request_with({"steps": 1}, base="alias"))
    finally:
        os.umask(before)
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text(encoding="utf-8"))
    assert config["base_model_name_or_path"] == "org/known"
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "adapter").iterdir()}
    assert set(modes.values()) == {0o640}, modes
    assert (tmp_path / "adapter").stat().st_mode & 0o777 == 0o750
    assert any(found.any() for name, found in weights(tmp_path / "adapter").items() if "lora_B" in name), "it learnt"


@pytest.mark.parametrize(("rows_", "processes", "steps"), [(5, 1, 3), (64, 4, 3), (65, 4, 6)])
def test_each_pass_ends_with_a_step_that_all_processes_share(
    monkeypatch: pytest.MonkeyPatch, rows_: int, processes: int, steps: int
) -> None:
    monkeypatch.setenv("WORLD_SIZE", str(processes))
    assert planned_steps(Hyperparameters(epochs=3.0, batch_size=4, gradient_accumulation=4), rows_) == steps


def test_answers_that_are_all_in_quotes_are_announced(
    request_with: Build, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    quoted = write_rows(tmp_path / "quoted.jsonl", [new_row(asked, '"Oui."') for asked in ("monte", "baisse")])
    with caplog.at_level(logging.WARNING, "pytest_llmbench"):
        read_files(request_with(), Watch(), tells=True)
        assert caplog.text == ""
        read_files(request_with(dataset=quoted), Watch(), tells=True)
    assert "quoted.jsonl: all answers are in quotes, which are learnt with them" in caplog.text


def test_bfloat16_that_a_gpu_only_emulates_is_not_computed_in(monkeypatch: pytest.MonkeyPatch) -> None:
    def as_a_t4(*, including_emulation: bool = True) -> bool:
        return including_emulation

    monkeypatch.setattr("torch.cuda.is_bf16_supported", as_a_t4)
    assert not has_bfloat16("cuda")
