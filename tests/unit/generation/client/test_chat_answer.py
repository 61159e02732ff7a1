from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmbench.generation.client.answer_body import read_body, read_whole
from pytest_llmbench.generation.client.chat_answer import Answer, BrokenAnswerError, VisibleText, error_text
from pytest_llmbench.generation.client.message_parts import ToolCalls
from pytest_llmbench.models.reasoning import BLOCKS, split_reasoning


def event(text: str | None = None, finish: str | None = None, **more: Any) -> bytes:
    chunk = {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish}], **more}
    return b"data: " + json.dumps(chunk, ensure_ascii=False).encode() + b"\n\n"


def read(chunks: Sequence[bytes]) -> Answer:
    answer = Answer()
    read_into(answer, chunks)
    return answer


def read_into(answer: Answer, chunks: Sequence[bytes]) -> None:
    async def stream() -> AsyncIterator[bytes]:
        for chunk in chunks:
            yield chunk

    asyncio.run(read_body(stream(), answer))


@given(
    st.lists(st.text(min_size=1), min_size=1, max_size=5),
    st.sets(st.integers(1, 2000)),
    st.sampled_from([b"\n", b"\r\n", b"\r"]),
)
def test_a_stream_reads_the_same_however_it_is_cut(texts: list[str], cuts: set[int], line_end: bytes) -> None:
    events = b": ping\n\n" + b"".join(map(event, texts)) + event(finish="stop") + b"data: [DONE]\n\n"
    whole = b"\xef\xbb\xbf" + events.replace(b"\n", line_end)
    edges = [0, *sorted(cut for cut in cuts if cut < len(whole)), len(whole)]
    answer = read([whole[start:end] for start, end in itertools.pairwise(edges)])
    assert (answer.content, answer.deltas, answer.finish_reason) == ("".join(texts), len(texts), "stop")


@given(st.binary(max_size=200))
def test_any_bytes_are_an_answer_or_a_broken_one(body: bytes) -> None:
    for chunks in ([body], [b"data: " + body, b"\n\n"]):
        with pytest.raises(BrokenAnswerError):
            read(chunks)


@pytest.mark.parametrize(
    "goodbye",
    [b"data: [DONE]\n\n", b"data: [DONE]", b"data:[DONE]\r\n\r\n", event(finish="stop"), event(finish="length")],
)
def test_done_or_a_finish_reason_ends_an_answer(goodbye: bytes) -> None:
    assert read([event("oui"), goodbye]).text == "oui"


def test_data_over_several_lines_is_one_event() -> None:
    lines = json.dumps({"choices": [{"delta": {"content": "oui"}}]}, indent=1).splitlines()
    assert read(["".join(f"data: {line}\r\n" for line in lines).encode() + b"\r\n", b"data: [DONE]\n\n"]).text == "oui"


def test_reasoning_counts_as_tokens_but_is_no_answer() -> None:
    thought = b'data: {"choices": [{"delta": {"reasoning_content": "hm"}}]}\n\n'
    answer = read([thought, event("oui", "stop")])
    assert (answer.text, answer.deltas) == ("oui", 2)
    assert answer.first_at is not None


def test_usage_comes_from_an_event_without_choices() -> None:
    usage = b'data: {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 2}}\n\n'
    answer = read([event("oui", "stop"), usage, b"data: [DONE]\n\n"])
    assert (answer.prompt_tokens, answer.completion_tokens) == (5, 2)


@pytest.mark.parametrize(
    ("rest", "message"),
    [
        (b"data: {not json\n\n", "broken JSON: '{not json'"),
        (b"data: 3\n\n", "'3' where a JSON object was due"),
        (b'data: {"choices": "x"}\n\n', "not a chat completion"),
        (b'data: {"choices": [{"delta": 3}]}\n\n', "not a chat completion"),
        (b'data: {"id": 1}\n\n', "closed the stream before the answer was complete"),
        (b'data: {"error": {"message": "out of memory", "code": 500}}\n\n', "the server reports: out of memory"),
        (b'error: {"code": 500}\n\n', "the server reports"),
        (b"", "closed the stream before the answer was complete"),
    ],
)
def test_a_broken_stream_says_how_and_keeps_the_text(rest: bytes, message: str) -> None:
    answer = Answer()
    with pytest.raises(BrokenAnswerError, match=message):
        read_into(answer, [event("ou"), event("i"), rest])
    assert answer.text == "oui"


