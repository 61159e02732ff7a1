"""`llmbench finetune`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pytest_llmbench.cli.settings_options import Json

if TYPE_CHECKING:
    from pytest_llmbench.training.sft import Step


def finetune(  # noqa: PLR0913  # one argument an option
    dataset: Annotated[Path, typer.Argument(metavar="JSONL", help="Rows with prompt and completion messages.")],
    *,
    output: Annotated[Path, typer.Option(metavar="DIR", help="The adapter's folder.")],
    base: Annotated[str, typer.Option(metavar="SPEC", help="Registry alias, hub id, folder or GGUF.")] = "smollm2-135m",
    quantization: Annotated[
        Literal["nf4", "none"], typer.Option(help="How the base is stored; choose what will be served.")
    ] = "nf4",
    epochs: Annotated[float, typer.Option(min=0.01, help="How often every row is seen.")] = 3,
    rank: Annotated[int, typer.Option(min=1, help="The LoRA matrices' rank.")] = 8,
    alpha: Annotated[int, typer.Option(min=1, help="The adapter is scaled by alpha / rank.")] = 16,
    lr: Annotated[float, typer.Option(min=0, help="Highest learning rate.")] = 1e-3,
    batch_size: Annotated[int, typer.Option(min=1, help="Rows a step.")] = 16,
    max_length: Annotated[int, typer.Option(min=8, help="Most tokens of a row.")] = 256,
    seed: Annotated[int, typer.Option(min=0, help="Of the adapter's first weights and the rows' order.")] = 42,
    device: Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="Where it runs.")] = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an adapter that is there.")] = False,
    as_json: Json = False,
) -> None:
    """Train a LoRA adapter on a dataset.

    The folder appears when the training is over and complete; a stopped training leaves nothing behind.
    """
    from pytest_llmbench.finetune import FinetuneRequest
    from pytest_llmbench.finetune import finetune as run
    from pytest_llmbench.training.sft import Hyperparameters

    chosen = Hyperparameters(
        epochs=epochs,
        rank=rank,
        alpha=alpha,
        learning_rate=lr,
        batch_size=batch_size,
        max_length=max_length,
        seed=seed,
    )
    request = FinetuneRequest(dataset, output, base, quantization, device, chosen, overwrite)
    record = run(request, _show)
    if as_json:
        typer.echo(json.dumps(record, ensure_ascii=False, indent=2))
    else:
        typer.echo(
            f"{output}: loss {record['train_loss']:.3f}, token accuracy {record['token_accuracy']:.1%}, "
            f"{record['trainable_share']:.2%} of the parameters trained in {record['duration_s']:.0f} s"
        )


def _show(step: Step) -> None:
    line = f"step {step.step}/{step.of}  loss {step.loss:.3f}  token accuracy {step.token_accuracy:.1%}"
    typer.echo(line, err=True)
