"""`llmbench finetune`."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shlex
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
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
from pytest_llmbench.cli.terminal import training_progress
from pytest_llmbench.core.errors import EXIT_BY_SIGNAL, UsageError
from pytest_llmbench.finetune.hyperparameters import MEANINGS
from pytest_llmbench.finetune.processes import is_first, process_count

if TYPE_CHECKING:
    from pytest_llmbench.core.setting_sections import ModelSettings
    from pytest_llmbench.core.settings import Settings
    from pytest_llmbench.finetune.request import FinetuneRequest
    from pytest_llmbench.finetune.sft import Watch


@dataclasses.dataclass(frozen=True, slots=True)
class _Source:
    """What the training begins with."""

    base: Base = None
    preset: Annotated[
        Literal["chat", "completion", "classification"] | None,
        typer.Option(help="The registry's settings for this task; the options below change single ones."),
    ] = None
    validation: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Rows that are not learnt; their loss is told after each pass."),
    ] = None


@dataclasses.dataclass(frozen=True, slots=True)
class _Training:
    """What is trained otherwise than the preset says."""

    quantization: Annotated[
        Literal["nf4", "none"] | None,
        SettingOption(
            "model.quantization",
            choices=True,
            default=False,
            text="how the base is trained over: nf4 (4 bits) or none; the preset's where nothing is set",
        ),
    ] = None
    epochs: Annotated[float | None, typer.Option(min=0.01, help=MEANINGS["epochs"])] = None
    steps: Annotated[int | None, typer.Option(min=1, help=MEANINGS["steps"])] = None
    rank: Annotated[int | None, typer.Option(min=1, help=MEANINGS["rank"])] = None
    alpha: Annotated[int | None, typer.Option(min=1, help=MEANINGS["alpha"])] = None
    dropout: Annotated[float | None, typer.Option(min=0, max=0.9, help=MEANINGS["dropout"])] = None
    targets: Annotated[str | None, typer.Option(metavar="A,B", help=MEANINGS["targets"])] = None
    learning_rate: Annotated[float | None, typer.Option(min=0, help=MEANINGS["learning_rate"])] = None
    warmup_share: Annotated[float | None, typer.Option(min=0, max=1, help=MEANINGS["warmup_share"])] = None
    batch_size: Annotated[int | None, typer.Option(min=1, help=MEANINGS["batch_size"])] = None
    gradient_accumulation: Annotated[int | None, typer.Option(min=1, help=MEANINGS["gradient_accumulation"])] = None
    gradient_checkpointing: Annotated[
        bool | None,
        typer.Option("--gradient-checkpointing/--no-gradient-checkpointing", help=MEANINGS["gradient_checkpointing"]),
    ] = None
    max_length: Annotated[int | None, typer.Option(min=8, help=MEANINGS["max_length"])] = None
    seed: Annotated[int | None, typer.Option(min=0, help=MEANINGS["seed"])] = None
    save_steps: Annotated[int | None, typer.Option(min=1, help=MEANINGS["save_steps"])] = None

    def changes(self) -> dict[str, Any]:
        """The fields that were given, as `FinetuneRequest` takes them."""
        given = dataclasses.asdict(self) | {"targets": _targets(self.targets)}
        return {name: value for name, value in given.items() if value is not None}


@dataclasses.dataclass(frozen=True, slots=True)
class _Form:
    """Where it is trained, and how its prompts are written."""

    device: Device = None
    template_arguments: TemplateArguments = None
    system_role: SystemRole = None


@dataclasses.dataclass(frozen=True, slots=True)
class _Conduct:
    """What is refused, gone on with, kept and replaced."""

    prompts: Annotated[
        list[str] | None, SettingOption("benchmark.prompts", more="; no row may come near one; repeatable")
    ] = None
    strict: Annotated[bool, typer.Option("--strict", help="Refuse rows that come near to a suite.")] = False
    force: Annotated[bool, typer.Option("--force", help="Try what the memory estimate forbids.")] = False
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the newest checkpoint.")] = False
    keep_checkpoints: Annotated[
        bool, typer.Option("--keep-checkpoints", help="Keep them beside the finished adapter.")
    ] = False
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an adapter that is there.")] = False
    journal: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Add each logged step and validation to it, for programs: JSON, one a line."),
    ] = None


def finetune_command(
    dataset: Annotated[Path, typer.Argument(metavar="DATASET", help="Rows: .jsonl, .csv or .json, of any form.")],
    *,
    output: Annotated[Path, typer.Option(metavar="DIR", help="The adapter's folder.")],
    source: _Source,
    training: _Training,
    form: _Form,
    config: Config = None,
    conduct: _Conduct,
    as_json: Json = False,
) -> None:
    """Train a LoRA adapter on a dataset.

    The adapter's folder appears when the training is over and complete. Until then DIR.checkpoints holds the newest
    checkpoints; Ctrl-C writes one more, and --resume goes on from there.
    """
    from pytest_llmbench.finetune.adapter_folder import check_files
    from pytest_llmbench.finetune.finetune import finetune as run
    from pytest_llmbench.finetune.sft import TrainingStopped, Watch

    settings = chosen_settings(config, source, form, prompts=json.dumps(conduct.prompts) if conduct.prompts else None)
    request = _request(dataset, output, settings, source, training, conduct)
    request = dataclasses.replace(request, config=config, journal=conduct.journal)
    check_files(request)  # before the journal is opened
    try:
        with training_progress(shown=settings.logging.progress) as (reading, show), _first_interrupt() as noted:
            watch = Watch(reading, show, stop=lambda: bool(noted))
            record = run(request, _journaled(watch, conduct.journal)).record
    except TrainingStopped as stopped:
        typer.echo(str(stopped), err=True)
        raise typer.Exit(EXIT_BY_SIGNAL + noted[0] if noted else stopped.exit_code) from stopped
    if not is_first():
        return
    if as_json:
        typer.echo(json.dumps(record, ensure_ascii=False, indent=2))
        return
    typer.echo(f"{output}: {_learnt(record)}")
    if record["validation"]:
        typer.echo(_validated(record["validation"]))
    chosen: list[tuple[str, object]] = [
        ("base", request.base),
        ("adapter", output),
        ("config", config),
        ("quantization", training.quantization),
        ("device", form.device),
        *(("prompts", suites) for suites in conduct.prompts or ()),
    ]
    options = [word for name, value in chosen if value is not None for word in (f"--llmbench-{name}", str(value))]
    typer.echo(f"next, is it better than its base?  {shlex.join(['pytest', '-m', 'benchmark', *options])}")


def _journaled(watch: Watch, journal: Path | None) -> Watch:
    """The watch that also writes a journal; of several processes the first one does."""
    if journal is None or not is_first():
        return watch
    from pytest_llmbench.finetune.training_journal import journaled

    return journaled(watch, journal)


def _request(
    dataset: Path, output: Path, settings: Settings, source: _Source, training: _Training, conduct: _Conduct
) -> FinetuneRequest:
    from pytest_llmbench.cases.suites import existing_suites
    from pytest_llmbench.finetune.request import FinetuneRequest

    form, benchmark = settings.model, settings.benchmark
    quantization = training.quantization or _set_quantization(form)
    return FinetuneRequest(
        dataset,
        output,
        form.base,
        validation=source.validation,
        task=source.preset,
        device=form.device,
        template_arguments=form.template_arguments,
        system_role=form.system_role,
        revision=form.revision,
        trust_remote_code=form.trust_remote_code,
        double_quant=form.double_quant,
        compute_dtype=form.compute_dtype,
        device_map=form.device_map,
        changes=training.changes() | ({"quantization": quantization} if quantization else {}),
        suites=benchmark.prompts if conduct.prompts else existing_suites(benchmark.prompts),
        vocabulary=benchmark.vocabulary if benchmark.vocabulary.is_file() else None,
        overwrite=conduct.overwrite,
        resume=conduct.resume,
        force=conduct.force,
        strict=conduct.strict or benchmark.strict,
        keep_checkpoints=conduct.keep_checkpoints,
    )


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

    # of several processes each would stop at another step
    if threading.current_thread() is not threading.main_thread() or process_count() > 1:
        yield noted
        return
    for number in usual:
        signal.signal(number, note)
    try:
        yield noted
    finally:
        back_to_usual()
