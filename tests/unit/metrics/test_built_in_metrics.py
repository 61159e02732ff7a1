"""The built-in metrics: keywords, relevance, routing, similarity, timing."""

from __future__ import annotations

import base64
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmbench.cases.suites import Case
from pytest_llmbench.core.records import BASE, FINETUNED, Completion
from pytest_llmbench.metrics import latency_s, tokens_per_s
from pytest_llmbench.metrics.keywords import found_keywords, keyword_share, relevance
from pytest_llmbench.metrics.routing import Route, tool_accuracy, tool_finder
from pytest_llmbench.metrics.similarity import cosine_similarity
from pytest_llmbench.metrics.text import Spelling

TOOLS = {
    "volume_up": ("volume", "son", "monte", "augmente", "plus fort"),
    "volume_down": ("volume", "son", "baisse", "diminue", "moins fort"),
    "open_browser": ("chrome", "navigateur", "internet", "page", "site"),
}
LOOSE = Spelling()


def asked(*, keywords: tuple[str, ...] = (), tool: str | None = None) -> Case:
    messages = ({"role": "user", "content": "monte le son"},)
    return Case("tool_routing", "volume-up", "monte le son", messages, keywords=keywords, tool=tool)


def said(text: str, variant: str = FINETUNED, embedding: list[float] | None = None) -> Completion:
    encoded = None if embedding is None else base64.b64encode(np.array(embedding, "<f4").tobytes()).decode()
    return Completion("tool_routing/volume-up", 0, variant, text, "stop", embedding=encoded)


def test_keywords_are_the_share_that_was_found() -> None:
    case = asked(keywords=("volume", "augmente", "raison"))
    answer = said("J'AUGMENTE le volume, avec raisonnement.")
    assert keyword_share(LOOSE)(case, answer) == pytest.approx(2 / 3)
    assert found_keywords(case, answer.text, LOOSE) == ("volume", "augmente")


def test_a_case_without_keywords_is_unscored() -> None:
    assert keyword_share(LOOSE)(asked(), said("volume")) is None


@pytest.mark.parametrize(
    ("tool", "text", "score"),
    [
        ("volume_up", "J'augmente le volume.", 1.0),  # 2 of 5 terms, 1.5 are enough
        ("volume_up", "Voici le son.", 1 / 1.5),
        ("volume_up", "J'ouvre chrome, page internet.", 0.0),
        (None, "J'ouvre chrome.", 1 / 1.5),
        (None, "Bonjour !", 0.0),
    ],
)
def test_relevance_is_judged_by_one_tool(tool: str | None, text: str, score: float) -> None:
    assert relevance(TOOLS, LOOSE)(asked(tool=tool), said(text)) == pytest.approx(score)


def test_relevance_without_a_vocabulary_is_unscored() -> None:
    assert relevance({}, LOOSE)(asked(), said("volume")) is None


@given(st.text(max_size=200), st.sampled_from([None, *TOOLS]))
def test_relevance_stays_between_none_and_all(text: str, tool: str | None) -> None:
    score = relevance(TOOLS, LOOSE)(asked(tool=tool), said(text))
    assert isinstance(score, float)
    assert 0 <= score <= 1


@given(st.lists(st.sampled_from([*TOOLS["volume_up"], "et", "puis"])))
def test_saying_more_is_never_less_relevant(words: list[str]) -> None:
    def score(count: int) -> float:
        value = relevance(TOOLS, LOOSE)(asked(tool="volume_up"), said(" ".join(words[:count])))
        assert isinstance(value, float)
        return value

    scores = [score(count) for count in range(len(words) + 1)]
    assert scores == sorted(scores)


@pytest.mark.parametrize(
    "text",
    ["volume_up", '{"tool": "volume_up"}', "[volume_up]", "volume_up()", "Je choisis `volume\\_up`.", "- volume_up."],
)
def test_a_tool_is_recognised_in_any_dress(text: str) -> None:
    assert tool_accuracy(TOOLS)(asked(tool="volume_up"), said(text)) is True


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("volume_down, puis volume_up", "wrong tool 'volume_down', expected 'volume_up'"),
        ('{"tool": "sound.louder"}', "unknown tool 'sound.louder', expected 'volume_up'"),
        ("volume_up_tool", "unknown tool 'volume_up_tool', expected 'volume_up'"),
        ("D'accord, je monte le son.", "no tool named, expected 'volume_up'"),
        ("", "no tool named, expected 'volume_up'"),
    ],
)
def test_a_wrong_route_says_what_is_wrong(text: str, message: str) -> None:
    case = asked(tool="volume_up")
    assert tool_accuracy(TOOLS)(case, said(text)) is False
    assert str(Route(TOOLS).misrouting(case, said(text))) == message


def test_a_right_route_has_nothing_to_explain() -> None:
    assert Route(TOOLS).misrouting(asked(tool="volume_up"), said("volume_up")) is None


def test_routing_is_unscored_for_a_case_without_a_tool() -> None:
    assert tool_accuracy(TOOLS)(asked(), said("volume_up")) is None
    assert Route(TOOLS).misrouting(asked(), said("volume_up")) is None


def test_a_tool_whose_name_starts_like_another_is_told_apart() -> None:
    first_tool = tool_finder(["open", "open-file", "open_browser"], "mention")
    assert [first_tool(text) for text in ("open-file a", "open_browser", "open: a", "re-open")] == [
        "open-file",
        "open_browser",
        "open",
        None,
    ]


def test_similarity_is_the_cosine_of_the_embeddings() -> None:
    base, tuned = said("a", BASE, [1.0, 0.0]), said("b", FINETUNED, [1.0, 1.0])
    assert cosine_similarity(asked(), base, tuned) == pytest.approx(math.sqrt(0.5))


def test_equal_answers_are_exactly_similar() -> None:
    base, tuned = said("a", BASE, [0.1, 0.2, 0.3]), said("a", FINETUNED, [0.1, 0.2, 0.30001])
    assert cosine_similarity(asked(), base, tuned) == 1.0


@pytest.mark.parametrize("embedding", [None, [0.0, 0.0], [math.nan, 1.0], [math.inf, 1.0]])
def test_similarity_without_a_direction_is_unscored(embedding: list[float] | None) -> None:
    assert cosine_similarity(asked(), said("a", BASE, [1.0, 0.0]), said("b", FINETUNED, embedding)) is None


@given(st.lists(st.tuples(st.floats(width=32), st.floats(width=32)), min_size=1, max_size=8))
def test_similarity_is_bounded_for_any_finite_embedding(pairs: list[tuple[float, float]]) -> None:
    finite = [pair for pair in pairs if all(map(math.isfinite, pair))]
    first, second = [pair[0] for pair in finite], [pair[1] for pair in finite]
    value = cosine_similarity(asked(), said("a", BASE, first), said("b", FINETUNED, second))
    assert value is None or -1 <= value <= 1


def test_timing_is_what_the_completion_recorded() -> None:
    answer = Completion("a/b", 0, BASE, "oui", "stop", completion_tokens=10, latency_s=2.0)
    assert latency_s(asked(), answer) == 2.0
    assert tokens_per_s(asked(), answer) == 5.0
    assert tokens_per_s(asked(), said("oui")) is None
