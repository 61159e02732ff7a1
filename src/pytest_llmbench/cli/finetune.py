"""`llmbench finetune`."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from pytest_llmbench.cli.options import (
    Base,
    Config,
    Device,
    Json,
    SettingOption,
    SystemRole,
    TemplateArguments,
    chosen_settings,
)
from pytest_llmbench.core.errors import EXIT_BY_SIGNAL, UsageError

if TYPE_CHECKING:
    from pytest_llmbench.core.setting_sections import ModelSettings
    from pytest_llmbench.finetune.training_log import Moment

_MIB = 2**20
_PLAIN_EVERY_S = 5.0


def finetune_command(  # noqa: PLR0913  # one argument an option
    dataset: Annotated[Path, typer.Argument(metavar="DATASET", help="Rows: .jsonl, .csv or .json, of any form.")],
    *,
    output: Annotated[Path, typer.Option(metavar="DIR", help="The adapter's folder.")],
    base: Base = None,
    preset: Annotated[
        Literal["chat", "completion", "classification"] | None,
        typer.Option(help="The registry's settings for this task; the options below change single ones."),
    ] = None,
    validation: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Rows that are not learnt; their loss is told after each pass."),
    ] = None,
    quantization: Annotated[
        Literal["nf4", "none"] | None,
        SettingOption("model.quantization", default=False, choices=True, more="; the preset's where nothing is set"),
    ] = None,
    epochs: Annotated[float | None, typer.Option(min=0.01, help="How often every row is seen.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="End after so many steps.")] = None,
    rank: Annotated[int | None, typer.Option(min=1, help="The LoRA matrices' rank.")] = None,
    alpha: Annotated[int | None, typer.Option(min=1, help="The adapter is scaled by alpha / rank.")] = None,
    dropout: Annotated[float | None, typer.Option(min=0, max=0.9, help="Of the adapter's inputs.")] = None,
    targets: Annotated[str | None, typer.Option(metavar="A,B", help="Layers that get a LoRA, or all-linear.")] = None,
    learning_rate: Annotated[float | None, typer.Option(min=0, help="Highest learning rate.")] = None,
    warmup_share: Annotated[
        float | None, typer.Option(min=0, max=1, help="Of the steps, while the learning rate rises.")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Rows at once.")] = None,
    gradient_accumulation: Annotated[int | None, typer.Option(min=1, help="Batches that make up a step.")] = None,
    gradient_checkpointing: Annotated[
        bool | None,
        typer.Option(
            "--gradient-checkpointing/--no-gradient-checkpointing", help="Less memory; a step takes 1.4 times as long."
        ),
    ] = None,
    max_length: Annotated[int | None, typer.Option(min=8, help="Most tokens of a row.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of the adapter's first weights and the rows' order.")] = None,
    save_steps: Annotated[
        int | None, typer.Option(min=1, help="Steps between checkpoints; one every five minutes when not given.")
    ] = None,
    device: Device = None,
    template_arguments: TemplateArguments = None,
    system_role: SystemRole = None,
    config: Config = None,
    prompts: Annotated[
        list[Path] | None, SettingOption("benchmark.prompts", more="; no row may come near one; repeatable")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Refuse rows that come near to a suite.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Try what the memory estimate forbids.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the newest checkpoint.")] = False,
    keep_checkpoints: Annotated[
        bool, typer.Option("--keep-checkpoints", help="Keep them beside the finished adapter.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an adapter that is there.")] = False,
    as_json: Json = False,
) -> None:
    """Train a LoRA adapter on a dataset.

    The adapter's folder appears when the training is over and complete. Until then DIR.checkpoints holds the newest
    checkpoints; Ctrl-C writes one more, and --resume goes on from there.
    """
    from pytest_llmbench.finetune.finetune import finetune as run
    from pytest_llmbench.finetune.request import DEFAULT_SUITES, FinetuneRequest
    from pytest_llmbench.finetune.sft import TrainingStopped, Watch

    asked: dict[str, Any] = {
        "quantization": quantization,
        "epochs": epochs,
        "steps": steps,
        "rank": rank,
        "alpha": alpha,
        "dropout": dropout,
        "targets": _targets(targets),
        "learning_rate": learning_rate,
        "warmup_share": warmup_share,
        "batch_size": batch_size,
        "gradient_accumulation": gradient_accumulation,
        "gradient_checkpointing": gradient_checkpointing,
        "max_length": max_length,
        "seed": seed,
        "save_steps": save_steps,
    }
    form_options = {"model.template_arguments": template_arguments, "model.system_role": system_role}
    settings = chosen_settings(config, base=base, device=device, **form_options)
    form, suites = settings.model, prompts or settings.benchmark.prompts
    asked["quantization"] = quantization or _set_quantization(form)
    request = FinetuneRequest(
        dataset,
        output,
        form.base,
        validation=validation,
        task=preset,
        device=form.device,
        template_arguments=form.template_arguments,
        system_role=form.system_role,
        revision=form.revision,
        trust_remote_code=form.trust_remote_code,
        changes={name: value for name, value in asked.items() if value is not None},
        suites=tuple(path for path in suites if path != DEFAULT_SUITES or path.is_dir()),
        vocabulary=settings.benchmark.vocabulary if settings.benchmark.vocabulary.is_file() else None,
        overwrite=overwrite,
        resume=resume,
        force=force,
        strict=strict or settings.benchmark.strict,
        keep_checkpoints=keep_checkpoints,
    )
    try:
        with _progress(shown=settings.logging.progress) as (reading, show), _first_interrupt() as noted:
            record = run(request, Watch(reading, show, stop=lambda: bool(noted))).record
    except TrainingStopped as stopped:
        typer.echo(str(stopped), err=True)
        raise typer.Exit(EXIT_BY_SIGNAL + noted[0] if noted else stopped.exit_code) from stopped
    if _is_follower():
        return
    if as_json:
        typer.echo(json.dumps(record, ensure_ascii=False, indent=2))
    else:
        typer.echo(f"{output}: {_learnt(record)}")
        if record["validation"]:
            typer.echo(_validated(record["validation"]))
        words = ["pytest", "-m", "benchmark", "--llmbench-base", form.base, "--llmbench-adapter", str(output)]
        typer.echo(f"next, is it better than its base?  {shlex.join(words)}")


def _set_quantization(model: ModelSettings) -> str | None:
    """How the base will be served, which is how it is trained; None leaves it to the preset.

    The default is no wish: `llmbench init` writes it into every project, also where a preset trains otherwise.
    """
    if model.quantization == type(model).model_fields["quantization"].default:
        return None
    if model.quantization == "int8":
        from pytest_llmbench.finetune.request import NOT_OVER_INT8

        raise UsageError(NOT_OVER_INT8, names=("model.quantization",))
    return model.quantization


def _learnt(record: Mapping[str, Any]) -> str:
    """The loss of the last step, which is what was reached; the mean of all is in the record."""
    steps = record["steps"]
    loss, accuracy = (steps[-1]["loss"] if steps else record["train_loss"]), record["token_accuracy"]
    first = f"loss {steps[0]['loss']:.3f} -> {loss:.3f}" if len(steps) > 1 else f"loss {loss:.3f}"
    told = f"{first}, token accuracy {accuracy:.1%}" if accuracy is not None else first
    return f"{told}, {record['trainable_share']:.2%} of the parameters trained in {record['duration_s']:.0f} s"


def _validated(measured: Sequence[Mapping[str, Any]]) -> str:
    """The loss on the validation rows from the beginning to the end, and where it was least if that was earlier."""
    first, last = measured[0], measured[-1]
    told = (
        f"  validation: loss {first['loss']:.3f} -> {last['loss']:.3f}, "
        f"token accuracy {first['token_accuracy']:.1%} -> {last['token_accuracy']:.1%}"
    )
    best = min(measured, key=lambda one: one["loss"])
    if best["loss"] < last["loss"]:
        told += f"; the loss was least after step {best['step']} ({best['loss']:.3f}): fewer epochs would do"
    return told


def _targets(text: str | None) -> str | tuple[str, ...] | None:
    if text is None or text == "all-linear":
        return text
    return tuple(part.strip() for part in text.split(",") if part.strip())


@contextlib.contextmanager
def _first_interrupt() -> Iterator[list[int]]:
    """Gets the signal of Ctrl-C or `kill`; the step under way ends first. The second one interrupts as usual."""
    noted: list[int] = []
    usual = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def back_to_usual() -> None:
        for number, handler in usual.items():
            signal.signal(number, handler)

    def note(number: int, _frame: object) -> None:
        noted.append(number)
        back_to_usual()
        typer.echo("\nstopping after this step and its checkpoint; Ctrl-C again stops at once", err=True)

    if threading.current_thread() is not threading.main_thread() or _is_one_of_many():
        yield noted
        return
    for number in usual:
        signal.signal(number, note)
    try:
        yield noted
    finally:
        back_to_usual()


def _is_follower() -> bool:
    """Of the processes that `accelerate launch` starts, the first one speaks."""
    return os.environ.get("RANK", "0") != "0"


def _is_one_of_many() -> bool:
    """Under `accelerate launch` every process would stop at another step."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


