"""Who may talk to the studio: hosts, origins, tokens, sizes; and what its answers may do in a browser."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.sse import EventSourceResponse, ServerSentEvent
from fastapi.testclient import TestClient
from starlette.types import Message
from support.studio import ADDRESS, asked, options

from pytest_llmbench.core.errors import UsageError
from pytest_llmbench.studio.safety import TOKEN_COOKIE, Safety, check_exposure

TOKEN = "a-secret-of-the-team-0"  # noqa: S105


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with asked(options(tmp_path_factory.mktemp("local"))) as client:
        yield client


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with asked(options(tmp_path_factory.mktemp("shared"), token=TOKEN, host="0.0.0.0")) as client:  # noqa: S104
        yield client


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8400", "127.0.0.1.evil.example", "[::2]", ""])
def test_a_name_that_was_rebound_is_refused(local: TestClient, host: str) -> None:
    answer = local.get("/api/health", headers={"host": host})
    assert (answer.status_code, answer.json()["code"]) == (421, "host")


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:9", "[::1]:8400", "LOCALHOST:8400"])
def test_every_name_of_this_machine_is_answered(local: TestClient, host: str) -> None:
    assert local.get("/api/health", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:9999"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_a_page_of_another_site_can_change_nothing(local: TestClient, headers: dict[str, str]) -> None:
    answer = local.put("/api/jobs/queue", json={"job_ids": []}, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (403, "origin")


def test_the_studios_own_pages_and_programs_can(local: TestClient) -> None:
    own = {"origin": "http://127.0.0.1:8400", "sec-fetch-site": "same-origin"}
    assert local.put("/api/jobs/queue", json={"job_ids": []}, headers=own).status_code == 200
    assert local.put("/api/jobs/queue", json={"job_ids": []}).status_code == 200


def test_a_form_of_another_content_type_is_no_json(local: TestClient) -> None:
    answer = local.post(
        "/api/autotune", content='{"server": "http://127.0.0.1"}', headers={"content-type": "text/plain"}
    )
    assert answer.status_code == 422


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/api/health"), ("GET", "/dashboard"), ("GET", "/static/x"), ("POST", "/api/datasets")]
)
def test_without_the_token_nothing_is_answered(shared: TestClient, method: str, path: str) -> None:
    for headers in (
        {},
        {"authorization": "Bearer wrong"},
        {"authorization": "Basic x"},
        {"cookie": f"{TOKEN_COOKIE}=x"},
    ):
        answer = shared.request(method, path, headers=headers, follow_redirects=False)
        assert (answer.status_code, answer.json()["code"]) == (401, "token")


def test_a_program_brings_the_token_in_a_header(shared: TestClient) -> None:
    assert shared.get("/api/health", headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200


def test_a_page_is_opened_with_the_token_once_and_keeps_it_in_a_cookie(shared: TestClient) -> None:
    opened = shared.get(f"{ADDRESS}//elsewhere.example/x?a=1&token={TOKEN}", follow_redirects=False)
    assert (opened.status_code, opened.headers["location"]) == (303, "/elsewhere.example/x?a=1")
    cookie = opened.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    shared.cookies.clear()
    assert shared.get("/api/health", headers={"cookie": f"{TOKEN_COOKIE}={TOKEN}"}).status_code == 200
    assert shared.get("/api/health?token=wrong", follow_redirects=False).status_code == 401


@pytest.mark.parametrize(
    ("host", "token", "told"),
    [
        ("0.0.0.0", None, "set LLMBENCH_STUDIO_TOKEN"),  # noqa: S104
        ("192.168.1.2", None, "set LLMBENCH_STUDIO_TOKEN"),
        ("my.host", None, "set LLMBENCH_STUDIO_TOKEN"),
        ("127.0.0.1", "short", "5 characters"),
    ],
)
def test_other_machines_need_a_token_and_a_token_is_no_guess(host: str, token: str | None, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        check_exposure(host, token)
    check_exposure(host, TOKEN)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.0.0.9"])
def test_this_machine_alone_needs_none(host: str) -> None:
    check_exposure(host, None)


def test_a_body_is_bounded_whatever_its_header_says(local: TestClient) -> None:
    def pieces() -> Iterator[bytes]:
        for _ in range(40):
            yield b" " * 2**16

    for body in (b" " * (2**20 + 1), pieces()):
        answer = local.post("/api/start-finetuning", content=body, headers={"content-type": "application/json"})
        assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


def test_every_answer_carries_a_policy_without_inline_script(local: TestClient) -> None:
    for path in ("/api/health", "/api/nothing", "/models"):
        headers = local.get(path).headers
        assert "script-src 'self';" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"


def test_an_upload_is_bounded_too(tmp_path: Path) -> None:
    with asked(options(tmp_path, upload_mb=1)) as client:
        answer = client.post("/api/datasets", files={"file": ("a.jsonl", b"x" * 2**21)})
        assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
        assert list((tmp_path / "studio/datasets").iterdir()) == []


def test_a_reader_that_leaves_while_an_event_waits_is_no_fault(tmp_path: Path) -> None:
    app = FastAPI()
    app.add_middleware(Safety, options=options(tmp_path))

    @app.get("/told", response_class=EventSourceResponse)
    async def told() -> AsyncIterator[ServerSentEvent]:
        while True:
            yield ServerSentEvent(raw_data="some")

    async def read_two() -> None:
        left = asyncio.Event()
        heard: list[bytes] = []

        async def receive() -> Message:
            await left.wait()
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            heard.extend(filter(None, [message.get("body")]))
            if len(heard) > 1:
                left.set()
            await asyncio.sleep(0.01)  # so that events wait

        version = {"version": "3.0", "spec_version": "2.3"}
        address = {"method": "GET", "path": "/told", "query_string": b"", "headers": [(b"host", b"127.0.0.1")]}
        await app({"type": "http", "asgi": version, **address}, receive, send)
        assert left.is_set()

    asyncio.run(asyncio.wait_for(read_two(), 10))
