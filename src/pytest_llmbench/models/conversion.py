"""GGUF to safetensors, once: reading GGUF takes tens of CPU seconds, reading safetensors less than two."""

from __future__ import annotations

import contextlib
import copy
import logging
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from pytest_llmbench.core.errors import ModelError, NotReadyError
from pytest_llmbench.core.files import locked
from pytest_llmbench.core.starter import cache_dir
from pytest_llmbench.models.hashing import file_hash

CONVERTER_VERSION = 2
"""Part of the folder's name: raise it when the conversion changes, and old conversions are made again."""

_log = logging.getLogger("pytest_llmbench")


def converted_folder(gguf: Path) -> Path:
    """Where the conversion of these very bytes is, or will be."""
    return cache_dir() / "converted" / f"{gguf.stem}-{file_hash(gguf)[:16]}-v{CONVERTER_VERSION}"


def convert(gguf: Path) -> Path:
    """The folder with the plain fp32 model and tokenizer of a GGUF file, converted now if it never was.

    Several processes may ask at once: one converts, the others wait for it. A folder that exists is complete.

    Raises:
        ModelError: not a GGUF file, or of an architecture that transformers cannot read.
        NotReadyError: the local extra is missing, or the disk is full.
    """
    folder = converted_folder(gguf)
    if folder.is_dir():
        return folder
    _check_magic(gguf)
    with locked(folder.with_name(f"{folder.name}.lock")):
        if not folder.is_dir():
            _log.warning("converting %s to safetensors, once (about 20 s for 135M parameters)", gguf.name)
            _convert_into(gguf, folder)
    return folder


def _check_magic(gguf: Path) -> None:
    with gguf.open("rb") as stream:
        if stream.read(4) != b"GGUF":
            raise ModelError(f"{gguf} is not a GGUF file (wrong first bytes); download it again")


def _convert_into(gguf: Path, folder: Path) -> None:
    for abandoned in folder.parent.glob(f".{folder.name}.*"):  # of a killed process: the lock is ours
        shutil.rmtree(abandoned, ignore_errors=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        _write_plain_model(gguf, temporary)
        temporary.chmod(0o755)
        temporary.rename(folder)
    except OSError as error:
        raise _no_room(folder, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write_plain_model(gguf: Path, folder: Path) -> None:
    """Save as a plain model of the same class: what was read from GGUF refuses to be saved."""
    try:
        import gguf as _  # noqa: F401  # transformers needs it, and says so only deep inside
        import safetensors
        import torch
        from transformers import AutoModelForCausalLM
    except ImportError as error:
        raise _needs_local_extra() from error
    from pytest_llmbench.models.gguf_tokenizers import load_gguf_tokenizer
    from pytest_llmbench.models.quiet import quiet_libraries

    with quiet_libraries(), _no_bar():
        try:
            tokenizer = load_gguf_tokenizer(gguf)  # first: of one that is not known, the weights need not be read
            read = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
        except (ValueError, KeyError, IndexError, NotImplementedError) as error:
            raise ModelError(f"{gguf}: transformers cannot read this GGUF file ({error}); is it whole?") from error
        config = copy.deepcopy(read.config)
        if hasattr(config, "quantization_config"):
            del config.quantization_config
        plain = type(read)(config).to(torch.float32)
        plain.load_state_dict(read.state_dict())
        plain.tie_weights()
        try:
            plain.save_pretrained(folder)
        except safetensors.SafetensorError as error:
            raise _no_room(folder, error) from error
        tokenizer.save_pretrained(folder)


@contextlib.contextmanager
def _no_bar() -> Iterator[None]:
    """Hide the bar that transformers shows for GGUF tensors whatever its own setting says."""
    import functools

    from transformers import modeling_gguf_pytorch_utils as reader

    usual = reader.tqdm
    reader.tqdm = functools.partial(usual, disable=True)
    try:
        yield
    finally:
        reader.tqdm = usual


def _needs_local_extra() -> NotReadyError:
    return NotReadyError("reading GGUF files needs the local extra: pip install 'pytest-llmbench[local]'")


def _no_room(folder: Path, error: Exception) -> NotReadyError:
    return NotReadyError(
        f"cannot write the converted model {folder}: {error}; free some space or set LLMBENCH_CACHE_DIR to another disk"
    )