Show = tuple[Callable[[str, int, int | None], None], Callable[["Moment"], None]]


@contextlib.contextmanager
def _progress(*, shown: bool) -> Iterator[Show]:
    """Tells of reading and of steps: with a bar on a terminal, in plain lines elsewhere; nothing unless `shown`."""
    if not shown:
        yield (lambda _what, _done, _of: None), (lambda _moment: None)
        return
    if not sys.stderr.isatty():
        yield _plain()
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("loading", total=None)

        def reading(what: str, done: int, of: int | None) -> None:
            ended = of is None or done >= of
            bar.update(task, completed=done, total=None if ended else of, description="loading" if ended else what)

        def show(moment: Moment) -> None:
            step = moment.step
            description = f"{step.step}/{step.of} {_state(moment)}"
            bar.update(task, completed=step.step, total=step.of, description=description)

        yield reading, show


def _plain() -> Show:
    import time

    shown_at = {"reading": time.monotonic(), "step": 0.0}  # a small dataset is read before there is much to tell

    def say(kind: str, line: str, *, last: bool = False) -> None:
        now = time.monotonic()
        if now - shown_at[kind] >= _PLAIN_EVERY_S or last:
            shown_at[kind] = now
            typer.echo(line, err=True)

    def reading(what: str, done: int, of: int | None) -> None:
        if of and done < of:
            say("reading", f"{what}: {done / of:.0%}")

    def show(moment: Moment) -> None:
        step = moment.step
        say("step", f"step {step.step}/{step.of}  {_state(moment)}", last=step.step == step.of)

    return reading, show


def _state(moment: Moment) -> str:
    step = moment.step
    left = "" if moment.seconds_left is None else f"  {_minutes(moment.seconds_left)} left"
    return (
        f"loss {step.loss:.3f}  token accuracy {step.token_accuracy:.1%}  {moment.tokens_per_s:.0f} tokens/s  "
        f"{moment.memory / _MIB:.0f} MiB{left}"
    )


def _minutes(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
