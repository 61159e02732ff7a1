"""BFCL's own verdict on answers: reads `{category, questions, answers}` on standard input, writes a list of booleans.

Run in an environment that has `bfcl-eval`, which needs no more than `tree-sitter` for this. Its table of hosted models
is left out, since it imports the client of each: of that the checker only asks whether dots in names become underlines.
"""

from __future__ import annotations

import json
import sys
import types
from typing import Any

MODEL = "fc"


def _checker() -> Any:
    models: Any = types.ModuleType("bfcl_eval.constants.model_config")
    models.MODEL_CONFIG_MAPPING = {MODEL: types.SimpleNamespace(underscore_to_dot=True)}
    sys.modules[models.__name__] = models
    from bfcl_eval.eval_checker.ast_eval import ast_checker

    return ast_checker.ast_checker


def _decoded(answer: Any) -> list[dict[str, Any]] | None:
    """Calls as BFCL's handlers decode them; None where one cannot be read, which they raise an error for."""
    if any(not isinstance(call["arguments"], dict) for call in answer):
        return None
    return [{call["name"]: call["arguments"]} for call in answer]


def main() -> None:
    """Judge each answer as `eval_runner` does."""
    checker = _checker()
    from bfcl_eval.constants.enums import Language

    verdicts: list[Any] = []
    for job in json.load(sys.stdin):
        category, answer = job["category"], _decoded(job["answer"])
        if "relevance" in category:
            called = bool(answer)
            verdicts.append(called is ("irrelevance" not in category))
            continue
        language = next((one for one in Language if category.endswith(f"_{one.value}")), Language.PYTHON)
        if answer is None:
            verdicts.append(False)
            continue
        try:
            result = checker(job["function"], answer, job["ground_truth"], language, category, MODEL)
            verdicts.append(bool(result["valid"]))
        except Exception as error:  # noqa: BLE001  # what crashes the checker has no verdict
            verdicts.append(f"{type(error).__name__}: {error}")
    json.dump(verdicts, sys.stdout)


if __name__ == "__main__":
    main()
