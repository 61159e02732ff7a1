"""What `llmbench finetune` makes of its words and signals; no model is trained."""

from __future__ import annotations

import dataclasses
import os
import re
import shlex
import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.command_line import llmbench

from pytest_llmbench.core.errors import UsageError
from pytest_llmbench.finetune.request import FinetuneRequest
from pytest_llmbench.finetune.sft import TrainingStopped, Watch


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[..., Any]], None]:
    """Has another function run in the place of a training."""
    return lambda instead: monkeypatch.setattr("pytest_llmbench.finetune.finetune.finetune", instead)


EVERY_CHANGE = {
    "quantization": "none",
    "epochs": 0.1 + 0.2,
    "steps": 7,
    "rank": 4,
    "alpha": 9,
    "dropout": 0.05,
    "targets": ("q_proj", "v_proj"),
    "learning_rate": 0.000123456789,
    "warmup_share": 0.1,
    "batch_size": 3,
    "gradient_accumulation": 2,
    "gradient_checkpointing": False,
    "max_length": 99,
    "seed": 1,
    "save_steps": 5,
}
PLAIN = FinetuneRequest(Path("my rows.jsonl"), Path("out"))
FULL = FinetuneRequest(
    Path("rows.csv"),
    Path("out"),
    "qwen2.5:1.5b",
    validation=Path("its val.jsonl"),
    task="chat",
    device="cpu",
    changes=EVERY_CHANGE,
    suites=(Path("a"), Path("b c")),
    overwrite=True,
    force=True,
    strict=True,
    keep_checkpoints=True,
    config=Path("mine.yaml"),
    journal=Path("the course.jsonl"),
)


OWN = FinetuneRequest(Path("rows.jsonl"), Path("out"), suites=(Path("prompts"),), config=Path("mine.yaml"))


@pytest.mark.parametrize(
    "request_", [PLAIN, FULL, FULL.going_on(), OWN], ids=["plain", "full", "resumed", "over the settings"]
)
def test_the_command_of_a_request_is_read_back_as_the_same_request(
    runs: Callable[..., None], request_: FinetuneRequest
) -> None:
    read: list[FinetuneRequest] = []

    def note(asked: FinetuneRequest, _watch: Watch) -> None:
        read.append(asked)
        raise TrainingStopped

    runs(note)
    Path("mine.yaml").write_text("benchmark: {prompts: [theirs]}" if request_.suites else "{}", encoding="utf-8")
    llmbench(*shlex.split(request_.command())[1:])
    assert [dataclasses.replace(asked, changes=dict(asked.changes)) for asked in read] == [request_]


CONFIGURED = """
model:
  {quantization: none, device: cpu, revision: v2, trust_remote_code: true, system_role: user, double_quant: false,
   compute_dtype: float16, device_map: {"": 0}}
benchmark: {prompts: [mine], vocabulary: tools.yaml, strict: true}
logging: {progress: false}
"""


