"""`llmbench studio`."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pytest_llmbench.cli.options import Config, SettingOption, chosen_settings
from pytest_llmbench.core.errors import NotReadyError
from pytest_llmbench.core.extras import needed_packages

if TYPE_CHECKING:
    import uvicorn

    from pytest_llmbench.studio.options import StudioOptions

_GOODBYE_S = 2  # open event streams have so long to end


@dataclasses.dataclass(frozen=True, slots=True)
class _Place:
    """Where it listens, and where it keeps its files."""

    host: Annotated[str | None, SettingOption("studio.host")] = None
    port: Annotated[str | None, SettingOption("studio.port")] = None
    folder: Annotated[str | None, SettingOption("studio.folder")] = None
    report_dir: Annotated[str | None, SettingOption("output.report_dir")] = None


def studio(
    *,
    place: _Place,
    open_browser: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
    allow_any_model: Annotated[
        bool, typer.Option("--allow-any-model", help="Train models outside the registry too: hub ids and folders.")
    ] = False,
    config: Config = None,
) -> None:
    """Train, try and compare models in the browser.

    A web application on this machine only, until Ctrl-C; what it trains then goes on. Another host asks for a secret in
    LLMBENCH_STUDIO_TOKEN.
    """
    _check_packages()
    import asyncio  # not at the top: every command imports this module

    from pytest_llmbench.studio.options import StudioOptions
    from pytest_llmbench.studio.safety import TOKEN_VARIABLE, check_exposure

    settings = chosen_settings(config, place)
    token = os.environ.get(TOKEN_VARIABLE) or None
    check_exposure(settings.studio.host, token)
    with _listening(settings.studio.host, settings.studio.port) as listener:
        options = StudioOptions(
            settings,
            folder=settings.studio.folder or settings.output.report_dir / "studio",
            host=settings.studio.host,
            port=listener.getsockname()[1],
            token=token,
            allow_any_model=allow_any_model,
            config=config,
        )
        asyncio.run(_serve(options, listener, open_browser=open_browser))
    typer.echo("ended", err=True)


def _check_packages() -> None:
    if faults := [package.fault for package in needed_packages("studio") if package.fault]:
        raise NotReadyError(f"{'; '.join(faults)}; pip install 'pytest-llmbench[studio]'")


@contextlib.contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.create_server((address[0], port), family=family)
    except OSError as error:
        number = error.errno or 0  # below zero it is of a name that means no address
        reason = os.strerror(number) if number > 0 else error.strerror
        told = f"cannot listen on {host}:{port}: {reason}; choose another port, or 0 for a free one"
        raise NotReadyError(told, names=("studio.port", "studio.host")) from error
    with listener:
        yield listener


async def _serve(options: StudioOptions, listener: socket.socket, *, open_browser: bool) -> None:
    import asyncio
    import webbrowser

    from pytest_llmbench.studio.app import create_app

    app = create_app(options)
    server = _server(app)
    loop = asyncio.get_running_loop()
    async with app.router.lifespan_context(app):
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, _end, server)
        url = _url(options)
        typer.echo(f"{url} is the studio of {Path.cwd()}; Ctrl-C ends it, and what it trains goes on")
        if open_browser:
            await asyncio.to_thread(webbrowser.open, url)
        await server.serve(sockets=[listener])


def _server(app: object) -> uvicorn.Server:
    import uvicorn

    class Server(uvicorn.Server):
        """Ends by the signals that the command takes: uvicorn's own handling would raise them again afterwards."""

        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield

    return Server(
        uvicorn.Config(
            app,  # type: ignore[arg-type]  # an ASGI application
            lifespan="off",  # it is opened outside, where its errors are the user's to read
            log_config=None,  # to configure logging would shut the handlers of everybody else in the process
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=_GOODBYE_S,
        )
    )


def _end(server: uvicorn.Server) -> None:
    server.force_exit = server.should_exit
    server.should_exit = True


def _url(options: StudioOptions) -> str:
    """Its address, as it can be opened on this machine."""
    from pytest_llmbench.studio.safety import is_loopback

    host = options.host if is_loopback(options.host) else socket.gethostname()
    return f"http://{f'[{host}]' if ':' in host else host}:{options.port}/"
