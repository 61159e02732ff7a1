"""`llmbench dataset`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

dataset = typer.Typer(no_args_is_help=True, help="Make training sets.")


@dataset.command()
def generate(
    templates: Annotated[Path, typer.Argument(metavar="YAML", help="Patterns of prompts with their answers.")],
    *,
    output: Annotated[Path, typer.Option(metavar="JSONL", help="The training rows.")],
    heldout: Annotated[Path | None, typer.Option(metavar="JSONL", help="Rows to test with, kept out of them.")] = None,
    vocabulary: Annotated[Path, typer.Option(help="The tools.")] = Path("prompts/tools.yaml"),
    prompts: Annotated[Path, typer.Option(help="Suites whose prompts no row may come near.")] = Path("prompts"),
    rows: Annotated[int, typer.Option(min=1, help="Rows of each kind (command, request, misspelt) a tool.")] = 36,
    seed: Annotated[int, typer.Option(min=0, help="The same seed makes the same file.")] = 42,
) -> None:
    """Make a training set from templates, away from the prompts of the suites."""
    from pytest_llmbench.atomic import write_text
    from pytest_llmbench.cases import load_cases, load_vocabulary
    from pytest_llmbench.training.dataset import KINDS, generate, reserved_prompts
    from pytest_llmbench.training.templates import load_templates

    tools = load_vocabulary(vocabulary)
    reserved = reserved_prompts(load_cases([prompts], tools))
    made = generate(load_templates(templates, tools), reserved, per_tool=dict.fromkeys(KINDS, rows), seed=seed)
    write_text(output, made.to_jsonl(made.train))
    if heldout is not None:
        write_text(heldout, made.to_jsonl(made.heldout))
    typer.echo(
        f"{output}: {len(made.train)} rows, {len(made.heldout)} held out; "
        f"{made.dropped} left out for being too near to a prompt of {prompts} or to a held-out row"
    )
