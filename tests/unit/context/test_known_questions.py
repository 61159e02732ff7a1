from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from support.context_server import ContextServer
from support.known_context import KnownContext

from pytest_llmbench.context.tuning.known_questions import RightAnswers, check_answers
from pytest_llmbench.core.errors import ServerError
from pytest_llmbench.core.settings import Settings

MakeServer = Callable[..., ContextServer]


@pytest.fixture
def served() -> Iterator[MakeServer]:
    """Makes servers that end with the test."""
    made: list[ContextServer] = []

    def make(known: KnownContext, **more: object) -> ContextServer:
        made.append(ContextServer(known, **more))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_a_context_that_a_server_tells_is_believed(served: MakeServer) -> None:
    for engine in ("vllm", "llamacpp"):
        server = served(KnownContext(limit=4096), engine=engine, announced=4096)
        assert check_answers(server.url, Settings(), 4096).context == 4096
        assert max(map(len, server.prompts)) < 200  # nothing was tried


@pytest.mark.parametrize(
    ("engine", "name", "parent"),
    [
        ("vllm", "tuned", "known"),
        ("vllm", "tuned", "org/base"),  # as --lora-modules calls it, which no request may
        ("sglang", "tuned", "known"),
        ("sglang", "known:tuned", "known"),
    ],
)
def test_the_base_is_asked_and_tells_the_context_where_users_ask_its_fine_tune(
    served: MakeServer, engine: str, name: str, parent: str
) -> None:
    server = served(KnownContext(limit=4096), engine=engine, announced=4096, fine_tune="tuned", parent=parent)
    users = Settings.model_validate({"server": {"url": server.url, "model": name}})
    assert check_answers(server.url, users, 4096).context == 4096
    assert server.asked == {"known"}


def test_a_model_that_is_not_served_is_told_before_it_is_asked(served: MakeServer) -> None:
    server = served(KnownContext(), engine="vllm")
    users = Settings.model_validate({"server": {"url": server.url, "model": "tuned"}})
    with pytest.raises(ServerError, match=r"has no model 'tuned'.*; it serves \"known\""):
        check_answers(server.url, users, 64)


@pytest.mark.parametrize(
    ("beyond", "limit", "context", "why"),
    [("refuse", 2048, 2048, ""), ("refuse", 1024, 0, "HTTP 400"), ("cut", 1024, 0, "it read 1024")],
)
def test_where_nothing_tells_a_prompt_proves_it(
    served: MakeServer, beyond: str, limit: int, context: int, why: str
) -> None:
    server = served(KnownContext(limit=limit, beyond=beyond), engine="silent")  # type: ignore[arg-type]
    seen = check_answers(server.url, Settings(), 2048)
    assert seen.context == context
    assert why in seen.why


def test_a_context_whose_prompt_is_not_answered_in_time_is_not_held(served: MakeServer) -> None:
    slow = KnownContext(limit=9999, law=lambda tokens: 8.0 if tokens > 500 else 0.01)
    server = served(slow, engine="silent", scale=1.0)
    hasty = Settings.model_validate({"generation": {"timeout": 1.0}, "load": {"latency": 0.3}})
    seen = check_answers(server.url, hasty, 2048)
    assert (seen.context, seen.why) == (0, "no answer in time to 1920 tokens")


def test_a_server_without_usage_proves_nothing(served: MakeServer) -> None:
    assert (
        check_answers(served(KnownContext(limit=9999), engine="silent", usage=False).url, Settings(), 512).context
        is None
    )


def test_a_question_without_an_answer_is_no_wrong_one(served: MakeServer) -> None:
    with pytest.raises(ServerError, match="the known question 'How many days are in a week\\?' was not answered"):
        check_answers(served(KnownContext(limit=8), engine="silent").url, Settings(), 64)


def test_a_model_that_has_no_tokens_left_to_answer_after_thinking_is_told_so(
    served: MakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ContextServer, "_answer", lambda *_: ["<think>", *["hm"] * 99])
    seen = check_answers(served(KnownContext(), announced=64).url, Settings(), 64)
    assert str(seen).startswith("0 of 8 known questions answered right, and 8 answers were still thoughts")
    assert str(RightAnswers(frozenset({3}), 64)) == "1 of 8 known questions answered right"


def test_a_quarter_of_what_the_baseline_answers_may_be_lost() -> None:
    baseline = frozenset({0, 1, 2, 3})
    assert RightAnswers(frozenset({0, 1, 2, 7}), None).as_right_as(baseline)
    assert not RightAnswers(frozenset({0, 1, 6, 7}), None).as_right_as(baseline)
