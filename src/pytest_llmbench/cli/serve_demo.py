"""`llmbench serve-demo`."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pytest_llmbench.core.errors import NotReadyError
from pytest_llmbench.core.starter import present

if TYPE_CHECKING:
    from pytest_llmbench.generation.embedded.llamacpp import EmbeddedServer

_QUESTION = '{"messages": [{"role": "user", "content": "monte le son"}], "max_tokens": 32, "temperature": 0}'


def serve_demo(
    *,
    base: Annotated[str, typer.Option(metavar="SPEC", help="Registry alias or GGUF file.")] = "smollm2-135m",
    adapter: Annotated[
        str, typer.Option(metavar="PATH|auto|none", help="LoRA folder or GGUF; auto takes the newest that fits.")
    ] = "auto",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1; 0 takes a free one.")] = 8080,
    slots: Annotated[int, typer.Option(min=1, help="Requests answered at the same time; more wait.")] = 4,
    context: Annotated[int, typer.Option(min=64, help="Tokens a slot holds, prompt and answer.")] = 2048,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads; else half of the processors.")] = None,
) -> None:
    """Serve the embedded model with its demo fine-tune.

    A real llama.cpp server on this machine only, until Ctrl-C.
    """
    from pytest_llmbench.generation.embedded.llamacpp import EmbeddedServer, served_model

    served = served_model(base, adapter, present(Path("adapters")))
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # `kill` ends it as cleanly as Ctrl-C
    try:
        with EmbeddedServer(served, port=port, slots=slots, context=context, threads=threads) as server:
            _introduce(server)
            code = server.wait()
    except KeyboardInterrupt:
        typer.echo("ended", err=True)
        return
    raise NotReadyError(f"the server ended by itself, with code {code}; see whether the memory was enough")


def _introduce(server: EmbeddedServer) -> None:
    url, adapter = server.url, server.model.adapter_name
    lora = " --llmbench-server-adapter lora:0" if adapter else ""
    lines = (
        f"{url} serves {server.model_name}{f' with the adapter {adapter}' if adapter else ''}; Ctrl-C ends it",
        f"try it:       curl {url}/v1/chat/completions -H 'Content-Type: application/json' -d '{_QUESTION}'",
        f"compare:      pytest -m benchmark --llmbench-server {url}{lora}",
        f"count users:  pytest -m autotune --llmbench-server {url}",
        f"how long:     pytest -m context --llmbench-server {url}",
    )
    typer.echo("\n".join(lines))
