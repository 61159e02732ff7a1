"""The example of `docs/context.md`: a whole context test of a server whose law is known, over HTTP.

usage: python benchmarks/context_example.py [--output docs/images/context.png] [--report-dir FOLDER]

The server takes 8,191 tokens, reads them in 50 ms + n / 6000 s + (n / 8000)² s with 8 % of noise, writes 80 to 45
tokens a second, and finds facts in the middle of long prompts less often. It stands for none that exists: a real one is
asked by `llmbench context`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

from aiohttp import web
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from support.context_server import ContextServer
from support.known_context import KnownContext

from pytest_llmbench.autotune.found_limits import FoundLimits
from pytest_llmbench.autotune.targets import Target
from pytest_llmbench.context.session import ContextTest, context_document
from pytest_llmbench.core.settings import Settings
from pytest_llmbench.reports.renderers.terminal import terminal_lines
from pytest_llmbench.reports.views.context import context_report
from pytest_llmbench.reports.writing.context import write_context

PICTURE = Path(__file__).parents[1] / "docs" / "images" / "context.png"
_WIDTH = 1800  # pixels: a page shows no more
_CODE = re.compile(r"\d{5}")


def law(tokens: int) -> float:
    """Seconds to the first token: the knee is at 10,667 tokens, beyond the context."""
    return 0.05 + tokens / 6000 + (tokens / 8000) ** 2


class Forgetful(ContextServer):
    """Finds a fact the less often, the longer the prompt is and the nearer the fact is to its middle."""

    def __init__(self) -> None:
        self._chance = random.Random(7)  # noqa: S311
        super().__init__(KnownContext(limit=8191, law=law, noise=0.08), announced=8192, scale=1.0)

    def _answer(self, text: str) -> list[str]:
        lines = text.split("\n")
        words = super()._answer(text)
        return ["unknown" if self._forgets(word, lines) else word for word in words]

    async def _say(
        self,
        request: web.Request,
        body: dict[str, Any],  # noqa: ARG002  # the base's
        answer: list[str],
        read: int,
        cached: int = 0,  # noqa: ARG002  # likewise
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for word in answer:
            await response.write(_event({"choices": [{"index": 0, "delta": {"content": f"{word} "}}]}))
            await asyncio.sleep(0.012 + read / 800_000)
        usage = {"prompt_tokens": read, "completion_tokens": len(answer)}
        await response.write(_event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}))
        await response.write(_event({"choices": [], "usage": usage}))
        await response.write(b"data: [DONE]\n\n")
        return response

    def _forgets(self, word: str, lines: list[str]) -> bool:
        if not _CODE.fullmatch(word):
            return False
        depth = next(place for place, line in enumerate(lines) if word in line) / len(lines)
        length = len(" ".join(lines).split()) / self.known.limit
        return self._chance.random() > 0.98 - 0.5 * length * (1 - abs(2 * depth - 1))


def main() -> None:
    """Test the server, show what the terminal would, and draw the picture."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--output", type=Path, default=PICTURE)
    parser.add_argument("--report-dir", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings.model_validate(
            {
                "context": {"languages": "en", "repeats": 2, "answer_tokens": 16, "probes": 40},
                "load": {"latency": 1.5, "quantile": 0.9, "measured": "first_token", "scrape": False},
                "output": {"report_dir": given.report_dir or folder},
            }
        )
        server = Forgetful()
        try:
            session = ContextTest(settings, FoundLimits(), resume=False, tell=_tell)
            found = asyncio.run(session.ask(Target(server.url)))
        finally:
            server.close()
        document = context_document([found], settings, "llmbench context --latency 1.5 --quantile 0.9", "example")
        print("\n".join(terminal_lines(context_report(document, "en"), 110)))
        paths = write_context(document, settings.output)
        given.output.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(paths["png"]) as drawn:
            size = (_WIDTH, round(drawn.height * _WIDTH / drawn.width))
            drawn.convert("RGB").resize(size).save(given.output, optimize=True)


def _event(body: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(body).encode() + b"\n\n"


def _tell(line: str, stays: bool) -> None:  # noqa: FBT001  # as the session tells
    if stays:
        print(line, file=sys.stderr)


if __name__ == "__main__":
    main()
