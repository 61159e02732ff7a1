"""What a GGUF file says of itself, and its tokenizer, for engines that run the file: read once and kept."""

from __future__ import annotations

import dataclasses
import json
import logging
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytest_llmbench.core.errors import ModelError, NotReadyError
from pytest_llmbench.core.files import fitting, locked
from pytest_llmbench.core.starter import cache_dir
from pytest_llmbench.models.gguf import check_magic, read_metadata, tokenizer_of
from pytest_llmbench.models.hashing import file_hash

_FACTS = "gguf.json"
_VERSION = 2
"""Part of the folder's name: raise it when what is read changes, and files are read again."""

_log = logging.getLogger("pytest_llmbench")


@dataclasses.dataclass(frozen=True, slots=True)
class GgufFacts:
    """What a GGUF file says of its model.

    `file_type` is how most of its weights are stored, in llama.cpp's words (`Q4_1`), or `type 99` where they are not
    known here; `context` the most tokens of prompt and answer; `rows` how many tokens it has embeddings for.
    """

    architecture: str
    file_type: str
    context: int
    rows: int


def read_gguf(gguf: Path) -> tuple[Path, GgufFacts]:
    """A folder with the file's tokenizer, as transformers loads one, and the facts; made now if they never were.

    Raises:
        ModelError: it is no GGUF file, is damaged, or has a tokenizer that is not known here.
        NotReadyError: the local extra is missing, or the disk is full.
    """
    folder = cache_dir() / "gguf" / f"{gguf.stem}-{file_hash(gguf)[:16]}-v{_VERSION}"
    if not folder.is_dir():
        check_magic(gguf)
        with locked(folder.with_name(f"{folder.name}.lock")):
            if not folder.is_dir():
                _log.info("reading the tokenizer of %s, once", gguf.name)
                _read_into(gguf, folder)
    return folder, GgufFacts(**json.loads((folder / _FACTS).read_text(encoding="utf-8")))


def load_kept_tokenizer(folder: Path) -> Any:
    """The tokenizer of a folder that `read_gguf` made, padding on the left."""
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast.from_pretrained(folder, padding_side="left")


def facts_of(told: Mapping[str, Any], gguf: Path) -> GgufFacts:
    """The facts in a file's metadata.

    Raises:
        ModelError: one is missing.
    """
    try:
        architecture = str(told["general.architecture"])
        return GgufFacts(
            architecture,
            _file_type(told.get("general.file_type")),
            int(told[f"{architecture}.context_length"]),
            len(told["tokenizer.ggml.tokens"]),
        )
    except (KeyError, ValueError) as error:
        raise ModelError(f"{gguf}: it does not say its {error}; download or convert it again") from error


def _file_type(number: int | None) -> str:
    """The name of a number in `general.file_type`; llama.cpp gets new ones before the package gguf names them."""
    from gguf import LlamaFileType

    if number is None:
        return "unknown"
    named: dict[int, str] = {int(one): one.name for one in LlamaFileType}
    return named.get(number, f"type {number}").removeprefix("MOSTLY_").removeprefix("ALL_")


def _read_into(gguf: Path, folder: Path) -> None:
    from pytest_llmbench.models.quiet import quiet_libraries

    told = read_metadata(gguf)
    facts = facts_of(told, gguf)
    with quiet_libraries():
        try:
            tokenizer = tokenizer_of(told, gguf)
        except (ValueError, IndexError, NotImplementedError) as error:
            raise ModelError(f"{gguf}: its tokenizer cannot be read ({error}); is it whole?") from error
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        tokenizer.save_pretrained(temporary)
        (temporary / _FACTS).write_text(json.dumps(dataclasses.asdict(facts)), encoding="utf-8")
        temporary.chmod(0o755)
        temporary.rename(folder)
    except OSError as error:
        remedy = fitting("free some space or set LLMBENCH_CACHE_DIR to another disk", error)
        raise NotReadyError(f"cannot write {folder}: {error}; {remedy}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
