"""What simulated people say: distinct conversations, so that a server's prefix cache answers for nobody else's."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_llmbench.cases.suites import Case
from pytest_llmbench.core.documents import Faults, parse_json, read_text
from pytest_llmbench.core.errors import UsageError


@dataclasses.dataclass(frozen=True, slots=True)
class Conversation:
    """What one person says, message after message, and the system prompt it is said under.

    `past` are the messages that were exchanged before, questions and answers in turn.
    """

    turns: tuple[str, ...]
    system: str | None = None
    past: tuple[Mapping[str, str], ...] = ()

    def messages(self, turn: int = 0, history: Sequence[Mapping[str, str]] = ()) -> list[Mapping[str, str]]:
        """What is sent with the question of a turn: the system prompt, the history, the question."""
        system = [] if self.system is None else [{"role": "system", "content": self.system}]
        return [*system, *history, {"role": "user", "content": self.turns[turn]}]


class Conversations:
    """Deals conversations out in an order that the seed fixes, and never the same one twice.

    When all were dealt they are dealt again, their first message numbered: `(2) monte le son` shares no cached prefix
    with `monte le son`, while a common system prompt stays common, as it is in production. One instance serves all
    trials of a server, whose cache outlives them; it outlives the process too, so that a second search on the same
    server should begin with another `first_round`.

    Where `past` is not 0, each conversation has so many messages behind it, an even number: questions and answers of
    the `archive`.

    Raises:
        UsageError: there is nothing to say.
    """

    def __init__(
        self,
        conversations: Sequence[Conversation],
        seed: int = 42,
        *,
        first_round: int = 1,
        archive: Sequence[tuple[str, str]] = (),
    ) -> None:
        if not conversations:
            raise UsageError("no prompts for the simulated users; give suites or a .jsonl of conversations")
        self.past = 0
        self._archive = list(archive)
        self._all = list(conversations)
        self._random = random.Random(seed)  # noqa: S311  # an order, not a secret
        self._deck: list[Conversation] = []
        self._recalled = 0
        self._stride = 1
        self.rounds = first_round - 1
        """How many times the conversations were dealt through, here or by those that this was split into."""

    def split(self, count: int) -> list[Conversations]:
        """So many that deal elsewhere at the same time: none deals what another does, or what this one has dealt."""
        seeds = [self._random.getrandbits(64) for _ in range(count)]
        parts = [Conversations(self._all, seed, archive=self._archive) for seed in seeds]
        for place, part in enumerate(parts):
            part.rounds, part._stride = self.rounds + 1 + place - count, count  # noqa: SLF001  # its own kind
        return parts

    def deal(self, turns: int) -> Conversation:
        """The next conversation, of exactly so many turns: cut short, or going on with the next one's."""
        first = self._next()
        said = list(first.turns)
        while len(said) < turns:
            said += self._next().turns
        return Conversation(tuple(said[:turns]), first.system, tuple(self._recall()))

    def _recall(self) -> Iterator[Mapping[str, str]]:
        """The messages of a past, each question numbered: wherever a history begins, no cached prefix fits."""
        for _ in range(self.past // 2):
            question, answer = self._random.choice(self._archive)
            self._recalled += 1
            yield {"role": "user", "content": f"({self.rounds}.{self._recalled}) {question}"}
            yield {"role": "assistant", "content": answer}

    def _next(self) -> Conversation:
        if not self._deck:
            self.rounds += self._stride
            self._deck = list(self._all)
            self._random.shuffle(self._deck)
        conversation = self._deck.pop()
        if self.rounds == 1:
            return conversation
        opening, *rest = conversation.turns
        return dataclasses.replace(conversation, turns=(f"({self.rounds}) {opening}", *rest))


def conversations_of(cases: Iterable[Case]) -> list[Conversation]:
    """Each case as a conversation: the user's turns in it, under its system prompt."""
    return [_conversation(case.messages) for case in cases]


def load_conversations(path: Path | str) -> list[Conversation]:
    r"""Read a JSONL file of chats, `{"messages": [{"role": "user", "content": "..."}, ...]}` a line.

    Answers that stand between the user's messages are left out: the server under test gives its own.

    Raises:
        UsageError: the file is unreadable or wrong; one `file:line: ...` for each fault.
    """
    faults, found = Faults(), list[Conversation]()
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            chat = parse_json(line, path, number)
        except UsageError as error:
            faults.add(str(error))
            continue
        if fault := _fault(chat):
            faults.at(path, number, fault)
        else:
            found.append(_conversation(chat["messages"]))
    faults.raise_any()
    if not found:
        raise UsageError(f"{path}: holds no conversation; write one a line, {{'messages': [...]}} as JSON")
    return found


def _fault(chat: Any) -> str | None:
    messages = chat.get("messages") if isinstance(chat, dict) else None
    if not isinstance(messages, list):
        return "a conversation is an object with 'messages', a list of role and content"
    for index, message in enumerate(messages, start=1):
        if not isinstance(message, dict) or not isinstance(message.get("content"), str):
            return f"message {index}: needs 'role' and 'content' as text"
        if message.get("role") not in ("system", "user", "assistant"):
            return f"message {index}: the role must be system, user or assistant, not {message.get('role')!r:.40}"
    return None if any(_says(message) for message in messages) else "the user says nothing in this conversation"


def _conversation(messages: Sequence[Any]) -> Conversation:
    system = next((message["content"] for message in messages if message["role"] == "system"), None)
    return Conversation(tuple(message["content"] for message in messages if _says(message)), system)


def _says(message: Any) -> bool:
    return message["role"] == "user" and bool(message["content"].strip())
