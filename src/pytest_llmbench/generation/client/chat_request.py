"""Every request's body is made here: of benchmark questions, load users, probes of a server and histories."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pytest_llmbench.cases.tools import CHOICES
from pytest_llmbench.models.system_role import fold_system

if TYPE_CHECKING:
    from pytest_llmbench.cases.suites import Case
    from pytest_llmbench.core.settings import Settings

_LIMITS = ("max_tokens", "max_completion_tokens")
_DECIDING = frozenset(
    (
        *("temperature", "top_p", "top_k", "min_p", "typical_p", "seed", "stop", "logit_bias", "response_format"),
        *("presence_penalty", "frequency_penalty", "repetition_penalty", "repeat_penalty"),
        *("chat_template_kwargs", "reasoning_effort", "tools", "tool_choice", *_LIMITS),
    )
)
"""Keys that decide an answer whoever gives it; others, such as `lora` or `adapter_id`, say who does."""

_PROBE = ({"role": "user", "content": "ok?"},)


def standing_body(settings: Settings, extra: Mapping[str, Any]) -> dict[str, Any]:
    """What every request carries besides its model, messages and seed; greedy when nothing is to be sampled.

    `extra` wins. A key that is None in it is not sent: it stays here, so that nobody puts it back.
    """
    generation, stream = settings.generation, settings.server.stream
    body: dict[str, Any] = {
        "max_tokens": generation.max_new_tokens + generation.max_reasoning_tokens,
        "temperature": 0.0,
        "stream": stream,
    }
    if generation.do_sample:
        body |= {"temperature": generation.temperature, "top_p": generation.top_p}
    if stream:
        body["stream_options"] = {"include_usage": True}
    if settings.model.template_arguments:
        body["chat_template_kwargs"] = dict(settings.model.template_arguments)
    return {**body, **extra}


def request_body(
    standing: Mapping[str, Any], messages: Sequence[Mapping[str, str]], *, system_role: str = "system", **keys: Any
) -> dict[str, Any]:
    """The body of one request: `keys` for what belongs to it alone, below what is `standing`; nothing that is None."""
    said = fold_system(messages) if system_role == "user" else [dict(message) for message in messages]
    body = {**keys, **standing, "messages": said}
    if not body.get("stream"):
        body.pop("stream_options", None)  # servers refuse it where nothing is streamed
    return {key: value for key, value in body.items() if value is not None}


def tool_keys(case: Case, tool_choice: str | None) -> dict[str, Any]:
    """The keys that give a case's tools to the model; none where it has none. `tool_choice` is the settings'."""
    if not case.tools:
        return {}
    choice: Any = case.tool_choice or tool_choice
    if choice is not None and choice not in CHOICES:
        choice = {"type": "function", "function": {"name": choice}}
    return {"tools": [dict(tool) for tool in case.tools], "tool_choice": choice}


def whole_body(standing: Mapping[str, Any]) -> dict[str, Any]:
    """The standing body for answers in one piece."""
    return {**standing, "stream": None if "stream" in standing and standing["stream"] is None else False}


def probe_body(standing: Mapping[str, Any], **keys: Any) -> dict[str, Any]:
    """A request for one token, with everything else as the questions have it, and `keys` of its own."""
    return request_body(with_token_limit(whole_body(standing), 1), _PROBE, **keys)


def with_token_limit(standing: Mapping[str, Any], tokens: int, *, unless: str | None = None) -> dict[str, Any]:
    """The standing body with another limit of tokens, in the keys that hold it.

    Where settings took every limit out, `unless` names the key to use all the same; None leaves it without one.
    """
    used = [key for key in _LIMITS if standing.get(key) is not None]
    if not used:
        taken_out = any(key in standing for key in _LIMITS)
        used = ([unless] if unless else []) if taken_out else ["max_tokens"]
    return {**standing, **dict.fromkeys(used, tokens)}


def unlike(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """The keys by which two standing bodies ask for other answers of the same model."""
    return sorted(key for key in _DECIDING if one.get(key) != other.get(key))
