"""Laying adapters over a loaded base, without touching it."""

from __future__ import annotations

import importlib.util
import pickle
from collections.abc import Mapping
from typing import Any

from pytest_llmbench.core.errors import AdapterError, ModelError
from pytest_llmbench.core.records import BASE
from pytest_llmbench.models.adapter_kinds import AS_MODELS
from pytest_llmbench.models.adapters import Adapter
from pytest_llmbench.models.loaded import LoadedModel, peft_name
from pytest_llmbench.models.loading_errors import needs_local_extra
from pytest_llmbench.models.quiet import import_bitsandbytes, quiet_libraries
from pytest_llmbench.models.verification import fingerprint


def attach(loaded: LoadedModel, adapters: Mapping[str, Adapter]) -> None:
    """Wrap the base with PEFT, once, for all adapters; the keys become variants. Nothing is merged.

    This must come before the first answer. On CPUs with AVX512-BF16 that answer repacks 4-bit weights, and what
    wrapping does then loses precision: the base would no longer answer as itself. After an AdapterError the model is
    half wrapped and must be loaded again.

    Raises:
        AdapterError: an adapter cannot be read, its weights do not belong on this base, or loading it changed the base.
        ModelError: some of the base's weights found no room on the GPU.
        ValueError: adapters are attached already, the model has answered already, or one is named `base`.
    """
    if loaded.adapters or BASE in adapters or _is_repacked(loaded.model):
        raise ValueError("attach all adapters at once, before the first answer, and name none of them 'base'")
    if not adapters:
        return
    if off := [name for name, weight in loaded.model.named_parameters() if weight.is_meta]:
        raise ModelError(
            f"{loaded.source.name}: {len(off)} of its weights ({off[0]}, …) lie off the GPU, where PEFT cannot lay an "
            "adapter over them; use model.quantization: nf4, a smaller model, more GPUs (model.device_map), or free "
            "some memory"
        )
    loaded.adapters = dict(adapters)
    with quiet_libraries():
        if importlib.util.find_spec("bitsandbytes"):
            import_bitsandbytes()
        before = fingerprint(loaded.model)
        for variant, adapter in adapters.items():
            _load(loaded, peft_name(loaded, variant), adapter)
            if fingerprint(loaded.model) != before:
                raise AdapterError(_changed(adapter, loaded.source.name))
    loaded.model.eval().requires_grad_(requires_grad=False)


def _changed(adapter: Adapter, base: str) -> str:
    return (
        f"adapter {adapter.path} ({adapter.kind}) changes the weights of {base} when it is loaded, so that the base "
        f"would no longer answer as itself; train one that leaves them, {AS_MODELS}"
    )


def _is_repacked(model: Any) -> bool:
    states = (getattr(module, "quant_state", None) for module in model.modules())
    return any(getattr(state, "packing_format_for_cpu", False) for state in states)


def _load(loaded: LoadedModel, name: str, adapter: Adapter) -> None:
    try:
        import safetensors
        from peft import PeftConfig, PeftModelForCausalLM
    except ImportError as error:
        raise needs_local_extra(error) from error
    try:
        config = PeftConfig.from_pretrained(adapter.path)
        config.inference_mode = True
        if isinstance(loaded.model, PeftModelForCausalLM):
            loaded.model.add_adapter(name, config)
        else:
            loaded.model = PeftModelForCausalLM(loaded.model, config, adapter_name=name)
        # PEFT reads .bin with weights_only, so that no code in it runs.
        result = loaded.model.load_adapter(adapter.path, name, torch_device="cpu")
    except pickle.UnpicklingError as error:
        message = (
            f"{adapter.path}: {adapter.weights_file} holds more than weights and is not trusted; save it as safetensors"
        )
        raise AdapterError(message) from error
    except safetensors.SafetensorError as error:
        raise AdapterError(f"{adapter.path}: corrupt ({error}); train or copy the adapter again") from error
    except (RuntimeError, ValueError, KeyError, TypeError, OSError) as error:
        told = f"{adapter.path} does not fit {loaded.source.name}{_others(loaded, name)}: {_gist(str(error))}"
        raise AdapterError(told) from error
    named = sorted(getattr(config, "target_parameters", None) or ())
    if named and not result.unexpected_keys and set(result.missing_keys) == _of_parameters(loaded.model, name):
        raise AdapterError(
            f"{adapter.path}: its adapter_config.json names target_parameters ({', '.join(named)}), and it "
            f"has no weights of them ({result.missing_keys[0]}, …), as PEFT leaves a training with all-linear over "
            "4-bit experts; take those out there, or have the base as it was trained (model.hold: packed)"
        )
    if strays := [*result.missing_keys, *result.unexpected_keys]:
        message = f"{len(strays)} weights have no counterpart ({strays[0]}, …); it was made for another architecture"
        raise AdapterError(f"{adapter.path} does not fit {loaded.source.name}: {message}")


def _of_parameters(model: Any, name: str) -> set[str]:
    """The weights of an adapter that PEFT lays over parameters, as over fused experts, and not over layers."""
    from peft.tuners.lora.layer import ParamWrapper

    over = [path for path, module in model.named_modules() if isinstance(module, ParamWrapper)]
    mine = (path for path, _ in model.named_parameters() if f".{name}." in path)
    return {path for path in mine if any(path.startswith(f"{one}.lora_") for one in over)}


def _others(loaded: LoadedModel, name: str) -> str:
    """That other adapters are there already: PEFT cannot hold every kind beside another."""
    there = getattr(loaded.model, "peft_config", {}).keys() - {name}
    return " beside the adapters before it (it may alone: compare one at a time)" if there else ""


def _gist(message: str) -> str:
    """The line of PyTorch's or PEFT's message that says what is wrong."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    return next((line for line in lines if line.startswith("size mismatch")), lines[0] if lines else "no reason given")
