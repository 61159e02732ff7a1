"""A model in memory, with its adapters, and the switch between its voices."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from pytest_llmbench.core.records import BASE
from pytest_llmbench.models.adapters import Adapter
from pytest_llmbench.models.sources import Source


@dataclasses.dataclass(slots=True)
class LoadedModel:
    """One base in memory, and the adapters that are laid over it without changing it.

    `device` is where prompts go. `footprint` and `estimate` are bytes of weights, measured and predicted; `load_s` is
    what loading took. `hold` is how 4-bit weights lie in memory, None where there are none. `model` is in eval mode and
    needs no gradients. Its variants are `base` and the adapters' names. `template_arguments` and `system_role` say how
    all of them are asked.
    """

    source: Source
    model: Any
    tokenizer: Any
    device: str
    dtype: str
    quantization: str
    footprint: int
    estimate: Mapping[str, int]
    load_s: float = 0.0
    hold: Literal["packed", "dequantized"] | None = None
    adapters: Mapping[str, Adapter] = dataclasses.field(default_factory=dict)
    template_arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    system_role: Literal["system", "user"] = "system"

    @property
    def variants(self) -> tuple[str, ...]:
        """Who can answer; the base comes first."""
        return (BASE, *self.adapters)

    @property
    def end_tokens(self) -> frozenset[int]:
        """What ends an answer whoever gives it: the generation config's tokens, often several."""
        model = self.model.get_base_model() if self.adapters else self.model
        declared = model.generation_config.eos_token_id
        tokens = declared if isinstance(declared, list) else [declared]
        return frozenset(token for token in tokens if token is not None)

    @contextlib.contextmanager
    def speaking_as(self, variant: str) -> Iterator[Any]:
        """Inside the block the model answers as `variant`; the base is the model with all adapters off.

        Nothing is merged and nothing is left behind, whatever the block raises.

        Raises:
            KeyError: there is no such variant.
        """
        if variant != BASE:
            self.model.set_adapter(peft_name(self, variant), inference_mode=True)
            yield self.model
        elif self.adapters:
            with self.model.disable_adapter():
                yield self.model
        else:
            yield self.model


def peft_name(loaded: LoadedModel, variant: str) -> str:
    """What PEFT calls this variant. Users' names may hold dots, or words that PEFT mistakes for its own prefixes.

    Raises:
        KeyError: there is no such variant.
    """
    if variant not in loaded.adapters:
        raise KeyError(variant)
    return f"variant_{list(loaded.adapters).index(variant)}"
