"""From an exchange with a server to the probe that the document keeps."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from pytest_llmbench.context.refusals import why_refused
from pytest_llmbench.runs.context_document import ProbeDocument

if TYPE_CHECKING:
    from pytest_llmbench.context.prompt_building import ExactPrompt
    from pytest_llmbench.context.questions import ContextQuestion
    from pytest_llmbench.generation.client.answer_judge import Ending
    from pytest_llmbench.generation.client.chat_answer import Answer

_A_RATE = 2  # tokens that a rate needs


@dataclasses.dataclass(frozen=True, slots=True)
class Came:
    """What came of a prompt that was sent at `sent` (monotonic seconds). `cut`: fewer of its tokens were read."""

    answer: Answer
    ending: Ending
    sent: float
    cut: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Memory:
    """What the server held meanwhile; None for what cannot be seen."""

    kv_use: float | None = None
    server_bytes: int | None = None


def probe_of(question: ContextQuestion, prompt: ExactPrompt, came: Came, memory: Memory) -> ProbeDocument:
    """The probe. Only the questions of a sweep are judged: others have answers of no length."""
    answer, needle, refusal = came.answer, question.needle, why_refused(came.ending)
    asks = question.sought == "sweep"
    return ProbeDocument(
        id=question.id,
        sought=question.sought,
        length=question.length,
        prompt_tokens=prompt.tokens,
        usage_tokens=answer.prompt_tokens or None,
        cached_tokens=answer.cached_tokens,
        depth=needle.depth if asks else None,
        kind=needle.kind,
        language=needle.language,
        needle=needle.name if asks else None,
        facts=len(needle.values) if asks else 0,
        found=needle.found_in(answer.text) if asks and refusal is None else 0,
        answer=answer.text,
        completion_tokens=answer.tokens,
        first_token_s=None if answer.first_at is None else round(answer.first_at - came.sent, 6),
        decode_tokens_per_s=_decode_rate(answer),
        total_s=round(came.ending.ended_at - came.sent, 6),
        refusal=refusal,
        cut=came.cut and refusal is None,
        kv_use=memory.kv_use,
        server_memory_bytes=memory.server_bytes,
    )


def resident_at(port: int) -> int | None:
    """Bytes of the process of ours that listens at a port of this machine; None where that cannot be seen."""
    import psutil

    try:
        listening = [one for one in psutil.net_connections("tcp") if one.status == psutil.CONN_LISTEN]
        pid = next((one.pid for one in listening if getattr(one.laddr, "port", None) == port and one.pid), None)
        return int(psutil.Process(pid).memory_info().rss) if pid else None
    except psutil.Error:
        return None


def _decode_rate(answer: Answer) -> float | None:
    if answer.deltas < _A_RATE or not answer.tokens or answer.token_times[-1] <= answer.token_times[0]:
        return None
    return round((answer.tokens - 1) / (answer.token_times[-1] - answer.token_times[0]), 3)
