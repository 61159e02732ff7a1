"""One table of answers for both clients: what the benchmark's question and the simulated user make of each of them."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import time
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import pytest
from support.fake_chat_server import (
    DONE,
    USAGE,
    Behaviour,
    FakeChatServer,
    chunk,
    cutting,
    delta,
    event,
    hanging,
    streaming,
    whole,
)

from pytest_llmbench.generation.client.chat_client import ChatClient
from pytest_llmbench.load.client import AddressBook, Call, ChatServer, UserConnection

GAVE_UP = "the server gave the answer up (finish reason "
EMPTY = "the answer is empty"
CUT_SHORT = "the server closed the stream before the answer was complete"
QUESTION = [{"role": "user", "content": "bonjour"}]
OUI = (chunk("ou"), chunk("i"))
END = (chunk(finish="stop"), USAGE, DONE)


@dataclasses.dataclass(frozen=True)
class Made:
    """What an answer came to. `tokens` is None where the server tells none and none can be counted."""

    finish: Literal["stop", "length", "error"] = "stop"
    text: str = "oui"
    reasoning: str | None = None
    tokens: int | None = 2
    error: str | None = None
    left_open: bool = False


class Row(NamedTuple):
    answer: Behaviour
    made: Made = Made()
    stream: bool = True


def message(finish: str | None = "stop", **keys: Any) -> dict[str, Any]:
    return {"choices": [{"message": keys, "finish_reason": finish}], "usage": {"completion_tokens": 2}}


def message_of_calls(calls: list[Any]) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"tool_calls": calls}, "finish_reason": None}]}


def lines(end: bytes, *parts: bytes) -> Behaviour:
    return streaming(b"".join(parts).replace(b"\n", end))


def using(**usage: Any) -> bytes:
    return event({"choices": [], "usage": usage})


def of_several(*choices: tuple[int, str | None, str | None]) -> bytes:
    """One event with parts of several answers: index, text and finish reason of each."""
    parts = [{"index": index, "delta": {"content": text}, "finish_reason": end} for index, text, end in choices]
    return event({"choices": parts})


def ended(reason: Any, **made: Any) -> Row:
    return Row(streaming(*OUI, chunk(finish=reason), USAGE, DONE), Made(**made))


def thinking(*parts: dict[str, Any] | str) -> Behaviour:
    """Deltas of content as given, and a usual end."""
    return streaming(*(delta(**part) if isinstance(part, dict) else chunk(part) for part in parts), *END)


def failed(error: str, text: str = "oui", tokens: int | None = 2) -> Made:
    return Made("error", text, None, tokens, error)


TEXT_PART = {"type": "text", "text": "oui"}
THINKING_PART = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}
THOUGHT = Made(reasoning="hm")
CALL = {"index": 0, "id": "c", "type": "function", "function": {"name": "volume_up", "arguments": '{"by": 2}'}}
CALLED = Made(text='{"name": "volume_up", "arguments": {"by": 2}}')

TABLE = {
    # the usual ones
    "usual": Row(streaming(*OUI, *END)),
    "whole": Row(whole(**message(content="oui")), stream=False),
    "no-usage": Row(streaming(*OUI, chunk(finish="stop"), DONE)),
    "done-alone-ends-it": Row(streaming(*OUI, DONE)),
    "finish-reason-alone-ends-it": Row(streaming(*OUI, chunk(finish="stop"))),
    # lenient in form
    "crlf": Row(lines(b"\r\n", *OUI, *END)),
    "cr": Row(lines(b"\r", *OUI, *END)),
    "bom": Row(streaming(b"\xef\xbb\xbf", *OUI, *END)),
    "comments": Row(streaming(b": hello\n\n", *OUI, b": ping\n\n", *END)),
    "blank-lines-first": Row(streaming(b"\n\n", *OUI, *END)),
    "ping-events": Row(streaming(event({"type": "ping"}, "ping"), *OUI, event({"type": "ping"}), *END)),
    "ping-without-json": Row(streaming(b"event: ping\ndata: still here\n\n", b"data:\n\n", *OUI, *END)),
    "usage-without-choices": Row(
        streaming(*OUI, chunk(finish="stop"), event({"usage": {"completion_tokens": 7}}), DONE), Made(tokens=7)
    ),
    "choices-null": Row(streaming(event({"choices": None}), *OUI, *END)),
    "delta-null": Row(streaming(event({"choices": [{"delta": None}]}), *OUI, *END)),
    "error-null": Row(streaming(event({"error": None, "choices": [{"delta": {"content": "oui"}}]}), *END)),
    "finish-reason-empty": Row(streaming(chunk("ou", ""), chunk("i", ""), *END)),
    "stream-typed-as-json": Row(streaming(*OUI, *END, content_type="application/json")),
    "stream-typed-as-text": Row(streaming(b": hi\n\n", *OUI, *END, content_type="text/plain")),
    "stream-though-none-was-asked": Row(streaming(*OUI, *END), stream=False),
    "whole-typed-as-stream": Row(whole(content_type="text/event-stream", **message(content="oui"))),
    "whole-though-a-stream-was-asked": Row(whole(**message(content="oui"))),
    "201": Row(whole(status=201, **message(content="oui")), stream=False),
    "parts": Row(streaming(delta(content=[THINKING_PART]), delta(content=[TEXT_PART]), *END), THOUGHT),
    "parts-whole": Row(whole(**message(content=[THINKING_PART, TEXT_PART])), THOUGHT, stream=False),
    "parts-of-strings": Row(whole(**message(content=["ou", {"type": "output_text", "text": "i"}])), stream=False),
    "no-blank-lines": Row(lines(b"\n", b"".join((*OUI, *END)).replace(b"\n\n", b"\n") + b"\n\n")),
    "index-null": Row(streaming(event({"choices": [{"index": None, "delta": {"content": "oui"}}]}), *END)),
    "finish-reason-as-a-word-for-none": Row(streaming(chunk("ou", "null"), chunk("i", "none"), *END)),
    "finish-reason-twice": Row(streaming(*OUI, chunk(finish="stop"), chunk(finish="stop"), USAGE, DONE)),
    "finish-reason-as-an-object": ended({"type": "stop", "matched": 2}),
    "fingerprint-that-is-no-text": Row(streaming(chunk("oui", system_fingerprint=["x"]), *END)),
    "halves-of-a-character": Row(streaming(chunk("\ud83d"), chunk("\ude00"), *END), Made(text="\N{GRINNING FACE}")),
    "half-a-character": Row(streaming(chunk("oui"), chunk("\ud83d", "stop"), USAGE, DONE), Made(text="oui\ufffd")),
    "latin-1": Row(
        streaming(json.dumps(message(content="\xe9t\xe9"), ensure_ascii=False).encode("latin-1"),
                  content_type="application/json; charset=latin-1"), Made(text="\xe9t\xe9"), stream=False),
    "charset-that-is-none": Row(
        streaming(json.dumps(message(content="oui")).encode(), content_type="application/json; charset=x"),
        stream=False),
    # several answers were asked for: the first one counts, whole
    "two-answers": Row(streaming(
        chunk("ou"), of_several((1, "non", "stop")), chunk("i"), chunk(finish="stop"),
        using(completion_tokens=5), DONE)),
    "two-answers-whole": Row(
        whole(choices=[{"index": index, "message": {"content": text}, "finish_reason": "stop"}
                       for index, text in ((1, "non"), (0, "oui"))], usage={"completion_tokens": 5}),
        Made(tokens=None), stream=False),
    "two-answers-second-first": Row(streaming(of_several((1, "no", None), (0, "oui", None)), *END), Made(tokens=1)),
    "two-answers-one-given-up": Row(streaming(*OUI, of_several((1, None, "abort")), *END)),
    "two-answers-first-given-up": Row(
        streaming(*OUI, of_several((0, None, "abort")), of_several((1, "n", "stop")), USAGE, DONE),
        failed(GAVE_UP + "'abort')"),
    ),
    # a number of tokens that cannot be true is none
    "usage-of-zero": Row(streaming(*OUI, chunk(finish="stop"), using(completion_tokens=0), DONE)),
    "usage-below-zero": Row(streaming(*OUI, chunk(finish="stop"), using(completion_tokens=-1), DONE)),
    "usage-as-text": Row(streaming(*OUI, chunk(finish="stop"), using(completion_tokens="9"), DONE)),
    "usage-null": Row(streaming(*OUI, chunk(finish="stop"), using(completion_tokens=None), DONE)),
    "usage-growing": Row(streaming(
        chunk("ou", usage={"completion_tokens": 0}), chunk("i", usage={"completion_tokens": 1}), *END)),
    "usage-of-zero-whole": Row(
        whole(**{**message(content="oui"), "usage": {"completion_tokens": 0}}), Made(tokens=None), stream=False
    ),
    # what a model thinks is no answer
    "reasoning-content": Row(thinking({"reasoning_content": "hm"}, *("ou", "i")), THOUGHT),
    "reasoning": Row(thinking({"reasoning": "hm"}, "oui"), THOUGHT),
    "reasoning-twice": Row(thinking({"reasoning": "hm", "reasoning_content": "hm"}, "oui"), THOUGHT),
    "block-in-content": Row(thinking("<thi", "nk>h", "m</th", "ink>\n\nou", "i"), THOUGHT),
    "block-that-the-prompt-opened": Row(thinking("h", "m</think>", "oui"), THOUGHT),
    "block-whole": Row(whole(**message(content="<think>\nhm\n</think>\n\noui")), THOUGHT, stream=False),
    "empty-block": Row(thinking("<think>\n\n</think>\n\n", "oui")),
    "cut-while-thinking": Row(
        streaming(chunk("<think>h"), chunk("m", "length"), USAGE, DONE), Made("length", "", "hm")
    ),
    "no-block-after-all": Row(thinking("<", "b>oui"), Made(text="<b>oui")),
    # tool calls are answers
    "tool-calls": Row(
        streaming(delta(tool_calls=[CALL]), delta("tool_calls"), USAGE, DONE), CALLED
    ),
    "tool-calls-in-pieces": Row(
        streaming(
            delta(tool_calls=[{"index": 0, "function": {"name": "volume_up", "arguments": ""}}]),
            delta(tool_calls=[{"index": 0, "function": {"arguments": '{"by"'}}]),
            delta(tool_calls=[{"index": 0, "function": {"arguments": ": 2}"}}]),
            delta("tool_calls"),
            USAGE,
            DONE,
        ),
        CALLED,
    ),
    "tool-calls-whole": Row(whole(**message("tool_calls", content=None, tool_calls=[CALL])), CALLED, stream=False),
    # how an answer ended
    "length": ended("length", finish="length"),
    "max-tokens": ended("MAX_TOKENS", finish="length"),
    "end-turn": ended("end_turn"),
    "abort": ended("abort", **vars(failed(GAVE_UP + "'abort')"))),
    "error": ended("error", **vars(failed(GAVE_UP + "'error')"))),
    "unknown-reason": ended("no_resource", **vars(failed(GAVE_UP + "'no_resource')"))),
    "filter": ended("content_filter", **vars(failed("the server's content filter withheld the answer"))),
    "abort-whole": Row(whole(**message("abort", content="oui")), failed(GAVE_UP + "'abort')"), stream=False),
    "done-alone": Row(streaming(DONE), failed(EMPTY, "", None)),
    "nothing-said": Row(streaming(delta(role="assistant"), chunk(finish="stop"), DONE), failed(EMPTY, "", None)),
    "nothing-said-whole": Row(
        whole(choices=[{"message": {"content": None}, "finish_reason": "stop"}]), failed(EMPTY, "", None), stream=False
    ),
    "cut-before-its-first-token": Row(
        streaming(chunk(finish="length"), using(completion_tokens=0), DONE), failed(EMPTY, "", None)
    ),
    "cut-after-a-token-without-text": Row(streaming(chunk(finish="length"), DONE), Made("length", "", tokens=None)),
    "no-body": Row(streaming(content_type="application/json"), failed(EMPTY, "", None), stream=False),
    "ended-at-once-by-the-model": Row(streaming(chunk(finish="stop"), USAGE, DONE), Made(text="")),
    # broken ones
    "closed": Row(streaming(*OUI), failed(CUT_SHORT)),
    "cut": Row(cutting(*OUI), failed("the server closed the connection in mid-answer")),
    "error-event": Row(streaming(*OUI, event({"error": {"message": "out of memory"}})),
                       failed("the server reports: out of memory")),
    "error-event-by-name": Row(streaming(*OUI, event({"message": "out of memory"}, "error")),
                               failed("the server reports: out of memory")),
    "error-after-the-end": Row(streaming(*OUI, chunk(finish="stop"), event({"error": "out of memory"})),
                               failed("the server reports: out of memory")),
    "error-event-by-type": Row(streaming(*OUI, event({"type": "error", "message": "out of memory"}), DONE),
                               failed("the server reports: out of memory")),
    "error-event-by-status": Row(streaming(*OUI, event({"code": 500, "message": "out of memory"}), DONE),
                                 failed("the server reports: out of memory")),
    "error-event-as-detail": Row(streaming(*OUI, event({"detail": "out of memory"}), DONE),
                                 failed("the server reports: out of memory")),
    "finish-reason-as-a-number": ended(7, **vars(failed(GAVE_UP + "'7')"))),
    "calls-that-are-none": Row(streaming(*OUI, delta(tool_calls=["x"]), DONE),
                               failed("not a chat completion: " + json.dumps(message_of_calls(["x"])))),
    "calls-without-a-form": Row(streaming(*OUI, delta(tool_calls=[{"index": [1]}]), DONE),
                                failed("not a chat completion: " + json.dumps(message_of_calls([{"index": [1]}])))),
    "too-deep": Row(streaming(*OUI, b"data: " + b'{"a":' * 9999 + b"1" + b"}" * 9999 + b"\n\n"),
                    failed("the server sent broken JSON: " + repr('{"a":' * 20))),
    "broken-json": Row(streaming(*OUI, b"data: {oops\n\n"), failed("the server sent broken JSON: '{oops'")),
    "html": Row(streaming(b"<html>", content_type="text/html"),
                failed("the server sent broken JSON: '<html>'", "", None)),
    "cut-after-the-end": Row(cutting(*OUI, chunk(finish="stop"))),
    "left-open": Row(hanging(*OUI, chunk(finish="stop")), Made(left_open=True)),
    "left-open-after-done": Row(hanging(*OUI, *END), Made(left_open=True)),
}  # fmt: skip


@pytest.fixture(autouse=True)
def _short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytest_llmbench.generation.client.answer_body.GRACE_S", 0.05)
    monkeypatch.delenv("LLMBENCH_API_KEY", raising=False)


@pytest.fixture(scope="module")
def server() -> Iterator[FakeChatServer]:
    served = FakeChatServer()
    yield served
    served.close()


async def benchmarked(url: str, body: dict[str, Any]) -> Made:
    client = ChatClient(f"{url}/v1", {}, 1, 5.0, 0)
    try:
        reply = await client.ask({**body, "messages": QUESTION})
    finally:
        await client.close()
    assert reply.finish != "timeout"
    return Made(reply.finish, reply.text, reply.reasoning, reply.completion_tokens, reply.error, reply.left_open)


async def under_load(url: str, body: dict[str, Any]) -> Made:
    call = await asked_by_a_user(url, body)
    request = call.record(0.0, 0.0)
    assert request.finish != "aborted"
    said = call.answer
    return Made(request.finish, said.text, said.reasoning, request.tokens, request.error, request.left_open)


async def asked_by_a_user(url: str, body: dict[str, Any]) -> Call:
    call = Call(0, 0)
    async with UserConnection(ChatServer.at(url, body=body, timeout_s=5.0), AddressBook()) as connection:
        await connection.ask(call, QUESTION)
    return call


@pytest.mark.parametrize("row", TABLE.values(), ids=TABLE)
def test_both_clients_make_the_same_of_an_answer(server: FakeChatServer, row: Row) -> None:
    server.behaviours = [row.answer]
    body = {"model": "smol", "stream": row.stream}
    assert asyncio.run(benchmarked(server.url, body)) == row.made
    assert asyncio.run(under_load(server.url, body)) == row.made


def test_an_answer_ends_with_its_finish_reason_however_long_its_stream_stays_open(
    server: FakeChatServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest_llmbench.generation.client.answer_body.GRACE_S", 0.5)
    server.behaviours = [hanging(*OUI, chunk(finish="stop"))]
    begun = time.monotonic()
    call = asyncio.run(asked_by_a_user(server.url, {"stream": True}))
    assert time.monotonic() - begun >= 0.5
    assert call.ended is not None
    assert call.ended == call.answer.ended_at
    assert call.answer.ended_at - call.answer.token_times[-1] < 0.5


def test_the_first_visible_token_comes_after_the_block_of_thoughts(server: FakeChatServer) -> None:
    for pieces, first in ((("<think>", "hm", "</think>", "\n\n", "oui"), 4), (("hm", "</think>", "oui"), 2)):
        server.behaviours = [thinking(*pieces)]
        answer = asyncio.run(asked_by_a_user(server.url, {"stream": True})).answer
        assert answer.first_visible_at == answer.token_times[first]


@pytest.mark.parametrize(
    ("pieces", "told"),
    [
        (("<think>h", "m</think>", "ou", "i"), ["ou", "i"]),
        (({"reasoning_content": "hm"}, "ou", "i"), ["ou", "i"]),
        (("<",), ["<"]),
        (({"tool_calls": [CALL]},), [CALLED.text]),
    ],
)
def test_who_listens_hears_the_answer_and_not_what_was_thought(
    server: FakeChatServer, pieces: tuple[Any, ...], told: list[str]
) -> None:
    server.behaviours = [thinking(*pieces)]
    heard: list[str] = []

    async def ask() -> None:
        client = ChatClient(f"{server.url}/v1", {}, 1, 5.0, 0)
        await client.ask({"messages": QUESTION, "stream": True}, heard.append)
        await client.close()

    asyncio.run(ask())
    assert heard == told
