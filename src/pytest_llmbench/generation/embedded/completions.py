"""Questions to llama.cpp's own `/completion`, as tokens: several threads ask, and each answer grows token by token."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pytest_llmbench.core.errors import ModelError, NotReadyError
from pytest_llmbench.generation.sampling import Sampling

if TYPE_CHECKING:
    from pytest_llmbench.core.settings import GenerationSettings
    from pytest_llmbench.generation.embedded.llamacpp import EmbeddedServer
    from pytest_llmbench.generation.rows import Limits, Row

_SEED_BITS = 2**31 - 1
"""llama.cpp takes 32 bits, of which all ones mean any seed."""
_LIKELIEST = 1000
_LONGEST_PROMPT_S = 600.0
"""Added to an answer's time: before its first token a prompt may wait for those of others."""
_JSON = {"Content-Type": "application/json"}

_DYING_S = 5.0

Grown = Callable[[Sequence[int]], bool]
"""Handed the tokens of an answer as it grows; False gives the answer up."""


class Completions:
    """One llama.cpp server that is asked by several threads.

    Nothing of an earlier prompt is reused, so that no answer depends on what was asked before it. An answer that
    llama.cpp ends itself, with its end token or its last one, says which adapters it was made with, which is checked.

    Args:
        server: llama.cpp, ready.
        settings: how answers are sampled.
        most_tokens: that an answer may have, thinking included.
    """

    def __init__(self, server: EmbeddedServer, settings: GenerationSettings, most_tokens: int) -> None:
        self._server = server
        self._timeout_s = settings.timeout + _LONGEST_PROMPT_S
        self._standing = {**_sampling(settings), "n_predict": most_tokens, "cache_prompt": False}
        self._most_tokens = most_tokens
        self._failures: dict[int, str] = {}
        self._open, self._lock = 0, threading.Lock()

    def grow(self, row: Row, limits: Limits, scales: Sequence[float], grown: Grown) -> Row:
        """Answer the row's prompt until it ends, and hand it back. `scales` are the adapters', in their order.

        A prompt that llama.cpp refuses is an answer that failed: `why_failed` says why.

        Raises:
            NotReadyError: llama.cpp ended.
            ModelError: the answer was made with other adapters than were asked for.
        """
        body = {
            **self._standing,
            "prompt": list(row.prompt),
            "lora": _lora(scales),
            "seed": row.noise_key & _SEED_BITS,
            "return_tokens": True,
            "stream": True,
        }
        with self._one_more(), contextlib.closing(self._events(body, row)) as events:
            started = last = time.monotonic()
            for event in events:
                now = time.monotonic()
                share, last = (now - last) / self._open, now
                ended = _extend(row, event, limits, now - started, share)
                if not grown(row.tokens) or (ended and row.made < self._most_tokens):
                    break  # at its last token llama.cpp ends by itself, and says with what it answered
                if event.get("stop"):
                    _end(row, event, scales)
        return row

    def likeliest(self, prompt: Sequence[int], scales: Sequence[float]) -> dict[int, float]:
        """The log-probabilities of the likeliest first tokens of an answer; NaN where they are no numbers.

        Raises:
            NotReadyError: llama.cpp ended, or did not answer.
        """
        asked = {"prompt": list(prompt), "n_predict": 1, "temperature": 0, "n_probs": _LIKELIEST, "lora": _lora(scales)}
        try:
            with self._reply({**asked, "cache_prompt": False}) as reply:
                told = json.load(reply)
        except (_RefusedError, TimeoutError) as error:
            raise NotReadyError(f"llama.cpp did not answer a first question: {error}") from error
        first = told["completion_probabilities"][0]["top_logprobs"]
        return {int(one["id"]): float("nan" if one["logprob"] is None else one["logprob"]) for one in first}

    def why_failed(self, row: Row) -> str:
        """Why the row has no answer."""
        return self._failures.pop(id(row), "llama.cpp ended the answer without a reason")

    @contextlib.contextmanager
    def _one_more(self) -> Iterator[None]:
        with self._lock:
            self._open += 1
        try:
            yield
        finally:
            with self._lock:
                self._open -= 1

    def _events(self, body: Mapping[str, Any], row: Row) -> Generator[Mapping[str, Any]]:
        """What the server says of an answer, event by event; empty where it refuses the prompt."""
        try:
            with self._reply(body) as reply:
                for line in reply:
                    _, _, data = line.partition(b":")
                    if data.strip():
                        event = json.loads(data)
                        if problem := event.get("error"):
                            self._failures[id(row)] = _said(problem)
                            return
                        yield event
        except _RefusedError as error:
            self._failures[id(row)] = str(error)
        except TimeoutError:
            row.finish = "timeout"

    @contextlib.contextmanager
    def _reply(self, body: Mapping[str, Any]) -> Iterator[http.client.HTTPResponse]:
        connection = http.client.HTTPConnection(self._server.url.removeprefix("http://"), timeout=self._timeout_s)
        try:
            connection.request("POST", "/completion", json.dumps(body), _JSON)
            reply = connection.getresponse()
            if reply.status != http.client.OK:
                raise _RefusedError(_said(json.loads(reply.read() or b"{}").get("error", {})))
            with reply:
                yield reply
        except (ConnectionError, http.client.HTTPException) as error:
            why = self._server.why_gone(_DYING_S) or f"it closed the connection ({error})"
            raise NotReadyError(
                f"llama.cpp ended while it answered: {why}; start again, a run that is kept can be resumed"
            ) from error
        finally:
            connection.close()


class _RefusedError(Exception):
    """The server's own words on a request that it does not take."""


def _extend(row: Row, event: Mapping[str, Any], limits: Limits, now: float, share: float) -> bool:
    """Add an event's tokens; True when the answer ends with one of them. The share of time is the event's."""
    for place, token in enumerate(event.get("tokens", ())):
        if limits.extend(row, token, now, 0.0 if place else share):
            return True
    return False


def _end(row: Row, event: Mapping[str, Any], scales: Sequence[float]) -> None:
    """Take the end from the last event, unless the answer has one. Raises ModelError where other adapters were on."""
    if row.finish is None:
        row.made = int(event["tokens_predicted"])
        row.finish = "length" if event["stop_type"] == "limit" else "stop"
    applied = [float(one["scale"]) for one in event["generation_settings"]["lora"]]
    if applied != list(scales):
        raise ModelError(
            f"llama.cpp answered with its adapters at {applied}, not at {list(scales)} as asked; please report "
            "this with your version of xllamacpp"
        )


def _sampling(settings: GenerationSettings) -> dict[str, Any]:
    """Temperature and nucleus in that order, as the other engines have it, and nothing else."""
    if Sampling(settings.temperature, settings.top_p, settings.do_sample).greedy:
        return {"temperature": 0.0, "samplers": ["temperature"]}
    return {"temperature": settings.temperature, "top_p": settings.top_p, "samplers": ["temperature", "top_p"]}


def _lora(scales: Sequence[float]) -> list[dict[str, float]]:
    return [{"id": number, "scale": scale} for number, scale in enumerate(scales)]


def _said(problem: Mapping[str, Any]) -> str:
    return f"llama.cpp: {problem.get('message') or problem}"
