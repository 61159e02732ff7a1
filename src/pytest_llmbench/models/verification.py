"""Checks a loaded pair: the base answers as the raw base, and each LoRA adapter changes something."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pytest_llmbench.core.errors import AdapterError, ModelError
from pytest_llmbench.core.records import BASE
from pytest_llmbench.models.loaded import LoadedModel

if TYPE_CHECKING:
    from torch import Tensor

_PROMPT = "Bonjour ! Ouvre Chrome, puis monte le son."
_TOKENS = 32
"""The least of them: PyTorch's attention on a CPU makes zeros of a query of NaN that sees fewer than 16 keys."""
_SAME = 1e-5
"""Largest gap between equal computations, as a share of the largest logit; it was 0 wherever it was measured."""

_SAMPLES = 256


@dataclasses.dataclass(frozen=True, slots=True)
class Soundness:
    """Largest absolute gaps between logits over a short prompt of `tokens` tokens.

    `base_gap` is between adapters off and the raw base, `adapter_gaps` between each adapter on and off.
    """

    tokens: int
    base_gap: float
    adapter_gaps: Mapping[str, float]


def prove_sound(loaded: LoadedModel) -> Soundness:
    """Compare logits of the base without PEFT's layers, with them switched off, and with each adapter on.

    That the base without PEFT's layers is the very model that was loaded, `attach` has checked by fingerprint.

    Raises:
        ModelError: the base under the adapters is no longer the base that was loaded, or its logits are no numbers.
        AdapterError: an adapter has no effect, so that comparing it would compare the base with itself, or its logits
            are no numbers.
    """
    prompt = _prompt(loaded)
    off = _logits(loaded, BASE, prompt)
    if off.isnan().any():
        raise no_numbers(loaded.source.name, loaded.dtype)
    base_gap = 0.0
    if loaded.adapters:
        with raw_base(loaded.model) as raw:
            base_gap = _gap(off, _forward(raw, prompt))
        if base_gap > _SAME * float(off.abs().max()):
            raise ModelError(
                f"{loaded.source.name} with its adapters off differs from the raw base (logit gap {base_gap:.2g}); "
                "please report this with your versions of peft and bitsandbytes"
            )
    gaps = {}
    for variant, adapter in loaded.adapters.items():
        on = _logits(loaded, variant, prompt)
        if on.isnan().any():
            raise diverged(adapter.path)
        gaps[variant] = _gap(off, on)
        if gaps[variant] == 0:
            raise AdapterError(
                f"{adapter.path} has no effect: with it on, the model answers exactly as its base; "
                "was it saved before it was trained?"
            )
    return Soundness(prompt.shape[1], base_gap, gaps)


def no_numbers(name: str, dtype: str) -> ModelError:
    """What is said of a model whose logits are NaN.

    `dtype` is the type of numbers that it computes in, as `model.compute_dtype` names it, empty where that decides
    nothing.
    """
    told = f"{name} cannot answer, its logits are no numbers (NaN): weights are damaged"
    if dtype not in {"float16", "bfloat16"}:
        return ModelError(f"{told}; fetch the files again")
    return ModelError(
        f"{told}, or too large for {dtype}, which they are computed in; set model.compute_dtype: float32, or fetch the "
        "files again",
        names=("model.compute_dtype",),
    )


def diverged(path: str) -> AdapterError:
    """What is said of an adapter with which the logits are NaN, and without it are not."""
    return AdapterError(
        f"with {path} the model cannot answer, its logits are no numbers (NaN): the training diverged, or the file is "
        "damaged; train the adapter again with a lower learning rate"
    )


@contextlib.contextmanager
def raw_base(model: Any) -> Iterator[Any]:
    """Inside the block, the base without any of PEFT's layers: each is replaced by the layer that it wraps."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    swapped = [(parent, name, layer) for parent in base.modules() for name, layer in parent.named_children()]
    swapped = [(parent, name, layer) for parent, name, layer in swapped if _wrapped(layer) is not layer]
    for parent, name, layer in swapped:
        parent._modules[name] = _wrapped(layer)  # noqa: SLF001  # a setattr would register the module anew, last in order
    try:
        yield base
    finally:
        for parent, name, layer in swapped:
            parent._modules[name] = layer  # noqa: SLF001


def _wrapped(layer: Any) -> Any:
    """What stood in the layer's place before PEFT came."""
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.other import AuxiliaryTrainingWrapper

    while True:
        if isinstance(layer, BaseTunerLayer):
            layer = layer.get_base_layer()
        elif isinstance(layer, AuxiliaryTrainingWrapper):
            layer = layer.original_module
        else:
            return layer


def fingerprint(model: Any) -> str:
    """A hash of where each parameter of the raw base lies, and of a sample of what it holds. Costs milliseconds."""
    digest = hashlib.sha256()
    with raw_base(model) as base:
        for name, parameter in base.named_parameters():
            digest.update(f"{name} {parameter.shape} {parameter.dtype} {parameter.data_ptr()}".encode())
            digest.update(_sample(parameter))
            state = getattr(parameter, "quant_state", None)
            if state is not None:
                digest.update(_sample(state.absmax))
    return digest.hexdigest()


def _sample(tensor: Tensor) -> bytes:
    import torch

    flat = tensor.detach().reshape(-1)
    step = max(1, flat.numel() // _SAMPLES)
    return flat[::step].contiguous().view(torch.uint8).cpu().numpy().tobytes()


def _prompt(loaded: LoadedModel) -> Tensor:
    import torch

    tokens = [*loaded.tokenizer(_PROMPT)["input_ids"], *_trained_tokens(loaded)]
    return torch.tensor([tokens * -(-_TOKENS // len(tokens))], device=loaded.device)


def _trained_tokens(loaded: LoadedModel) -> list[int]:
    """Of each adapter one token whose embedding it trained: it may change nothing else."""
    configs = getattr(loaded.model, "peft_config", {}).values()
    trained = [
        getattr(config, name, None) for config in configs for name in ("token_indices", "trainable_token_indices")
    ]
    lists = [each for found in trained if found for each in (found.values() if isinstance(found, dict) else [found])]
    return [int(each[0]) for each in lists if each]


def _logits(loaded: LoadedModel, variant: str, prompt: Tensor) -> Tensor:
    with loaded.speaking_as(variant) as model:
        return _forward(model, prompt)


def _forward(model: Any, prompt: Tensor) -> Tensor:
    import torch

    with torch.no_grad():
        logits: Tensor = model(input_ids=prompt, use_cache=False).logits
    return logits.float()


def _gap(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().max())
