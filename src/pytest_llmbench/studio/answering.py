"""Holds a base with its fine-tune and answers questions, in a process of its own: the studio itself loads no model.

`python -m` it with the settings as JSON. A question a line on standard input, what is answered a line on standard
output, each a JSON object. It ends with its input.
"""

from __future__ import annotations

import functools
import json
import os
import sys
from typing import IO, TYPE_CHECKING, Any

from pytest_llmbench.core.errors import LLMBenchError
from pytest_llmbench.core.records import is_answer

if TYPE_CHECKING:
    from pytest_llmbench.core.settings import Settings
    from pytest_llmbench.generation.backend import Backend

_RECORDED = ("text", "reasoning", "finish", "prompt_tokens", "completion_tokens", "latency_s", "first_token_s", "error")


def main(words: list[str]) -> None:
    """Answer until there is no further question."""
    from pytest_llmbench.core.settings import Settings

    with _own_output() as output:
        try:
            backend = _opened(Settings.model_validate_json(words[0]))
        except LLMBenchError as error:
            _tell(output, "problem", code=error.code, message=str(error), names=error.names)
            return
        _tell(output, "ready", variants=backend.variants)
        try:
            for line in sys.stdin:
                _answer(backend, json.loads(line), output)
        finally:
            backend.close()


def _own_output() -> IO[str]:
    """Standard output for this protocol alone: what libraries print goes to standard error."""
    output = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return output


def _opened(settings: Settings) -> Backend:
    from pytest_llmbench.benchmark.main_job import open_backend

    return open_backend(settings, engines=1)


def _answer(backend: Backend, asked: dict[str, Any], output: IO[str]) -> None:
    from pytest_llmbench.benchmark.query import answering, ask, question

    try:
        case = question(asked["question"], asked["system"])
        for variant in answering(backend.variants, both=True):
            _tell(output, "begin", variant=variant)
            answer = ask(backend, case, variant, functools.partial(_tell_piece, output, variant))
            recorded = {name: getattr(answer, name) for name in _RECORDED}
            answered = is_answer(answer.text, answer.reasoning, answer.finish)
            _tell(output, "answer", variant=variant, **recorded, answered=answered, tokens_per_s=answer.tokens_per_s)
    except LLMBenchError as error:
        _tell(output, "problem", code=error.code, message=str(error), names=error.names)
        return
    _tell(output, "done")


def _tell_piece(output: IO[str], variant: str, text: str) -> None:
    _tell(output, "piece", variant=variant, text=text)


def _tell(output: IO[str], kind: str, **data: Any) -> None:
    output.write(json.dumps({"kind": kind, **data}, ensure_ascii=True) + "\n")
    output.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
