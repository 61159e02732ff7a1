"""Loading a base model once, quantized as asked."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

from pytest_llmbench.core.errors import ModelError, NotReadyError
from pytest_llmbench.core.locale import N_
from pytest_llmbench.core.machine import available_memory
from pytest_llmbench.models.hashing import weight_files
from pytest_llmbench.models.loaded import LoadedModel
from pytest_llmbench.models.loading_errors import explained, needs_local_extra
from pytest_llmbench.models.memory.architecture import read_architecture
from pytest_llmbench.models.memory.estimate import weights_by_class
from pytest_llmbench.models.memory.weights import GIB, estimate_weights, footprint
from pytest_llmbench.models.quiet import import_bitsandbytes, quiet_libraries
from pytest_llmbench.models.sources import Source
from pytest_llmbench.models.tokenizers import load_tokenizer

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_llmbench.core.settings import ModelSettings


_TOLERATED_EXCESS = 1.15
_PACKED_ROWS = 32  # the shapes that bitsandbytes' AVX512-BF16 kernel asserts
_BLOCK = 64
_BYTES_OF_FLOAT32, _BYTES_OF_HALF = 4, 2

_log = logging.getLogger("pytest_llmbench")

_PROBES = 3


def load_base(source: Source, settings: ModelSettings) -> LoadedModel:
    """Load a base model and its tokenizer, ready to have adapters attached or to answer.

    NF4 is 4 bits with bitsandbytes, fused experts included; embeddings and the output layer stay in the compute dtype.
    Quantized models and CUDA use `compute_dtype`, an unquantized model on the CPU float32. The tokenizer pads on the
    left and has a padding token. Whoever wants to train does so before the first answer: on CPUs with AVX512-BF16
    answering repacks 4-bit weights, and gradients then vanish.

    Raises:
        ModelError: corrupt, incomplete, of an unknown architecture, too large for the memory there is, or with a
            tokenizer whose padding, end or beginning has no embedding.
        NotReadyError: CUDA was asked for and is not there, or a package is missing.
    """
    started = time.perf_counter()
    try:
        device = choose_device(settings.device)
        with quiet_libraries(), explained(source):
            loaded = _load(source, settings, device)
    except ImportError as error:
        raise needs_local_extra(error) from error
    loaded.load_s = time.perf_counter() - started
    _announce_excess(loaded)
    _announce_offloaded(loaded)
    return loaded


def choose_device(asked: str) -> Literal["cpu", "cuda"]:
    """Where a model runs. When `auto` has to fall back to the CPU, that is announced.

    Raises:
        NotReadyError: `cuda` was asked for and PyTorch sees none.
    """
    import torch

    if asked == "cpu":
        return "cpu"
    if torch.cuda.is_available():
        return "cuda"
    if asked == "cuda":
        raise NotReadyError(
            f"model.device is cuda, but PyTorch {torch.__version__} sees no CUDA device; "
            "install a CUDA build of PyTorch and a driver, or set model.device: auto"
        )
    _log.warning(N_("no CUDA device: the model runs on the CPU, which is slower"))
    return "cpu"


def read_config(source: Source, settings: ModelSettings) -> Any:
    """The model's transformers configuration, without its weights.

    Raises:
        OSError, ValueError: as transformers does; see `loading_errors.explained`.
    """
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(source.path, trust_remote_code=settings.trust_remote_code)


def _load(source: Source, settings: ModelSettings, device: str) -> LoadedModel:
    config = read_config(source, settings)
    quantization = _already_quantized(source, config) or settings.quantization
    dtype = "float32" if quantization == "none" and device == "cpu" else settings.compute_dtype
    estimate = _estimate(source, settings, config, quantization=quantization, dtype=dtype)
    if device == "cpu" or isinstance(settings.device_map, str):  # who maps layers by hand may put some elsewhere
        _check_room(source, sum(estimate.values()), device)
    tokenizer = load_tokenizer(source, trust_remote_code=settings.trust_remote_code)
    model = _model(source, settings, config, quantization=quantization, device=device, dtype=dtype)
    model.eval().requires_grad_(requires_grad=False)
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    return LoadedModel(
        source,
        model,
        tokenizer,
        device=str(model.device),
        dtype=dtype,
        quantization=quantization,
        footprint=footprint(model),
        estimate=estimate,
        template_arguments=settings.template_arguments,
        system_role=settings.system_role,
    )


def _already_quantized(source: Source, config: Any) -> str | None:
    """The method of a checkpoint that was published quantized; it can only be loaded as it is."""
    stored = getattr(config, "quantization_config", None)
    if stored is None:
        return None
    method = str(stored["quant_method"] if isinstance(stored, Mapping) else stored.quant_method)
    _log.warning(N_("%s is already quantized (%s); model.quantization is not applied"), source.name, method)
    return method


def _estimate(
    source: Source, settings: ModelSettings, config: Any, *, quantization: str, dtype: str
) -> Mapping[str, int]:
    if quantization not in {"nf4", "int8", "none"}:
        return {"files": sum(path.stat().st_size for path in weight_files(_folder(source)))}
    try:
        architecture = read_architecture(config.to_dict(), source.path)
    except ModelError:  # of another kind: its layers are laid out without weights and counted, which takes longer
        return _counted(config, settings, quantization, dtype)
    stored = _BYTES_OF_FLOAT32 if dtype == "float32" else _BYTES_OF_HALF
    return weights_by_class(architecture, quantization, stored, double_quant=settings.double_quant)


def _counted(config: Any, settings: ModelSettings, quantization: str, dtype: str) -> Mapping[str, int]:
    return estimate_weights(
        config,
        quantization,
        double_quant=settings.double_quant,
        dtype=dtype,
        trust_remote_code=settings.trust_remote_code,
    )


def _folder(source: Source) -> Path:
    from pathlib import Path

    return Path(source.path)


def _check_room(source: Source, needed: int, device: str) -> None:
    """Refuse what cannot fit before it takes the machine down; the kernel kills without a message."""
    import torch

    if device == "cuda":
        free = sum(torch.cuda.mem_get_info(index)[0] for index in range(torch.cuda.device_count()))
    else:
        free = available_memory()
    if needed > free:
        raise ModelError(
            f"{source.name} needs {needed / GIB:.1f} GiB for its weights and {free / GIB:.1f} GiB is free on the "
            f"{device}; use model.quantization: nf4, a smaller model, or free some memory"
        )


def _model(source: Source, settings: ModelSettings, config: Any, *, quantization: str, device: str, dtype: str) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    with contextlib.ExitStack() as stack:
        options: dict[str, Any] = {}
        if quantization in {"nf4", "int8"}:
            import_bitsandbytes()
            options["quantization_config"] = quantization_config(settings)
            stack.enter_context(_experts_too(quantization))
            if device == "cpu":
                stack.enter_context(fastest_threads())
        model, info = AutoModelForCausalLM.from_pretrained(
            source.path,
            config=config,
            dtype=getattr(torch, dtype),
            device_map={"": "cpu"} if device == "cpu" else settings.device_map,
            trust_remote_code=settings.trust_remote_code,
            output_loading_info=True,
            **options,
        )
    if missing := sorted(info["missing_keys"]):
        raise ModelError(
            f"{source.path}: {len(missing)} weights are missing ({missing[0]}, …) and would be random; "
            "fetch or convert the model again"
        )
    _spare_packed_kernel(model)
    return model


def quantization_config(settings: ModelSettings) -> Any:
    """The `BitsAndBytesConfig` of the settings: NF4 with double quantization, or 8 bits."""
    import torch
    from transformers import BitsAndBytesConfig

    if settings.quantization == "int8":
        # On the CPU each layer of each forward would tell that it computes in float16.
        logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_use_double_quant=settings.double_quant,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_compute_dtype=getattr(torch, settings.compute_dtype),
    )


def _experts_too(quantization: str) -> contextlib.AbstractContextManager[None]:
    if quantization != "nf4":
        return contextlib.nullcontext()
    from pytest_llmbench.models.moe_quantization import quantizing_experts

    return quantizing_experts()


def _spare_packed_kernel(model: Any) -> None:
    """Keep layers off bitsandbytes' AVX512-BF16 kernel that it does not serve as asked.

    In unusual shapes an assertion would end the answer, and whatever `compute_dtype` says it computes in bfloat16.
    """
    import torch

    for module in model.modules():
        if getattr(module, "support_avx512bf16_for_cpu", False) and (
            module.out_features % _PACKED_ROWS or module.in_features % _BLOCK or module.compute_dtype != torch.bfloat16
        ):
            module.support_avx512bf16_for_cpu = False


def _announce_excess(loaded: LoadedModel) -> None:
    expected = sum(loaded.estimate.values())
    if loaded.footprint > expected * _TOLERATED_EXCESS:
        _log.warning(
            N_("%s takes %.2f GiB where %.2f GiB was expected for %s; some of its weights were not quantized"),
            loaded.source.name,
            loaded.footprint / GIB,
            expected / GIB,
            loaded.quantization,
        )


def _announce_offloaded(loaded: LoadedModel) -> None:
    """Layers that found no room on a GPU, or were mapped off it: accelerate leaves none of their values in place."""
    weights = list(loaded.model.parameters())
    if off := sum(weight.is_meta for weight in weights):
        _log.warning(
            N_(
                "%s: %d of %d weights lie off the GPU and are brought there in every step, which is much slower; take "
                "model.quantization: nf4, a smaller model, or another model.device_map"
            ),
            loaded.source.name,
            off,
            len(weights),
        )


@contextlib.contextmanager
def fastest_threads() -> Iterator[None]:
    """Inside the block PyTorch uses one thread, where that is faster than all; the number comes back afterwards.

    Threads that wait for each other on busy shared cores lose: quantizing 135M parameters took 32 s on two such cores
    and 6 s on one. The probe is `bucketize`, nearly all of bitsandbytes' quantizing time; it costs some 50 ms.
    """
    import torch

    usual = torch.get_num_threads()
    sample, borders = torch.rand(1 << 20), torch.linspace(0, 1, 16)

    def seconds(threads: int) -> float:
        torch.set_num_threads(threads)
        started = time.perf_counter()
        torch.bucketize(sample, borders)
        return time.perf_counter() - started

    try:
        torch.set_num_threads(min((1, usual), key=lambda threads: sum(seconds(threads) for _ in range(_PROBES))))
        yield
    finally:
        torch.set_num_threads(usual)