def test_a_whole_answer_has_no_first_token_time() -> None:
    answer = Answer()
    read_whole(b'{"choices": [{"message": {"content": "oui"}, "finish_reason": "length"}]}', answer)
    assert (answer.text, answer.finish_reason, answer.first_at, answer.deltas) == ("oui", "length", None, 0)


def test_white_space_before_tool_calls_is_no_answer() -> None:
    function = {"name": "say", "arguments": "{}"}
    calls = {"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, "function": function}]}}]}
    streamed = read([event("\n\n"), b"data: " + json.dumps(calls).encode() + b"\n\n", event(finish="tool_calls")])
    whole, message = Answer(), {"content": "\n\n", "tool_calls": [{"function": function}]}
    read_whole(json.dumps({"choices": [{"message": message, "finish_reason": "tool_calls"}]}).encode(), whole)
    assert streamed.text == whole.text == '{"name": "say", "arguments": {}}'


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"choices": []}', b'{"error": "no"}', b'{"choices": [3]}'])
def test_a_whole_answer_that_is_none_is_refused(body: bytes) -> None:
    with pytest.raises(BrokenAnswerError):
        read_whole(body, Answer())


@pytest.mark.parametrize(
    "body",
    [{"error": {"message": "no"}}, {"error": "no"}, {"object": "error", "message": "no"}, {"detail": "no"}, "no"],
)
def test_the_reason_is_found_in_every_form_of_error(body: object) -> None:
    assert error_text(body) == "no"


def shown(pieces: list[str]) -> str:
    """What is visible in the end: what was shown since it last began."""
    visible, text, content = VisibleText(), "", ""
    for piece in pieces:
        content += piece
        had_begun = visible.begun
        told = visible.add(piece, content)
        text = text + told if had_begun and visible.begun and told == piece else told
    return text


@pytest.mark.parametrize(("opening", "closing"), BLOCKS)
@given(cuts=st.sets(st.integers(1, 60)))
def test_a_block_is_hidden_however_its_text_is_cut(opening: str, closing: str, cuts: set[int]) -> None:
    whole = f"{opening}hm, let me think{closing}\n\noui, monsieur"
    edges = [0, *sorted(cut for cut in cuts if cut < len(whole)), len(whole)]
    pieces = [whole[start:end] for start, end in itertools.pairwise(edges)]
    assert shown(pieces) == split_reasoning(whole).answer == "oui, monsieur"


@pytest.mark.parametrize(
    ("pieces", "text"),
    [
        (["<b>", "oui"], "<b>oui"),
        (["  ", "oui"], "oui"),
        (["<think>hm"], ""),
        (["<think></think>", "<think>hm</think>", "oui"], "oui"),
        (["hm</thi", "nk>ou", "i"], "oui"),
        (["hm</think>oui"], "oui"),
        (["oui <think> non"], "oui <think> non"),
        (["<|start|>assistant", "<|channel|>final<|message|>", "oui"], "oui"),
    ],
)
def test_what_is_no_thought_is_visible(pieces: list[str], text: str) -> None:
    assert shown(pieces) == text


def test_arguments_of_calls_can_be_written_whatever_a_server_escapes() -> None:
    calls = ToolCalls()
    calls.add([{"function": {"name": "say", "arguments": r'{"text": "hi \ud83d", "rate": NaN}'}}])
    assert calls.calls == ({"name": "say", "arguments": {"text": "hi \ufffd", "rate": "NaN"}},)
