"""The server backend against a server that misbehaves in every way the field knows."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from aiohttp import web
from support.fake_chat_server import (
    DONE,
    USAGE,
    Behaviour,
    FakeChatServer,
    answering_last,
    chunk,
    cutting,
    hanging,
    refusing,
    refusing_reuse,
    streaming,
    well,
    whole,
)

from pytest_llmbench.cases.suites import Case
from pytest_llmbench.core.errors import ServerError
from pytest_llmbench.core.records import BASE, FINETUNED, Completion
from pytest_llmbench.core.settings import Settings
from pytest_llmbench.generation.backend import Backend
from pytest_llmbench.generation.client import refusals
from pytest_llmbench.generation.client.backend import ServerBackend
from pytest_llmbench.generation.client.refusals import retry_after_s

KEY = "sk-secret-of-the-user"


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refusals, "FIRST_WAIT_S", 0.001)
    monkeypatch.delenv("LLMBENCH_API_KEY", raising=False)


@pytest.fixture
def serve() -> Iterator[Callable[..., FakeChatServer]]:
    servers: list[FakeChatServer] = []

    def start(*behaviours: Behaviour, **options: Any) -> FakeChatServer:
        servers.append(FakeChatServer(*behaviours, **options))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def connect() -> Iterator[Callable[..., ServerBackend]]:
    backends: list[ServerBackend] = []

    def start(url: str, generation: dict[str, Any] | None = None, **server: Any) -> ServerBackend:
        raw = {"generation": {"timeout": 5.0, **(generation or {})}, "server": {"url": url, "retries": 2, **server}}
        backends.append(ServerBackend(Settings.model_validate(raw)))
        return backends[-1]

    yield start
    for backend in backends:
        backend.close()


Serve = Callable[..., FakeChatServer]
Connect = Callable[..., ServerBackend]


def cases(count: int) -> list[Case]:
    return [
        Case("voice", f"c{number}", "bonjour", ({"role": "user", "content": "bonjour"},)) for number in range(count)
    ]


def answer(backend: ServerBackend, count: int = 1, variant: str = BASE) -> list[Completion]:
    return list(backend.complete(cases(count), variant))


def test_a_streamed_answer_carries_text_tokens_and_times(serve: Serve, connect: Connect) -> None:
    backend = connect(serve(well("oui")).url)
    [completion] = answer(backend)
    assert isinstance(backend, Backend)
    assert (completion.case, completion.text, completion.finish) == ("voice/c0", "oui", "stop")
    assert (completion.prompt_tokens, completion.completion_tokens) == (7, 2)
    assert completion.first_token_s is not None
    assert completion.latency_s is not None
    assert 0 < completion.first_token_s <= completion.latency_s
    assert ("token_counts", "server usage: 1") in backend.describe().items()
    assert backend.embed([(cases(1)[0], completion)]) == [completion]


def test_an_answer_in_one_piece_has_no_first_token_time(serve: Serve, connect: Connect) -> None:
    body: dict[str, Any] = {
        "choices": [{"message": {"content": "oui"}, "finish_reason": "length"}],
        "usage": {"completion_tokens": 3},
    }
    server = serve(whole(**body))
    [completion] = answer(connect(server.url, stream=False))
    assert (completion.text, completion.finish, completion.completion_tokens) == ("oui", "length", 3)
    assert completion.first_token_s is None
    assert server.bodies[0]["stream"] is False


def test_without_usage_tokens_are_counted_and_it_is_said(
    serve: Serve, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    backend = connect(serve(streaming(chunk("o"), chunk("u"), chunk("i", "stop"), DONE)).url)
    assert [completion.completion_tokens for completion in answer(backend, 2)] == [3, 3]
    assert ("token_counts", "stream deltas: 2") in backend.describe().items()
    assert [record.message for record in caplog.records if "usage" in record.message] == [
        f"{backend.describe()['url']} sends no usage; number of tokens: stream deltas"
    ]


def test_the_request_is_what_the_settings_say(serve: Serve, connect: Connect) -> None:
    server = serve(well())
    sampling = {"temperature": 0.5, "top_p": 0.8, "max_new_tokens": 9, "seed": 1}
    answer(connect(server.url, sampling, base_body={"top_k": 0, "stream_options": None}), 2)
    first, second = sorted(server.bodies, key=lambda body: int(body["seed"]))
    assert first["seed"] != second["seed"]
    assert {**first, "seed": None} == {
        "model": "smol",
        "messages": [{"role": "user", "content": "bonjour"}],
        "max_tokens": 9,
        "temperature": 0.5,
        "top_p": 0.8,
        "stream": True,
        "top_k": 0,
        "seed": None,
    }


def test_the_seed_belongs_to_the_case_and_greedy_is_temperature_zero(serve: Serve, connect: Connect) -> None:
    server = serve(well())
    backend = connect(server.url, {"do_sample": False}, concurrency=1)
    answer(backend, 3)
    answer(backend, 1)
    assert server.bodies[0] == server.bodies[3]
    assert server.bodies[0]["temperature"] == 0
    assert "top_p" not in server.bodies[0]


def test_answers_come_as_they_finish(serve: Serve, connect: Connect) -> None:
    first_is_read = asyncio.Event()

    async def slow(server: FakeChatServer, request: web.Request) -> web.StreamResponse:
        await first_is_read.wait()
        return await well("tard")(server, request)

    server = serve(slow, well("tôt"))
    backend = connect(server.url, concurrency=2)
    completions = backend.complete(cases(2), BASE)
    assert next(completions).text == "tôt"
    server._loop._loop.call_soon_threadsafe(first_is_read.set)
    assert [completion.text for completion in completions] == ["tard"]


def test_concurrency_is_reached_and_never_exceeded(serve: Serve, connect: Connect) -> None:
    together = asyncio.Barrier(3)

    async def three_at_a_time(server: FakeChatServer, request: web.Request) -> web.StreamResponse:
        await together.wait()
        return await well()(server, request)

    server = serve(three_at_a_time)
    assert {completion.finish for completion in answer(connect(server.url, concurrency=3), 12)} == {"stop"}
    assert server.most_busy == 3


def test_connections_are_kept(serve: Serve, connect: Connect) -> None:
    server = serve(well())
    backend = connect(server.url, concurrency=2)
    answer(backend, 6)
    answer(backend, 6)
    assert len(server.bodies) == 12
    assert len(server.connections) <= 2


def test_a_server_that_never_ends_its_stream_loses_the_connection_not_the_answer(
    serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest_llmbench.generation.client.answer_body.GRACE_S", 0.05)
    [completion] = answer(connect(serve(hanging(chunk("oui", "stop"), USAGE, DONE)).url))
    assert (completion.text, completion.finish) == ("oui", "stop")


@pytest.mark.parametrize(
    "fault", [refusing(500), refusing(503), refusing(429), cutting()], ids=["500", "503", "429", "disconnect"]
)
def test_a_fault_before_the_first_byte_is_asked_again(serve: Serve, connect: Connect, fault: Behaviour) -> None:
    server = serve(fault, well("oui"))
    backend = connect(server.url)
    assert [completion.text for completion in answer(backend)] == ["oui"]
    assert len(server.bodies) == 2
    assert backend.describe()["retries"] == 1


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (refusing(500, "broken"), "HTTP 500: broken (3 tries)"),
        (cutting(), "the server closed the connection before it answered (3 tries)"),
    ],
    ids=["500", "disconnect"],
)
def test_retries_are_bounded_and_the_failure_is_data(
    serve: Serve, connect: Connect, fault: Behaviour, error: str
) -> None:
    server = serve(fault)
    [completion] = answer(connect(server.url))
    assert (completion.finish, completion.error, completion.text) == ("error", error, "")
    assert len(server.bodies) == 3


def test_a_pause_that_the_server_asks_for_is_kept(serve: Serve, connect: Connect) -> None:
    server = serve(refusing(429, Retry_After="1"), well("oui"))
    assert [completion.text for completion in answer(connect(server.url))] == ["oui"]
    assert server.asked_at[1] - server.asked_at[0] >= 1


def test_a_pause_that_is_too_long_is_not_waited_for(serve: Serve, connect: Connect) -> None:
    server = serve(refusing(429, "slow down", Retry_After="3600"))
    [completion] = answer(connect(server.url))
    assert completion.error == "HTTP 429: slow down (asks to wait 3600 s, too long)"
    assert len(server.bodies) == 1


@pytest.mark.parametrize(
    ("header", "seconds"),
    [(None, 0), ("5", 5), ("soon", 0), ("-1", 0), ("Thu, 01 Jan 1970 00:00:00 GMT", 0)],
)
def test_a_retry_after_header_is_seconds_or_a_date(header: str | None, seconds: float) -> None:
    assert retry_after_s(header) == seconds
    assert retry_after_s("Fri, 01 Jan 2100 00:00:00 GMT") > 1e6


def test_a_question_the_server_cannot_take_is_asked_once(serve: Serve, connect: Connect) -> None:
    server = serve(refusing(400, "the prompt is too long"))
    [completion] = answer(connect(server.url))
    assert completion.error == "HTTP 400: the prompt is too long"
    assert len(server.bodies) == 1


def test_a_kept_connection_that_was_closed_is_not_a_failure(serve: Serve, connect: Connect) -> None:
    server = serve(refusing_reuse)
    backend = connect(server.url, concurrency=1, retries=0)
    assert [completion.finish for completion in answer(backend, 3)] == ["stop"] * 3
    assert backend.describe()["retries"] == 0
    assert len(server.bodies) == 5


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (cutting(chunk("ou")), "closed the connection in mid-answer"),
        (streaming(chunk("ou")), "closed the stream before the answer was complete"),
        (streaming(chunk("ou"), b"data: {oops\n\n"), "broken JSON"),
        (streaming(chunk("ou"), b'data: {"error": {"message": "out of memory"}}\n\n'), "out of memory"),
        (streaming(chunk("ou", "content_filter"), DONE), "content filter"),
    ],
    ids=["cut", "ended", "broken", "error-event", "filtered"],
)
def test_after_the_first_byte_nothing_is_asked_again_and_the_text_is_kept(
    serve: Serve, connect: Connect, fault: Behaviour, error: str
) -> None:
    server = serve(fault)
    [completion] = answer(connect(server.url))
    assert (completion.finish, completion.text) == ("error", "ou")
    assert completion.error is not None
    assert error in completion.error
    assert len(server.bodies) == 1


def test_a_cut_after_the_end_of_the_answer_loses_nothing(serve: Serve, connect: Connect) -> None:
    [completion] = answer(connect(serve(cutting(chunk("oui", "stop"))).url))
    assert (completion.text, completion.finish) == ("oui", "stop")


def test_an_answer_that_ended_is_whole_though_the_stream_hangs(serve: Serve, connect: Connect) -> None:
    [completion] = answer(connect(serve(hanging(chunk("oui", "stop"))).url, {"timeout": 0.2}))
    assert (completion.text, completion.finish) == ("oui", "stop")


@pytest.mark.parametrize(("sent", "text"), [((), ""), ((chunk("ou"),), "ou")], ids=["silent", "partial"])
def test_a_hung_answer_times_out_with_what_it_had(
    serve: Serve, connect: Connect, sent: tuple[bytes, ...], text: str
) -> None:
    server = serve(hanging(*sent), well())
    slow, fine = answer(connect(server.url, {"timeout": 0.2}, concurrency=1), 2)
    assert (slow.finish, slow.text, slow.error) == ("timeout", text, None)
    assert slow.latency_s is not None
    assert slow.latency_s >= 0.2
    assert fine.finish == "stop"
    assert len(server.bodies) == 2


def test_a_server_that_goes_away_ends_the_run_after_what_it_answered(serve: Serve, connect: Connect) -> None:
    backend = connect(serve(well(), answering_last).url, concurrency=1)
    completions = backend.complete(cases(5), BASE)
    assert [next(completions).case, next(completions).case] == ["voice/c0", "voice/c1"]
    with pytest.raises(ServerError, match=r"gone, 3 tries to connect failed.*start the server again"):
        next(completions)


def test_leaving_early_stops_asking(serve: Serve, connect: Connect) -> None:
    server = serve(well())
    backend = connect(server.url, concurrency=1)
    completions = backend.complete(cases(1000), BASE)
    next(completions)
    completions.close()  # type: ignore[attr-defined]  # a generator
    assert len(answer(backend)) == 1
    assert len(server.bodies) < 1000


def test_nobody_at_the_address_says_what_to_do(connect: Connect) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(ServerError, match=rf"http://127.0.0.1:{port}/v1: .*start the server, or correct"):
        connect(f"http://127.0.0.1:{port}")


def test_a_server_that_is_still_loading_says_so(serve: Serve, connect: Connect) -> None:
    server = serve(well())
    server.status = 503
    with pytest.raises(ServerError, match=r"/v1/models gave no list.*HTTP 503.*may still be loading its model"):
        connect(server.url)


def test_a_refused_key_names_the_variable_and_never_the_key(
    serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMBENCH_API_KEY", KEY)
    server = serve(refusing(401, f"wrong key {KEY}"))
    with pytest.raises(ServerError, match=r"HTTP 401: wrong key \*\*\*; set the server's key in LLMBENCH_API_KEY"):
        answer(connect(server.url))
    assert server.headers[0]["Authorization"] == f"Bearer {KEY}"
    server.status = 401
    with pytest.raises(ServerError, match="LLMBENCH_API_KEY"):
        connect(server.url)


def test_a_model_that_is_refused_ends_the_run(serve: Serve, connect: Connect) -> None:
    server = serve(refusing(404, "no model smol"))
    with pytest.raises(ServerError, match=r"HTTP 404: no model smol; check server\.url and server\.model") as raised:
        answer(connect(server.url, concurrency=1), 3)
    assert (raised.value.names, raised.value.status) == (("server.url", "server.model"), 404)
    assert len(server.bodies) == 1


def test_secrets_stay_out_of_provenance(serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMBENCH_API_KEY", KEY)
    server = serve(refusing(400, f"you sent {KEY} and other-secret"))
    backend = connect(server.url, headers={"X-Team": "other-secret"})
    seen = json.dumps([backend.describe(), backend.identity(BASE), [item.to_json() for item in answer(backend)]])
    assert KEY not in seen
    assert "other-secret" not in seen
    assert server.headers[0]["X-Team"] == "other-secret"


@pytest.mark.parametrize(
    ("key", "told"),
    [
        ("sk-1234", "you sent sk-1234"),
        (KEY, "x" * 285 + KEY),
        (KEY, f"you sent {KEY[:12]}..."),
        ("c2VjcmV0/Zm9yK2V2ZXI=", "you sent c2VjcmV0%2FZm9yK2V2ZXI%3D"),
    ],
)
def test_no_half_of_a_key_is_told(
    serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch, key: str, told: str
) -> None:
    monkeypatch.setenv("LLMBENCH_API_KEY", key)
    [completion] = answer(connect(serve(refusing(400, told)).url))
    assert "***" in str(completion.error)
    assert told[-6:].strip(".") not in str(completion.error)
    assert key[: (len(key) + 1) // 2] not in str(completion.error)


@pytest.mark.parametrize(
    ("bodies", "told"),
    [
        ({"base_body": {"top_k": 0, "temperature": None}}, "not asked alike (temperature, top_k)"),
        ({"base_body": {"top_k": 0}, "adapter_body": {"top_k": 0, "adapter_id": "jarvis"}}, None),
    ],
)
def test_a_base_and_a_fine_tune_that_are_not_asked_alike_are_told(
    serve: Serve, connect: Connect, caplog: pytest.LogCaptureFixture, bodies: dict[str, Any], told: str | None
) -> None:
    connect(serve(well(), models=("qwen", "jarvis")).url, adapter="jarvis", **bodies)
    assert ("not asked alike" in caplog.text) == (told is not None)
    assert (told or "") in caplog.text


def test_answers_under_other_headers_are_others(
    serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = serve(well()).url
    one = connect(url, headers={"X-Tenant": "a"}).identity(BASE)
    monkeypatch.setenv("LLMBENCH_API_KEY", KEY)
    assert connect(url, headers={"X-Tenant": "a"}).identity(BASE) == one
    assert connect(url, headers={"X-Tenant": "b"}).identity(BASE) != one


def test_two_models_are_two_variants_with_their_own_identity(serve: Serve, connect: Connect) -> None:
    server = serve(well(), models=("qwen", "jarvis"))
    backend = connect(server.url, adapter="jarvis")
    answer(backend, variant=FINETUNED)
    assert backend.variants == (BASE, FINETUNED)
    assert server.bodies[0]["model"] == "jarvis"
    assert backend.identity(BASE) != backend.identity(FINETUNED)


def test_identity_is_the_same_for_the_same_server_and_changes_with_the_settings(serve: Serve, connect: Connect) -> None:
    server = serve(well())
    first = connect(server.url).identity(BASE)
    server.listing["data"][0]["created"] += 1
    assert connect(server.url).identity(BASE) == first
    for changed in ({"temperature": 0.1}, {"seed": 7}, {"max_new_tokens": 5}):
        assert connect(server.url, changed).identity(BASE) != first
    assert connect(server.url, base_body={"top_k": 1}).identity(BASE) != first


def test_a_lora_that_the_server_has_not_loaded_is_an_error(serve: Serve, connect: Connect) -> None:
    server = serve(well())
    server.loras = []
    with pytest.raises(ServerError, match="no LoRA adapter 0 is loaded, it has none"):
        connect(server.url, adapter="lora:0")
    server.loras = [{"id": 0, "path": "demo.gguf", "scale": 1.0}]
    backend = connect(server.url, adapter="lora:0")
    answer(backend, variant=BASE)
    answer(backend, variant=FINETUNED)
    assert [body["lora"] for body in server.bodies] == [[{"id": 0, "scale": 0.0}], [{"id": 0, "scale": 1.0}]]
    assert "demo.gguf" in backend.identity(FINETUNED)["loras"]
