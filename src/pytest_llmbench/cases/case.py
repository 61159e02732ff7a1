"""One case: what a model is asked, and what is expected of its answer."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping

from pytest_llmbench.cases.tools import ExpectedCalls, Tool
from pytest_llmbench.core.errors import UsageError


@dataclasses.dataclass(frozen=True, slots=True)
class Case:
    """One prompt with what is expected of the answer.

    `messages` is what the model is given: `{"role", "content"}` dictionaries, the system prompt first where there is
    one, the user's turn (`prompt`) last. `expect` maps a metric to `True` (the score must be 1) or to the least score.
    `tools` are given to the model, in OpenAI's form, with `tool_choice` where a server answers; `calls` are the calls
    that are right, None where the case does not say. Cases of one `group` (paraphrases, turns of one conversation)
    count as one in verdicts. `source` is the `file:line` where the case is written.
    """

    category: str
    id: str
    prompt: str
    messages: tuple[Mapping[str, str], ...] = dataclasses.field(hash=False)
    keywords: tuple[str, ...] = ()
    tool: str | None = None
    reference: str | None = None
    expect: Mapping[str, float] = dataclasses.field(default_factory=dict, hash=False)
    group: str | None = None
    language: str | None = None
    epoch: int = 0
    source: str = ""
    tools: tuple[Tool, ...] = dataclasses.field(default=(), hash=False)
    tool_choice: str | None = None
    calls: ExpectedCalls | None = None

    @property
    def name(self) -> str:
        """`category/id`, the pytest id of the case."""
        return f"{self.category}/{self.id}"


def asked_sha256(case: Case) -> str:
    """Of all that the model is given: the messages alone where there are no tools, as it was before there were any."""
    messages = [dict(one) for one in case.messages]
    asked = {"messages": messages, "tools": case.tools, "tool_choice": case.tool_choice} if case.tools else messages
    return hashlib.sha256(json.dumps(asked).encode()).hexdigest()


def namesakes(name: str, epoch: int, first: str, second: str) -> UsageError:
    """The refusal of two cases of one name that ask different things; by their names answers are kept and reported."""
    hidden = " (their messages or tools differ)" if first == second else ""
    return UsageError(
        f"two cases that ask different things are called {name}, epoch {epoch}: {first} and {second}{hidden}; "
        "give one of them another id"
    )