def test_what_the_settings_say_holds_for_a_training_too(
    runs: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(asked: FinetuneRequest, watch: Watch) -> None:
        watch.on_reading("reading", 1, 2)
        read.append(asked)
        raise TrainingStopped

    read: list[FinetuneRequest] = []
    runs(train)
    monkeypatch.setattr("pytest_llmbench.cli.terminal._STEP_EVERY_S", 0.0)
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs/llmbench.yaml").write_text(CONFIGURED, encoding="utf-8")
    (tmp_path / "tools.yaml").touch()
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts/system.txt").touch()
    told = llmbench("finetune", "rows.jsonl", "--output", "out").stderr
    assert read == [
        FinetuneRequest(
            Path("rows.jsonl"),
            Path("out"),
            device="cpu",
            system_role="user",
            revision="v2",
            trust_remote_code=True,
            double_quant=False,
            compute_dtype="float16",
            device_map={"": 0},
            changes={"quantization": "none"},
            suites=(Path("mine"),),
            vocabulary=Path("tools.yaml"),
            strict=True,
        )
    ]
    assert "reading" not in told
    (tmp_path / "configs/llmbench.yaml").unlink()
    llmbench("finetune", "rows.jsonl", "--output", "out")
    llmbench("finetune", "rows.jsonl", "--output", "out", "--prompts", "prompts")
    assert [request.suites for request in read[1:]] == [(), (Path("prompts"),)], "prompts/ holds no suite"


def test_the_quantization_that_every_project_starts_with_leaves_a_preset_its_own(
    runs: Callable[..., None], tmp_path: Path
) -> None:
    def train(asked: FinetuneRequest, _: Watch) -> None:
        read.append(asked)
        raise TrainingStopped

    read: list[FinetuneRequest] = []
    runs(train)
    (tmp_path / "mine.yaml").write_text("model: {quantization: nf4}", encoding="utf-8")
    llmbench("finetune", "rows.jsonl", "--output", "out", "--config", "mine.yaml")
    assert [dict(asked.changes) for asked in read] == [{}]


def test_a_base_that_is_served_in_int8_is_no_base_to_train_over(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("model: {quantization: int8}", encoding="utf-8")
    done = llmbench("finetune", "rows.jsonl", "--output", "out", "--config", "mine.yaml")
    assert done.exit_code == 2
    assert done.stderr == (
        "error: training is over nf4 or an unquantized base; set model.quantization: nf4 or none (--quantization)\n"
    )


def test_the_validation_loss_is_told_with_where_it_was_least(runs: Callable[..., None]) -> None:
    measured = [
        {"step": step, "loss": loss, "token_accuracy": accuracy}
        for step, loss, accuracy in ((0, 3.0, 0.2), (8, 1.0, 0.7), (16, 1.25, 0.75))
    ]
    record = {"train_loss": 0.5, "token_accuracy": 0.9, "trainable_share": 0.01, "duration_s": 9.0, "steps": []}
    done = SimpleNamespace(record={**record, "validation": measured})
    runs(lambda _request, _watch: done)
    told = llmbench("finetune", "rows.jsonl", "--output", "out", "--validation", "val.jsonl").stdout.splitlines()[-2]
    assert told == (
        "  validation: loss 3.000 -> 1.250, token accuracy 20.0% -> 75.0%; "
        "the loss was least after step 8 (1.000): fewer epochs would do"
    )


def test_it_ends_with_the_loss_that_was_reached_and_the_next_command(runs: Callable[..., None]) -> None:
    steps = [{"step": step, "loss": loss} for step, loss in ((5, 3.0), (10, 1.5), (15, 0.25))]
    record = {"train_loss": 1.583, "token_accuracy": 0.9, "trainable_share": 0.01, "duration_s": 9.0, "steps": steps}
    runs(lambda _request, _watch: SimpleNamespace(record={**record, "validation": []}))
    told = llmbench("finetune", "rows.jsonl", "--output", "my adapter", "--base", "qwen").stdout.splitlines()
    assert told == [
        "my adapter: loss 3.000 -> 0.250, token accuracy 90.0%, 1.00% of the parameters trained in 9 s",
        "next, is it better than its base?  pytest -m benchmark --llmbench-base qwen --llmbench-adapter 'my adapter'",
    ]


def test_the_next_command_asks_what_was_trained_as_it_was_trained(runs: Callable[..., None]) -> None:
    record = {"train_loss": 1.0, "token_accuracy": 0.9, "trainable_share": 0.01, "duration_s": 9.0, "steps": []}
    runs(lambda _request, _watch: SimpleNamespace(record={**record, "validation": []}))
    Path("mine.yaml").write_text("{}", encoding="utf-8")
    words = ("--config", "mine.yaml", "--quantization", "none", "--device", "cpu", "--prompts", "a", "--prompts", "b")
    told = llmbench("finetune", "rows.jsonl", "--output", "out", "--base", "qwen", *words).stdout.splitlines()[-1]
    assert told.partition("?  ")[2] == (
        "pytest -m benchmark --llmbench-base qwen --llmbench-adapter out --llmbench-config mine.yaml "
        "--llmbench-quantization none --llmbench-device cpu --llmbench-prompts a --llmbench-prompts b"
    )


def test_the_command_of_several_processes_starts_as_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    launched, _, words = PLAIN.going_on().command().partition(" finetune ")
    assert launched == "accelerate launch --num_processes 2 --module pytest_llmbench.cli"
    assert words == "'my rows.jsonl' --base smollm2-135m --output out --resume"


def test_every_value_that_can_be_changed_has_its_option() -> None:
    known = {field.name for field in dataclasses.fields(FULL.settled()[1])} | {"quantization"}
    assert known == set(EVERY_CHANGE)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (("--lr", "0"), "--learning-rate 0.0: input should be greater than 0"),
        (("--learning-rate", "inf"), "--learning-rate inf: input should be a finite number"),
        (("--epochs", "inf"), "--epochs inf: input should be a finite number"),
        (("--epochs", "1e300"), "--epochs 1e+300: input should be less than or equal to 1000000"),
        (("--batch-size", f"1{'0' * 30}"), "input should be less than or equal to 9007199254740992"),
        (("--targets", ""), "name layers, such as q_proj,v_proj, or take all-linear"),
        (("--seed", "99999999999"), "--seed 99999999999: input should be less than 4294967296"),
    ],
)
def test_a_value_out_of_its_range_is_an_error_of_one_line(option: tuple[str, str], message: str) -> None:
    done = llmbench("finetune", "rows.jsonl", "--output", "out", *option)
    assert done.exit_code == 2
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_task_changes_the_settings_of_a_base_that_is_in_no_registry_too() -> None:
    asked = FinetuneRequest(Path("rows.jsonl"), Path("out"), "in/no-registry", task="classification")
    _, hyperparameters = asked.settled()
    assert (hyperparameters.epochs, hyperparameters.max_length) == (5.0, 128)


