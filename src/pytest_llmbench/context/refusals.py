"""Why a prompt was not answered: what servers say when a context is too long, memory runs out, or they are gone.

The words are those of vLLM, llama.cpp, SGLang, TGI, Ollama, LM Studio, TensorRT-LLM, LiteLLM, OpenAI, Anthropic and
Gemini, whether they come with a status or as an error inside a stream that had begun with status 200.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pytest_llmbench.generation.client.answer_judge import DROPPED
from pytest_llmbench.runs.context_document import RefusalDocument

if TYPE_CHECKING:
    from pytest_llmbench.generation.client.answer_judge import Ending
    from pytest_llmbench.runs.context_document import RefusalCode

_TOO_LONG = re.compile(
    r"context[ _](?:length|size|window)[^.]{0,60}(?:exceed|too |greater|larger)|"
    r"exceed\w*[^.]{0,80}(?:context|max_model_len|max_seq_len|max_input_len|token limit|maximum (?:allowed )?length)|"
    r"maximum (?:context|input|sequence|model|allowed) length|maximum number of (?:input )?tokens|"
    r"(?:prompt|input|request|sequence|message)s?\b[^.]{0,60}\btoo (?:long|large|many tokens)|"
    r"longer than the (?:model'?s? )?(?:context|maximum)|context[ _]?(?:window|length|size)[ _]?exceeded|"
    r"must have less than \d+ tokens|max_new_tokens` must be <=|too many (?:input )?tokens|context the overflows|"
    r"exceed_context_size|not enough context|context is full|tokens? (?:limit|count)[^.]{0,40}exceed",
    re.IGNORECASE,
)
_FAULT = 500
_NO_MEMORY = re.compile(
    r"out of memory|outofmemory|\boom\b|cudamalloc|insufficient memory|not enough (?:\w+ )?memory|cannot allocate|"
    r"failed to allocate|alloc\w* failed|unable to allocate|no space (?:left )?in the kv|free space in the kv|"
    r"kv[ _-]?cache (?:is )?(?:full|exhausted)|no (?:available|free) (?:cache )?blocks|hip error|cuda error",
    re.IGNORECASE,
)
BUSY = (429, 502, 503, 504)
"""Statuses that tell nothing of the prompt: asked again, it may be answered."""
_LIMITS = re.compile(
    r"(?:maximum (?:context|input|sequence|model|allowed) length(?: (?:is|of))?|context length \(?|context size \(?|"
    r"context (?:window|length|size) of|maximum of|less than|must be <=|must be less than|allowed \(?|"
    r"should not exceed|> |at most)\s*\(?(\d{2,})",
    re.IGNORECASE,
)


def may_pass(refusal: RefusalDocument) -> bool:
    """Whether it may be over another time: neither its words nor its status are about the prompt."""
    return refusal.code == "http" and (refusal.status in (None, *BUSY) or (refusal.status or 0) >= _FAULT)


def why_refused(ending: Ending) -> RefusalDocument | None:
    """The typed reason of an exchange that came to no answer; None where one came."""
    refusal = ending.refusal
    if ending.finish == "timeout":
        return RefusalDocument(code="timeout", text=ending.error or "")
    if ending.finish != "error":
        return None
    text, status = (refusal.reason, refusal.status) if refusal else (ending.error or "", None)
    code = code_of(text)
    if code == "http" and (ending.failure in DROPPED or ending.failure == "not_http"):
        code = "server_gone"
    return RefusalDocument(code=code, status=status, text=text)


def code_of(text: str) -> RefusalCode:
    """What kind of refusal a server's words are; `http` where they speak of neither length nor memory."""
    if _NO_MEMORY.search(text):
        return "out_of_memory"
    return "context_exceeded" if _TOO_LONG.search(text) else "http"


def told_limits(text: str) -> list[int]:
    """The lengths that a refusal names as the most there may be, smallest first; a guess to be tried, no more."""
    return sorted({int(number) for number in _LIMITS.findall(text)})
