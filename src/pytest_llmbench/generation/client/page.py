"""A page beside a server's questions, as it was answered."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from pytest_llmbench.generation.client.refusals import Refusal, Sent


@dataclasses.dataclass(frozen=True, slots=True)
class Page:
    """A page as it was answered; `status` is 0 where no answer came. `refused` says why there is none.

    `software` is what the server says of itself in its `Server` header.
    """

    sent: Sent
    status: int
    text: str
    software: str | None = None
    refused: Refusal | None = None

    @property
    def data(self) -> Any:
        """The JSON of a page that was given, None when it is none."""
        if self.refused:
            return None
        try:
            return json.loads(self.text)
        except ValueError:
            return None
