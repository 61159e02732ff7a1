from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmbench.cases import Case
from pytest_llmbench.errors import UsageError
from pytest_llmbench.load.conversations import Conversation, Conversations, conversations_of, load_conversations

turns = st.lists(st.text("abc", min_size=1), min_size=1, max_size=3).map(tuple)
talks = st.lists(turns.map(Conversation), min_size=1, max_size=6, unique_by=lambda talk: talk.turns[0])


@given(talks, st.lists(st.integers(1, 4), min_size=1, max_size=20))
def test_every_conversation_opens_with_another_message(conversations: list[Conversation], counts: list[int]) -> None:
    dealer = Conversations(conversations)
    dealt = [dealer.deal(count) for count in counts]
    assert [len(talk.turns) for talk in dealt] == counts
    assert len({talk.turns[0] for talk in dealt}) == len(dealt)


def test_the_seed_fixes_the_order() -> None:
    talk = [Conversation((str(number),)) for number in range(20)]
    orders = [[dealer.deal(1).turns for _ in talk] for dealer in map(Conversations, (talk, talk), (1, 1))]
    assert orders[0] == orders[1] != [Conversations(talk, 2).deal(1).turns for _ in talk]


def test_no_prompts_are_refused() -> None:
    with pytest.raises(UsageError, match="no prompts"):
        Conversations([])


def test_a_case_is_a_conversation_under_its_system_prompt() -> None:
    messages = tuple({"role": role, "content": role} for role in ("system", "user", "assistant", "user"))
    assert conversations_of([Case("voice", "one", "user", messages)]) == [Conversation(("user", "user"), "system")]


def test_chats_are_read_without_their_answers(tmp_path: Path) -> None:
    file = tmp_path / "chats.jsonl"
    file.write_text(
        '{"messages": [{"role": "user", "content": "allô"}, {"role": "assistant", "content": "oui"}, '
        '{"role": "user", "content": "merci"}]}\n\n'
        '{"messages": [{"role": "system", "content": "Court."}, {"role": "user", "content": "non"}], "id": 3}\n'
    )
    assert load_conversations(file) == [Conversation(("allô", "merci")), Conversation(("non",), "Court.")]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "2: "),
        ("[]", "2: a conversation is an object with 'messages'"),
        ('{"messages": ["a"]}', "2: message 1: needs 'role' and 'content'"),
        ('{"messages": [{"role": "User", "content": "a"}]}', "2: message 1: the role must be .* 'User'"),
        ('{"messages": [{"role": "system", "content": "a"}]}', "2: the user says nothing"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    file = tmp_path / "chats.jsonl"
    file.write_text('{"messages": [{"role": "user", "content": "a"}]}\n' + line)
    with pytest.raises(UsageError, match=f"chats.jsonl:{message}"):
        load_conversations(file)


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "chats.jsonl").write_text("\n")
    with pytest.raises(UsageError, match="holds no conversation"):
        load_conversations(tmp_path / "chats.jsonl")
