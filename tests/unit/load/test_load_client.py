"""A user's connection against the calibrated server: what it measures is held against what the server recorded."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.calibrated_engine import Calibration
from support.calibrated_server import CalibratedServer, Fault, Serve, calibrated_servers

from pytest_llmbench.core.errors import ServerError
from pytest_llmbench.load.client import AddressBook, Call, ChatServer, UserConnection


@pytest.fixture
def serve() -> Iterator[Serve]:
    with calibrated_servers() as start:
        yield start


GENEROUS_S = 2.0
"""For a machine that is busy with something else. Order in time is exact: both sides read the same clock."""


@pytest.fixture(autouse=True)
def _no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LLMBENCH_API_KEY", raising=False)


def ask(server: CalibratedServer, count: int = 1, **options: Any) -> list[Call]:
    """So many messages of one user, one after the other."""
    calls = [Call(0, number) for number in range(count)]

    async def one_by_one() -> None:
        body = {"model": "calibrated", **options.pop("body", {})}
        async with UserConnection(ChatServer.at(server.url, body=body, **options), AddressBook()) as connection:
            for call in calls:
                call.started = time.monotonic()
                await connection.ask(call, [{"role": "user", "content": f"question {call.message}"}])

    asyncio.run(one_by_one())
    return calls


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110  # it comes true in the server's thread
            await asyncio.sleep(0.002)


def test_times_agree_with_the_servers_own_clock(serve: Serve) -> None:
    server = serve(Calibration(slots=2, stall_share=1, stall_s=0.5), answer_tokens=5)
    for call, seen in zip(ask(server, 3), server.served, strict=True):
        answer = call.answer
        assert answer.first_visible_at is not None
        assert call.ended is not None
        assert seen.first_token is not None
        assert call.started < seen.arrived < seen.first_token < answer.first_visible_at <= call.ended
        assert answer.first_visible_at - seen.first_token < GENEROUS_S
        assert call.ended - call.started >= (0.5 + 5 / 100) / 10 - 0.01  # the model's own time, on the server's scale
        assert len(answer.token_times) == 5


def test_one_connection_serves_all_messages_of_a_user(serve: Serve) -> None:
    server = serve()
    assert all(call.error is None for call in ask(server, 4))
    assert (len(server.served), len(server.connections), server.most_connected) == (4, 1, 1)


def test_reasoning_and_answer_begin_apart(serve: Serve) -> None:
    [call] = ask(serve(reasoning_tokens=3, answer_tokens=4))
    request = call.record(call.started, time.monotonic())
    assert request.first_reasoning_s is not None
    assert request.first_token_s is not None
    assert 0 < request.first_reasoning_s < request.first_token_s <= request.ended_s
    assert (request.tokens, len(request.gaps_s)) == (7, 6)


def test_without_reasoning_there_is_no_first_reasoning_token(serve: Serve) -> None:
    [call] = ask(serve())
    assert call.record(0.0, 0.0).first_reasoning_s is None


@pytest.mark.parametrize(("usage", "prompt_tokens"), [(True, 2), (False, None)])
def test_tokens_come_from_usage_or_are_counted_and_it_is_said(
    serve: Serve, *, usage: bool, prompt_tokens: int | None
) -> None:
    [call] = ask(serve(usage=usage, answer_tokens=6))
    request = call.record(0.0, 0.0)
    assert (request.tokens, request.tokens_counted, request.prompt_tokens) == (6, not usage, prompt_tokens)


@pytest.mark.parametrize(("usage", "tokens"), [(True, 6), (False, None)])
def test_an_answer_in_one_piece_has_no_first_token(serve: Serve, *, usage: bool, tokens: int | None) -> None:
    [call] = ask(serve(usage=usage, answer_tokens=6), stream=False)
    request = call.record(0.0, 0.0)
    assert (request.finish, request.tokens, request.tokens_counted) == ("stop", tokens, False)
    assert request.first_token_s is None


def test_an_answer_that_max_tokens_cut_says_so(serve: Serve) -> None:
    [call] = ask(serve(answer_tokens=6), body={"max_tokens": 2})
    assert (call.finish, call.answer.completion_tokens) == ("length", 2)


def test_a_connection_that_the_server_closed_meanwhile_is_no_failure(serve: Serve) -> None:
    server = serve(fault=lambda number: "drop" if number == 1 else None)
    assert [call.finish for call in ask(server, 2)] == ["stop", "stop"]
    assert (len(server.served), len(server.connections)) == (3, 2)


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (429, "HTTP 429: calibrated refusal"),
        (500, "HTTP 500: calibrated refusal"),
        ("drop", "the server closed the connection before it answered"),
        ("cut", "the server closed the connection in mid-answer"),
        ("truncate", "the server closed the stream before the answer was complete"),
        ("garbage", "the server sent broken JSON: '{oops'"),
        ("empty", "the answer is empty"),
        ("hang", "no end of the answer in 0.5 s"),
        ("hang_first", "no end of the answer in 0.5 s"),
    ],
)
def test_a_failed_answer_says_how_and_the_next_one_is_asked(serve: Serve, fault: Fault, error: str) -> None:
    server = serve(fault=lambda number: fault if number == 0 else None)
    failed, good = ask(server, 2, timeout_s=0.5)
    assert (failed.finish, failed.error) == ("error", error)
    assert failed.failure not in (None, "unreachable")
    assert good.finish == "stop"
    assert len(server.served) == 2  # nothing was asked twice


def test_something_that_does_not_speak_http_is_said_so() -> None:
    call = Call(0, 0)

    async def greet(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.6\r\n")
        writer.close()

    async def run() -> None:
        async with await asyncio.start_server(greet, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            async with UserConnection(ChatServer.at(f"http://127.0.0.1:{port}"), AddressBook()) as connection:
                await connection.ask(call, [{"role": "user", "content": "bonjour"}])

    asyncio.run(run())
    assert str(call.error).startswith("not an answer in HTTP: ")


def test_a_server_that_drops_new_connections_too_has_failed(serve: Serve) -> None:
    server = serve(fault=lambda number: "drop" if number > 0 else None)
    assert [call.finish for call in ask(server, 2)] == ["stop", "error"]
    assert len(server.served) == 3


@pytest.mark.parametrize(
    ("status", "todo"),
    [
        (401, "LLMBENCH_API_KEY"),
        (404, "check server.url and server.model"),
        (400, "mend the request"),
    ],
)
def test_a_question_that_is_wrong_in_itself_is_the_users_to_mend(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, status: int, todo: str
) -> None:
    monkeypatch.setenv("LLMBENCH_API_KEY", "calibrated refusal")  # a server that echoes the key
    with pytest.raises(ServerError, match=rf"HTTP {status}: \*\*\*; .*{todo}"):
        ask(serve(fault=lambda _: status))


def test_a_server_that_is_not_there_is_unreachable(serve: Serve) -> None:
    server = serve()
    server.close()
    [call] = ask(server)
    assert call.failure == "unreachable"
    assert str(call.error).startswith("no connection: ")


def test_key_and_headers_are_sent(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMBENCH_API_KEY", "sk-secret")
    server = serve()
    ask(server, headers={"X-Team": "speech"})
    assert (server.headers["Authorization"], server.headers["X-Team"]) == ("Bearer sk-secret", "speech")


def abort_one(server: CalibratedServer, then: Callable[[], Awaitable[None]]) -> Call:
    """Ask, leave after the first token, and see what becomes of the server."""
    call = Call(0, 0)

    async def leave() -> None:
        target = ChatServer.at(server.url, body={"model": "calibrated"})
        async with UserConnection(target, AddressBook()) as connection:
            asking = asyncio.create_task(connection.ask(call, [{"role": "user", "content": "raconte"}]))
            await until(lambda: call.answer.deltas > 0)
            asking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asking
            await then()

    asyncio.run(leave())
    return call


def test_an_abort_closes_the_connection_and_the_slot_is_free(serve: Serve) -> None:
    server = serve(answer_tokens=100_000)
    call = abort_one(server, lambda: until(lambda: server.busy == 0))
    assert server.served[0].aborted
    request = call.record(call.started, call.started + 9)
    assert (request.finish, request.latency_s, request.error) == ("aborted", 9, None)


def test_a_server_that_does_not_notice_an_abort_works_on(serve: Serve) -> None:
    server = serve(Calibration(aborts_free_slots=False), answer_tokens=100_000)
    abort_one(server, lambda: until(lambda: server.served[0].aborted))
    assert server.busy == 1


def test_a_certificate_is_checked_against_the_users_own_authority(serve: Serve, tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    made = f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost \
        -addext subjectAltName=IP:127.0.0.1 -keyout {key} -out {certificate}"
    subprocess.run(made.split(), check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = serve(tls=context)
    [trusted] = ask(server, tls=ssl.create_default_context(cafile=certificate))
    [refused] = ask(server)
    assert trusted.finish == "stop"
    assert "certificate" in str(refused.error).lower()


def test_a_key_set_to_null_is_left_out_of_the_request(serve: Serve) -> None:
    server = serve()
    ask(server, body={"stream_options": None, "temperature": 0.3})
    assert server.served[0].body.keys() == {"model", "messages", "stream", "temperature"}


def test_an_address_is_looked_up_once_for_all_users_and_again_after_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_up: list[str] = []

    async def look_up(_self: object, host: str, port: int, family: int) -> list[dict[str, Any]]:
        looked_up.append(host)
        await asyncio.sleep(0)
        if len(looked_up) == 1:
            raise OSError("no such host")
        return [{"host": "127.0.0.1", "port": port}]

    async def users() -> list[list[Any]]:
        book = AddressBook()
        with pytest.raises(OSError, match="no such host"):
            await book.resolve("server", 80)
        return await asyncio.gather(*(book.resolve("server", 80) for _ in range(5)))

    monkeypatch.setattr("aiohttp.ThreadedResolver.resolve", look_up)
    assert len(asyncio.run(users())) == 5
    assert looked_up == ["server", "server"]
