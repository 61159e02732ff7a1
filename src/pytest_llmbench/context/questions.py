"""What is asked of a server in a context test, and who asks it: the searches know no more of a server than this."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pytest_llmbench.context.needles import Needle
    from pytest_llmbench.runs.context_document import ProbeDocument, Sought


@dataclasses.dataclass(frozen=True, slots=True)
class ContextQuestion:
    """One prompt of `length` tokens that asks for `needle`, and how long its answer may be.

    `number` tells apart prompts that are alike in everything else. Questions of one session with the same `said`, and
    alike in length and needle, have the very same text; without it each has a text of its own.
    """

    sought: Sought
    length: int
    needle: Needle
    answer_tokens: int
    number: int = 0
    said: str = ""

    @property
    def id(self) -> str:
        """Names the probe: the same for the same question of a session that goes on after a stop."""
        return f"{self.sought}-{self.length}-{self.needle.name}-{self.number}"


class Asker(Protocol):
    """Asks a server, or what stands for one."""

    async def ask(self, question: ContextQuestion) -> ProbeDocument:
        """What came of it. Refusals, losses and time-outs are in the probe; nothing is raised for them."""
        ...

    async def ask_together(self, questions: Sequence[ContextQuestion]) -> list[ProbeDocument]:
        """The same of questions that are sent at the same moment."""
        ...


def is_taken(probe: ProbeDocument) -> bool:
    """Whether the server read all of the prompt."""
    return probe.refusal is None and not probe.cut
