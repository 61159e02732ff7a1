"""What the libraries below raise while a model loads, as one sentence that says what to do."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from pytest_llmbench.core.errors import ModelError, NotReadyError
from pytest_llmbench.models.gguf import converted_folder
from pytest_llmbench.models.sources import Location, Source

_OUT_OF_MEMORY = ("out of memory", "not enough memory", "allocate memory", "cublas_status_alloc_failed")
"""CUDA has an error of its own for it; the CPU's allocator, CUDA's driver and cuBLAS tell only in words."""
_NO_ROOM_ON_GPU = "dispatched on the cpu or the disk"


def needs_local_extra(error: ImportError) -> NotReadyError:
    """A package that loading needs is not installed."""
    return NotReadyError(f"{error.name or error} is not installed; pip install 'pytest-llmbench[local]'")


def is_out_of_memory(error: Exception) -> bool:
    """Whether PyTorch, or Python, raised it for want of memory."""
    import torch

    told = isinstance(error, RuntimeError) and any(words in str(error).casefold() for words in _OUT_OF_MEMORY)
    return told or isinstance(error, torch.OutOfMemoryError | MemoryError)


@contextlib.contextmanager
def fitting(source: Source) -> Iterator[None]:
    """Turn memory that runs out inside the block, once the weights are there, into a ModelError about `source`."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise _too_large(f"{source.name} ({source.path})") from error


@contextlib.contextmanager
def explained(source: Source | Location) -> Iterator[None]:
    """Turn what transformers, safetensors and PyTorch raise inside the block into a ModelError about `source`.

    Raises:
        ModelError: corrupt or missing files, an unknown architecture, code that is not trusted, or too little memory.
        NotReadyError: a package is missing.
    """
    import safetensors
    import torch

    where = f"{source.name} ({source.path if isinstance(source, Source) else source.place})"
    try:
        yield
    except safetensors.SafetensorError as error:
        raise ModelError(f"{where}: a safetensors file is corrupt ({error}); {_again(source)}") from error
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise _too_large(where) from error
    except ImportError as error:
        raise needs_local_extra(error) from error
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise _translated(where, source, str(error)) from error


def _translated(where: str, source: Source | Location, message: str) -> ModelError:
    lowered = message.casefold()
    if "trust_remote_code" in lowered:
        return ModelError(
            f"{where} runs code of its own; read that code, and if you trust it set model.trust_remote_code: true"
        )
    if "does not recognize this architecture" in lowered:
        return ModelError(f"{where}: the installed transformers does not know this architecture; upgrade transformers")
    if any(phrase in lowered for phrase in (*_OUT_OF_MEMORY, _NO_ROOM_ON_GPU)):
        return _too_large(where)
    first = message.strip().splitlines()[0] if message.strip() else "no reason given"
    return ModelError(f"{where} cannot be loaded: {first}; {_again(source)}")


def _too_large(where: str) -> ModelError:
    return ModelError(
        f"{where} does not fit in memory; use model.quantization: nf4, a smaller model, more GPUs (model.device_map), "
        "or free some memory"
    )


def _again(source: Source | Location) -> str:
    origin = source.origin if isinstance(source, Source) else source.place
    match source.kind:
        case "gguf":
            return f"delete {converted_folder(Path(origin))} and it is converted again"
        case "hub":
            return f"delete its folder in the hub cache and fetch it again: hf download {origin}"
        case _:
            return "copy or download the folder again"
