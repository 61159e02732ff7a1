from __future__ import annotations

from typing import Any

import pytest

from pytest_llmbench.generation.client.refusals import Sent, refusal

SENT = Sent(
    "POST",
    "http://h/v1/chat/completions",
    {
        "model": "m",
        "max_tokens": 128,
        "temperature": 0.0,
        "seed": 7,
        "stream": True,
        "stream_options": {"include_usage": True},
        "chat_template_kwargs": {"enable_thinking": False},
        "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}],
    },
)


def judged(status: int, reason: str = "no", **headers: str) -> Any:
    return refusal(status, reason, SENT, headers)


@pytest.mark.parametrize(
    ("statuses", "about"),
    [
        ((408, 425, 429, 499, 500, 502, 503, 504, 529), "passing"),
        ((400, 413, 415, 422), "question"),
        ((301, 302, 307, 308, 401, 402, 403, 404, 405, 410, 501), "server"),
    ],
)
def test_a_status_tells_whether_to_ask_again_and_whether_to_go_on(statuses: tuple[int, ...], about: str) -> None:
    assert {judged(status).about for status in statuses} == {about}


@pytest.mark.parametrize(
    ("status", "reason", "advice"),
    [
        (401, "wrong key", "set the server's key in LLMBENCH_API_KEY"),
        (404, "no model", "check server.url and server.model: asked was POST http://h/v1/chat/comp"),
        (405, "no", "http://h/v1/chat/completions takes no questions"),
        (400, "No connected db.", "set the server's key in LLMBENCH_API_KEY"),
        (400, "API key not valid. Please pass a valid API key.", "set the server's key in LLMBENCH_API_KEY"),
        (400, "Invalid model name passed in model=nope. Call `/v1/models` ...", "(server.model)"),
        (400, "The model 'nope' does not exist", "(server.model)"),
        (500, "Internal Server Error", "(server.model), and if it wants a key, set LLMBENCH_API_KEY"),
        (503, "Loading model", "may still be loading its model"),
        (400, "System role not supported", "set model.system_role: user"),
        (400, "Conversation roles must alternate user/assistant/user/assistant/...", "set model.system_role: user"),
        (
            400,
            "Unsupported parameter: 'max_tokens' is not supported by this model. Use 'max_completion_tokens' instead",
            "{max_tokens: null, max_completion_tokens: 128}",
        ),
        (400, "max_tokens is not accepted here; give max_completion_tokens", "max_completion_tokens: 128}"),
        (422, "body.stream_options: Extra inputs are not permitted", "server.base_body: {stream_options: null}"),
        (
            400,
            "Unsupported value: 'temperature' does not support 0.0 with this model. Only the default (1) is supported.",
            "server.base_body: {temperature: null}",
        ),
        (400, "Unknown parameter: seed", "server.base_body: {seed: null}"),
        (400, "unexpected keyword chat_template_kwargs", "model.template_arguments"),
        (400, "'stream' is not supported by this deployment", "set server.stream: false"),
    ],
)
def test_a_refusal_says_what_to_change(status: int, reason: str, advice: str) -> None:
    refused = judged(status, reason)
    assert advice in refused.advice
    assert set(refused.names) == {name for name in ("server.url", "server.model") if name in refused.advice}


@pytest.mark.parametrize(
    "reason",
    [
        "the prompt is too long",
        "max_tokens is too large: 128. This model supports at most 64 and larger values are not supported",
        "temperature must be a number",
        "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens",
    ],
)
def test_what_is_not_known_is_not_guessed(reason: str) -> None:
    assert judged(400, reason).advice == ""
    assert judged(500, reason).advice == ""


@pytest.mark.parametrize("reason", ["No connected db.", "Invalid model name passed in model=nope"])
def test_what_every_question_carries_ends_them_all(reason: str) -> None:
    assert judged(400, reason).about == "server"


def test_a_redirect_names_its_target_as_the_setting_to_write() -> None:
    told = judged(308, Location="https://other/v1/chat/completions").advice
    assert "redirects to https://other/v1/chat/completions, where nothing was sent" in told
    assert told.endswith("server.url: https://other/v1")
    assert judged(301, Location="/api/v1/chat/completions").advice.endswith("server.url: http://h/api/v1")
    told = judged(302, Location="https://me:pw@login/in?token=abc#x").advice
    assert told.startswith("it redirects to https://login/in, where")
    assert told.endswith("server.url: https://login/in")
    assert "without saying where" in judged(302).advice