def test_a_change_of_no_known_name_is_refused() -> None:
    with pytest.raises(UsageError, match=re.escape("--depth 3: extra inputs are not permitted")):
        dataclasses.replace(PLAIN, changes={"depth": 3}).settled()


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_after_the_step_and_gives_the_exit_code(
    runs: Callable[..., None], number: signal.Signals, exit_code: int
) -> None:
    before = signal.getsignal(number)

    def train(_request: FinetuneRequest, watch: Watch) -> None:
        assert not watch.stop()
        os.kill(os.getpid(), number)
        assert watch.stop()
        raise TrainingStopped("stopped at step 1 of 6")

    runs(train)
    done = llmbench("finetune", "rows.jsonl", "--output", "out")
    assert done.exit_code == exit_code
    assert "stopped at step 1 of 6" in done.stderr
    assert signal.getsignal(number) is before


@pytest.mark.parametrize(
    ("journal", "told"),
    [
        ("rows.jsonl", "rows.jsonl is both the dataset and the journal: one would replace the other"),
        ("prompts/orders.jsonl", "prompts/orders.jsonl is both a suite and the journal"),
        ("configs/llmbench.yaml", "configs/llmbench.yaml is both the config and the journal"),
        ("out/course.jsonl", "the journal out/course.jsonl lies in out, which is replaced or removed as a whole"),
        ("out.checkpoints/course.jsonl", "lies in out.checkpoints, which is replaced"),
    ],
)
def test_a_journal_that_would_spoil_rows_or_be_lost_with_a_folder_is_refused(
    runs: Callable[..., None], journal: str, told: str
) -> None:
    runs(lambda _request, _watch: pytest.fail("it was trained"))
    for name, text in (("rows.jsonl", ""), ("prompts/orders.jsonl", ""), ("configs/llmbench.yaml", "{}")):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text(text or '{"prompt": "a", "completion": "b"}', encoding="utf-8")
    done = llmbench("finetune", "rows.jsonl", "--output", "out", "--journal", journal)
    assert (done.exit_code, told in done.stderr) == (2, True), done.stderr
    assert Path("rows.jsonl").read_text(encoding="utf-8") == '{"prompt": "a", "completion": "b"}'
