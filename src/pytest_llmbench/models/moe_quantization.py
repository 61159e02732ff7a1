"""4-bit weights for fused mixture-of-experts, which transformers would leave in 16 bits without a word.

transformers 5 keeps all experts of a layer in one 3-D parameter (experts, out, in), and bitsandbytes converts
`nn.Linear` only. Inside `quantizing_experts`, such a parameter is quantized the moment its experts have been read and
stacked, so that the peak above the finished model is one layer's experts in 16 bits (1.2 GB for Qwen3-30B-A3B), not
the whole model. Each forward expands one layer's experts to 16 bits again and drops them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from bitsandbytes import functional
from bitsandbytes.nn import parametrize
from torch.nn.utils.parametrize import register_parametrization
from transformers.core_model_loading import ConversionOps
from transformers.quantizers import auto
from transformers.quantizers.quantizer_bnb_4bit import Bnb4BitHfQuantizer
from transformers.quantizers.quantizers_utils import get_module_from_name

from pytest_llmbench.models.memory.weights import is_fused_experts

_NAME = "bitsandbytes_4bit"


@contextlib.contextmanager
def quantizing_experts() -> Iterator[None]:
    """Inside the block, `from_pretrained` with a 4-bit `BitsAndBytesConfig` quantizes fused experts too."""
    usual = auto.AUTO_QUANTIZER_MAPPING[_NAME]
    auto.AUTO_QUANTIZER_MAPPING[_NAME] = _ExpertQuantizer
    try:
        yield
    finally:
        auto.AUTO_QUANTIZER_MAPPING[_NAME] = usual


class _ExpertQuantizer(Bnb4BitHfQuantizer):  # type: ignore[misc]  # transformers is not typed
    """The 4-bit quantizer of transformers, which also knows fused experts."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.states: dict[str, functional.QuantState] = {}

    def param_needs_quantization(self, model: Any, param_name: str, **kwargs: Any) -> bool:
        if super().param_needs_quantization(model, param_name, **kwargs):
            return True
        module, name = get_module_from_name(model, param_name)
        parameter = module._parameters.get(name)  # noqa: SLF001  # a buffer or an extra state has no entry there
        return parameter is not None and is_fused_experts(module, parameter)

    def get_quantize_ops(self) -> ConversionOps:
        return _QuantizeEither(self, super().get_quantize_ops())

    def _process_model_after_weight_loading(self, model: Any, **kwargs: Any) -> Any:
        for name, state in self.states.items():
            module, parameter = get_module_from_name(model, name)
            expansion = parametrize.Bnb4bitParametrization(state)
            register_parametrization(module, parameter, expansion, unsafe=True)
            parametrize._register_parametrization_hooks(module, parameter)  # noqa: SLF001  # one expansion a forward
        return super()._process_model_after_weight_loading(model, **kwargs)


class _QuantizeEither(ConversionOps):  # type: ignore[misc]  # transformers is not typed
    """Quantizes the weight of a linear layer as usual, and fused experts into a packed parameter and its state."""

    def __init__(self, quantizer: _ExpertQuantizer, usual: ConversionOps) -> None:
        self.quantizer = quantizer
        self.usual = usual

    def convert(self, input_dict: dict[str, Any], model: Any = None, **kwargs: Any) -> dict[str, Any]:
        packed: dict[str, Any] = {}
        for name, value in input_dict.items():
            module, parameter = get_module_from_name(model, name)
            if is_fused_experts(module, getattr(module, parameter)):
                packed[name] = self._pack(name, value[0] if isinstance(value, list) else value)
            else:
                packed |= self.usual.convert({name: value}, model=model, **kwargs)
        return packed

    def _pack(self, name: str, experts: torch.Tensor) -> torch.nn.Parameter:
        config = self.quantizer.quantization_config
        data, self.quantizer.states[name] = functional.quantize_4bit(
            experts,
            compress_statistics=config.bnb_4bit_use_double_quant,
            quant_type=config.bnb_4bit_quant_type,
        )
        return torch.nn.Parameter(data, requires_grad=False)
