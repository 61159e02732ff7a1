from __future__ import annotations

from typing import Any

import pytest

from pytest_llmbench.core.settings import Settings
from pytest_llmbench.generation.client.chat_request import (
    probe_body,
    request_body,
    standing_body,
    whole_body,
    with_token_limit,
)

MESSAGES = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "bonjour"}]
NEITHER = {"max_tokens": None, "max_completion_tokens": None}


def standing(extra: dict[str, Any] | None = None, **sections: Any) -> dict[str, Any]:
    return standing_body(Settings.model_validate(sections), extra or {})


def test_template_arguments_and_room_to_think_go_with_every_request() -> None:
    body = standing(
        model={"template_arguments": {"enable_thinking": False}},
        generation={"max_new_tokens": 100, "max_reasoning_tokens": 400},
    )
    assert body["chat_template_kwargs"] == {"enable_thinking": False}
    assert body["max_tokens"] == 500
    assert "chat_template_kwargs" not in standing()


def test_what_the_settings_say_of_the_body_wins_and_what_they_take_out_is_not_sent() -> None:
    kwargs = {"enable_thinking": True}
    extra = {"chat_template_kwargs": kwargs, "max_tokens": None, "max_completion_tokens": 9, "stream_options": None}
    body = request_body(standing(extra, model={"template_arguments": {"enable_thinking": False}}), MESSAGES, seed=1)
    assert body.keys() == {
        *("seed", "temperature", "top_p", "stream", "chat_template_kwargs", "max_completion_tokens", "messages")
    }
    assert (body["chat_template_kwargs"], body["max_completion_tokens"]) == (kwargs, 9)


def test_a_system_prompt_is_folded_into_the_first_user_turn_where_it_must() -> None:
    assert request_body({}, MESSAGES)["messages"] == MESSAGES
    assert request_body({}, MESSAGES, system_role="user")["messages"] == [
        {"role": "user", "content": "be brief\n\nbonjour"}
    ]


@pytest.mark.parametrize(
    ("extra", "limits"),
    [
        ({}, {"max_tokens": 1}),
        ({"max_tokens": None, "max_completion_tokens": 128}, {"max_completion_tokens": 1}),
        (NEITHER, {}),
        ({"max_tokens": None}, {}),
    ],
)
def test_a_probe_asks_for_one_token_in_the_key_that_the_questions_use(
    extra: dict[str, Any], limits: dict[str, Any]
) -> None:
    body = probe_body(standing({"lora": [], "top_p": None, **extra}))
    assert {key: body[key] for key in body if key.startswith("max_")} == limits
    assert body["stream"] is False
    assert body["lora"] == []
    assert "stream_options" not in body
    assert None not in body.values()


def test_a_stream_that_was_taken_out_stays_out() -> None:
    assert "stream" not in request_body(whole_body(standing({"stream": None})), MESSAGES)
    assert request_body(whole_body(standing()), MESSAGES)["stream"] is False


def test_a_search_for_the_longest_answer_needs_a_key_though_all_were_taken_out() -> None:
    assert with_token_limit(NEITHER, 5, unless="max_completion_tokens") == {**NEITHER, "max_completion_tokens": 5}
    assert with_token_limit({}, 5) == {"max_tokens": 5}
