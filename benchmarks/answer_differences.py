"""Why a server's greedy answer is not the local one: other prompt tokens, another end, or two tokens almost tied.

At the first token that differs both sides are asked how much likelier they find their own choice than the other's, in
nats. A rounding error can turn a choice only where the two sums of both are small; how large such errors are with a
server is seen in the tokens before that one, on which the two agree.
"""

from __future__ import annotations

import contextlib
import http.client
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pytest_llmbench.cases.suites import Case
from pytest_llmbench.core.records import Completion
from pytest_llmbench.models.loaded import LoadedModel

TIE = 0.02
"""Nats in which fp32 sums in another order, or a key-value cache in 16 bits, may differ."""

_RUNNERS_UP, _TIMEOUT_S = 8, 120.0


@dataclass(frozen=True)
class Difference:
    """One answer that differs, and what was found out. Gaps are nats by which each side prefers its own token.

    `noise` is the largest difference of log-probability over the tokens before, None where the server tells none.
    `equal_in_fp32` tells that the same server gives the local answer from the same weights in 32 bits.
    """

    case: str
    variant: str
    token: int
    local: str
    served: str
    local_gap: float | None
    served_gap: float | None
    noise: float | None
    prompt_tokens: tuple[int | None, int | None]
    ends: tuple[str, str]
    equal_in_fp32: bool

    @property
    def why(self) -> str:
        """The explanation that the evidence carries."""
        if self.prompt_tokens[0] != self.prompt_tokens[1]:
            return f"other prompt tokens: {self.prompt_tokens[0]} here, {self.prompt_tokens[1]} there"
        if self.equal_in_fp32:
            return "quantized arithmetic: equal from the same weights in fp32"
        if self.local_gap is None:
            return "unexplained"
        both = self.local_gap + (self.served_gap or 0.0)
        if both <= max(TIE, 2 * (self.noise or 0.0)):
            return f"a tie: {both:.3f} nats between the two tokens"
        return "unexplained"

    def to_json(self) -> dict[str, Any]:
        """For the results file."""
        return {**asdict(self), "why": self.why}


@dataclass(frozen=True)
class ServedToken:
    """A token of a server's answer, and the likeliest ones in its place with their log-probabilities."""

    text: str
    log_probability: float
    likeliest: Mapping[str, float]


class Differences:
    """Compares answers with the help of the model that gave the local ones."""

    def __init__(self, loaded: LoadedModel) -> None:
        self._loaded = loaded

    def explain(
        self,
        case: Case,
        local: Completion,
        served: Completion,
        tokens: Sequence[ServedToken],
        *,
        equal_in_fp32: bool,
    ) -> Difference:
        """What is behind two answers that differ; `tokens` are the server's, where it tells them."""
        tokenizer = self._loaded.tokenizer
        ours, theirs = (self._tokens(answer) for answer in (local, served))
        place = next((at for at, (one, other) in enumerate(zip(ours, theirs, strict=False)) if one != other), None)
        known = place is not None
        at = place if place is not None else min(len(ours), len(theirs))
        gap, before = self._gaps(case, local.variant, ours, theirs, at) if known else (None, [])
        shown = [tokenizer.decode(side[at : at + 1]) for side in (ours, theirs)]
        told = tokens[at] if known and at < len(tokens) else None
        return Difference(
            *(case.name, local.variant, at, shown[0], shown[1], gap),
            served_gap=_served_gap(told, shown[0]),
            noise=max((abs(a - b.log_probability) for a, b in zip(before, tokens[:at], strict=False)), default=None),
            prompt_tokens=(local.prompt_tokens, served.prompt_tokens),
            ends=(local.finish, served.finish),
            equal_in_fp32=equal_in_fp32,
        )

    def _tokens(self, answer: Completion) -> list[int]:
        """The answer's tokens; one that stopped by itself has its end among them."""
        tokenizer = self._loaded.tokenizer
        tokens: list[int] = tokenizer(answer.text, add_special_tokens=False)["input_ids"]
        return [*tokens, tokenizer.eos_token_id] if answer.finish == "stop" else tokens

    def _gaps(
        self, case: Case, variant: str, ours: Sequence[int], theirs: Sequence[int], at: int
    ) -> tuple[float, list[float]]:
        """How much likelier the local model finds its own token, and the log-probability of each token before."""
        import torch

        tokenizer = self._loaded.tokenizer
        messages = [dict(message) for message in case.messages]
        text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        prompt = tokenizer(text, add_special_tokens=False)["input_ids"]
        with torch.inference_mode(), self._loaded.speaking_as(variant) as model:
            logits = model(input_ids=torch.tensor([[*prompt, *ours[:at]]])).logits[0, len(prompt) - 1 :]
        likelihood = logits.float().log_softmax(-1)
        before = likelihood[:at].gather(-1, torch.tensor(list(ours[:at]), dtype=torch.long)[:, None])[:, 0].tolist()
        return float(likelihood[at, ours[at]] - likelihood[at, theirs[at]]), before


def served_tokens(url: str, body: Mapping[str, Any], key: str) -> list[ServedToken]:
    """The tokens of the answer to `body` by a server that tells them; none from one that does not.

    Raises:
        OSError: it does not answer.
    """
    asked = {**body, "stream": False, "logprobs": True, "top_logprobs": _RUNNERS_UP}
    asked.pop("stream_options", None)
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
    with contextlib.closing(http.client.HTTPConnection(url.removeprefix("http://"), timeout=_TIMEOUT_S)) as connection:
        connection.request("POST", "/v1/chat/completions", json.dumps(asked), headers)
        told = json.load(connection.getresponse())["choices"][0].get("logprobs") or {}
    return [
        ServedToken(one["token"], one["logprob"], {other["token"]: other["logprob"] for other in one["top_logprobs"]})
        for one in told.get("content") or ()
    ]


def _served_gap(told: ServedToken | None, local: str) -> float | None:
    """How much likelier the server found its own token than the local one, where it told of both."""
    if told is None or local not in told.likeliest:
        return None
    return told.log_probability - told.likeliest[local]
