"""`llmbench query`."""

from __future__ import annotations

import dataclasses
import functools
import json
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from pytest_llmbench.cli.options import (
    Config,
    Json,
    MaxNewTokens,
    ModelOptions,
    Seed,
    ServerOptions,
    SettingOption,
    chosen_settings,
)
from pytest_llmbench.core.errors import NotReadyError, UsageError

if TYPE_CHECKING:
    from pytest_llmbench.core.records import Completion

_STDIN = "-"


@dataclasses.dataclass(frozen=True, slots=True)
class _Form:
    """How the question is asked."""

    both: Annotated[bool, typer.Option("--both", help="The base's answer too.")] = False
    system: Annotated[str | None, typer.Option(metavar="TEXT", help="System prompt.")] = None
    stream: Annotated[bool, typer.Option("--stream", help="Show the answer as it is made.")] = False
    max_new_tokens: MaxNewTokens = None
    temperature: Annotated[str | None, SettingOption("generation.temperature")] = None
    seed: Seed = None


def query(
    question: Annotated[str, typer.Argument(metavar="QUESTION", help="The question; - reads standard input.")],
    *,
    model: ModelOptions,
    form: _Form,
    server: ServerOptions,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Ask the fine-tune, or its base, one question.

    The answer is on standard output, how long it took on standard error. Exit code 3 when there is no answer.
    """
    settings = chosen_settings(config, model, form, server, **{"batch-size": "1"})  # no looking for the best size
    from pytest_llmbench.benchmark.main_job import open_backend
    from pytest_llmbench.benchmark.query import answering, ask
    from pytest_llmbench.benchmark.query import question as case_of

    case = case_of(_read_question() if question == _STDIN else question, form.system)
    live = form.stream and not as_json
    who = functools.partial(answering, both=form.both)
    backend = open_backend(settings, engines=1, hear_variants=who)  # and no engine that nobody asks
    answers = []
    try:
        chosen = who(backend.variants)
        for variant in chosen:
            if len(chosen) > 1 and not as_json:
                typer.echo(f"{variant}:")
            answers.append(ask(backend, case, variant, _say if live else _keep_quiet))
            if not as_json:
                _show(answers[-1], live=live, timings=settings.logging.show_timings)
    finally:
        backend.close()
    if as_json:
        typer.echo(
            json.dumps(
                {"question": case.prompt, "answers": [_record(one) for one in answers]}, ensure_ascii=False, indent=2
            )
        )
    if failed := [one for one in answers if one.finish == "error"]:
        raise NotReadyError(f"{failed[0].variant} did not answer: {failed[0].error}")


_RECORDED = (
    "variant",
    "text",
    "reasoning",
    "finish",
    "prompt_tokens",
    "completion_tokens",
    "latency_s",
    "first_token_s",
    "error",
)
_THOUGHT_ONLY = (
    "[it thought and did not come to its answer: set generation.max_reasoning_tokens, or model.template_arguments: "
    "{enable_thinking: false}; --json shows what it thought]"
)


def _read_question() -> str:
    from pytest_llmbench.benchmark.query import NOT_UTF8

    if sys.stdin is None:  # it was closed by who started us
        raise UsageError("standard input is closed; write the question as the argument, or into standard input")
    try:
        return sys.stdin.read()
    except UnicodeDecodeError as error:
        raise UsageError(NOT_UTF8) from error


def _say(piece: str) -> None:
    sys.stdout.write(piece)
    sys.stdout.flush()


def _keep_quiet(_piece: str) -> None:
    """The answer is shown when it is whole."""


def _show(answer: Completion, *, live: bool, timings: bool) -> None:
    typer.echo("" if live else answer.text)
    if answer.finish == "error":
        return
    speed = f", {answer.tokens_per_s:.0f} tokens/s" if answer.tokens_per_s else ""
    took = f" in {answer.latency_s or 0:.1f} s{speed}" if timings else ""
    cut = {"length": ", cut at --max-new-tokens", "timeout": ", out of time"}.get(answer.finish, "")
    typer.echo(f"[{answer.completion_tokens} tokens{took}{cut}]", err=True)
    if answer.only_reasoned:
        typer.echo(_THOUGHT_ONLY, err=True)


def _record(answer: Completion) -> dict[str, object]:
    return {name: getattr(answer, name) for name in _RECORDED}
