from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmbench.cases.suites import Case
from pytest_llmbench.core.errors import UsageError
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


def test_a_past_is_made_of_the_archive_and_no_two_begin_alike() -> None:
    archive = [("quelle heure", "midi"), ("et demain", "soleil")]
    conversations = Conversations([Conversation(("bonjour",), "Réponds.")], archive=archive)
    assert conversations.deal(1).past == ()
    conversations.past = 6
    pasts = [conversations.deal(1).past for _ in range(20)]
    assert [message["role"] for message in pasts[0]] == ["user", "assistant"] * 3
    answers = dict(archive)
    for past in pasts:
        for question, answer in zip(past[::2], past[1::2], strict=True):
            assert answers[question["content"].partition(") ")[2]] == answer["content"]
    questions = [message["content"] for past in pasts for message in past[::2]]
    assert len(set(questions)) == len(questions)


def test_a_second_search_says_nothing_that_the_first_one_said() -> None:
    talks = [Conversation((f"bonjour {number}",)) for number in range(5)]
    first, second = Conversations(talks, first_round=4), Conversations(talks, first_round=90)
    said = {first.deal(1).turns for _ in range(30)}
    assert said.isdisjoint({second.deal(1).turns for _ in range(30)})


def test_what_is_sent_is_system_history_and_question() -> None:
    history = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    talk = Conversation(("c", "d"), "s")
    assert [message["content"] for message in talk.messages(1, history)] == ["s", "a", "b", "d"]
    assert [message["role"] for message in Conversation(("c",)).messages()] == ["user"]
