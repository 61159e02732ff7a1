"""GGUF to safetensors, once, and the tokenizer inside a GGUF file, so that a text has the same tokens here and there.

Reading GGUF takes tens of CPU seconds, reading safetensors less than two. A GGUF has no `tokenizer.json`. It holds
tokens, merges and the *name* of the way to cut text before merging (`tokenizer.ggml.pre`). transformers 5.23 knows some
of these names and cuts as GPT-2 does for all others.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import functools
import logging
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llmbench.core.errors import ModelError, NotReadyError
from pytest_llmbench.core.files import fitting, locked
from pytest_llmbench.core.locale import N_
from pytest_llmbench.core.starter import cache_dir
from pytest_llmbench.models.hashing import file_hash

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast


_CUTS = Path(__file__).with_name("gguf_cuts.yaml")
_UNKNOWN, _CONTROL, _USER_DEFINED = 2, 3, 4  # the token types of GGUF that llama.cpp finds whole in a text
_NEVER_STRIPPING = ("<unk>", "<s>", "<|endoftext|>")
_SPACE = "\u2581"
_NAMED_TOKENS: Mapping[str, str] = {
    "bos_token": "tokenizer.ggml.bos_token_id",
    "eos_token": "tokenizer.ggml.eos_token_id",
    "unk_token": "tokenizer.ggml.unknown_token_id",
    "pad_token": "tokenizer.ggml.padding_token_id",
}
_SCALES = ("rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight")
_SCALED_BY_TRANSFORMERS = ("gpt-oss", "gemma4")  # the first is read, the second always scaled alike

_log = logging.getLogger("pytest_llmbench")

_CONVERTER_VERSION = 3
"""Part of the folder's name: raise it when the conversion changes, and old conversions are made again."""


@dataclasses.dataclass(frozen=True, slots=True)
class Cut:
    """How text is cut before merging: by each expression in turn, what it matches and what stands between.

    `ignore_merges`: a piece that is itself a token is taken whole. `add_bos`: the beginning-of-text token is added
    where the file does not say.
    """

    split: tuple[str, ...]
    ignore_merges: bool = False
    add_bos: bool = False


def load_gguf_tokenizer(gguf: Path) -> Any:
    """The tokenizer that a GGUF file describes, as llama.cpp reads it.

    Raises:
        ModelError: its text is cut in a way that is not known here, so that its tokens could be others, or it is
            damaged.
        ValueError: as transformers does for kinds that it cannot read.
    """
    return tokenizer_of(read_metadata(gguf), gguf)


def tokenizer_of(told: Mapping[str, Any], gguf: Path) -> Any:
    """As `load_gguf_tokenizer`, of a file whose metadata was read already. Raises what it raises."""
    kinds = {"gpt2": _byte_level, "llama": _sentencepiece}
    read = kinds.get(told.get("tokenizer.ggml.model", ""))
    try:
        return read(told, gguf) if read else _as_transformers_reads(gguf)
    except KeyError as error:
        raise ModelError(f"{gguf}: it has no {error}, so its tokenizer cannot be read; download it again") from error


def cut_named(name: str | None, gguf: Path) -> Cut:
    """The cut of that name, a `tokenizer.ggml.pre`; without one the default, which is announced.

    Raises:
        ModelError: an unknown name. Any other cut would give other tokens without a word, at each later use too.
    """
    if name is None:
        _log.warning(
            N_(
                "%s does not say how its tokenizer cuts text (tokenizer.ggml.pre), as old files do not: it is cut as "
                "llama.cpp cuts it, which may not be how the model learnt it; a newer conversion of the model says it"
            ),
            gguf.name,
        )
        return _cuts()["default"]
    if name not in _cuts():
        raise ModelError(
            f"{gguf}: its tokenizer cuts text as {name!r} (tokenizer.ggml.pre), which is not known here, so that the "
            "model would read other tokens than it learnt; give the model's own folder or hub id instead"
        )
    return _cuts()[name]


@functools.cache
def _cuts() -> Mapping[str, Cut]:
    from pytest_llmbench.core.documents import read_yaml

    entries = read_yaml(_CUTS).data
    return {name: _cut(entry) for entry in entries for name in entry["names"]}


def _cut(entry: Mapping[str, Any]) -> Cut:
    flags = {key: entry[key] for key in ("ignore_merges", "add_bos") if key in entry}
    return Cut(tuple(entry["split"]), **flags)


def read_metadata(gguf: Path) -> dict[str, Any]:
    """All that a GGUF file says about itself, its tokens included; 5 s for 50,000 of them.

    Raises:
        NotReadyError: the package gguf is missing.
        ModelError: it is not a GGUF file, or was cut short.
    """
    return _read(gguf)[0]


def _read(gguf: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a GGUF file says about itself, and its tensors by name. Raises what `read_metadata` does."""
    try:
        from gguf import GGUFReader
    except ImportError as error:
        raise _needs_local_extra() from error
    check_magic(gguf)
    try:
        reader = GGUFReader(gguf)
        told = {name: field.contents() for name, field in reader.fields.items()}
    except (ValueError, LookupError) as error:  # the reader goes by lengths and numbers without a look at them
        raise ModelError(
            f"{gguf}: it is damaged ({error}); download it again (or, if it is whole, newer than the installed gguf: "
            "pip install -U gguf)"
        ) from error
    return told, {tensor.name: tensor.data for tensor in reader.tensors}


def _byte_level(told: Mapping[str, Any], gguf: Path) -> PreTrainedTokenizerFast:
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

    cut = cut_named(told.get("tokenizer.ggml.pre"), gguf)
    tokens: list[str] = told["tokenizer.ggml.tokens"]
    vocabulary = {token or f"[EMPTY_{number}]": number for number, token in enumerate(tokens)}
    merges = [_pair(merge) for merge in told["tokenizer.ggml.merges"]]
    known = all({one, other, one + other} <= vocabulary.keys() for one, other in merges)
    if len(vocabulary) < len(tokens) or not known:
        raise ModelError(f"{gguf}: its tokenizer has a token twice, or merges into what is no token; download it again")
    made = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, ignore_merges=cut.ignore_merges))
    pieces: list[Any] = [pre_tokenizers.Split(Regex(expression), "isolated") for expression in cut.split]
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [*pieces, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    made.decoder = decoders.ByteLevel()
    return _finished(made, told, add_bos=cut.add_bos)


def _pair(merge: str) -> tuple[str, str]:
    at = merge.index(" ", 1)
    return merge[:at], merge[at + 1 :]


def _sentencepiece(told: Mapping[str, Any], gguf: Path) -> PreTrainedTokenizerFast:
    """The merges are worked out by transformers. A space is put before each stretch of text between special tokens."""
    from tokenizers import Tokenizer, decoders, normalizers

    prefix = told.get("tokenizer.ggml.add_space_prefix", True)
    made = Tokenizer(_as_transformers_reads(gguf).backend_tokenizer.model)
    made.normalizer = normalizers.Sequence(
        [*([normalizers.Prepend(_SPACE)] if prefix else []), normalizers.Replace(" ", _SPACE)]
    )
    made.decoder = decoders.Sequence(
        [
            *(decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse()),
            *([decoders.Strip(" ", 1, 0)] if prefix else []),
        ]
    )
    return _finished(made, told, add_bos=True)


def _as_transformers_reads(gguf: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)


def _finished(made: Tokenizer, told: Mapping[str, Any], *, add_bos: bool) -> PreTrainedTokenizerFast:
    from transformers import PreTrainedTokenizerFast

    tokens: list[str] = told["tokenizer.ggml.tokens"]
    _add_whole_tokens(made, told)
    named = {name: tokens[told[key]] for name, key in _NAMED_TOKENS.items() if told.get(key, len(tokens)) < len(tokens)}
    _add_ends(made, named, told, add_bos=add_bos)
    all_four = {name: named.get(name) for name in _NAMED_TOKENS}  # transformers makes up those that are not given
    return PreTrainedTokenizerFast(tokenizer_object=made, chat_template=_chat_template(told), **all_four)


def _chat_template(told: Mapping[str, Any]) -> str | dict[str, str] | None:
    """The chat template of a file, or by name where it has one for tools beside it, as transformers has several."""
    template: str | None = told.get("tokenizer.chat_template")
    for_tools = told.get("tokenizer.chat_template.tool_use")
    return {"default": template, "tool_use": for_tools} if template and for_tools else template


def _add_whole_tokens(made: Tokenizer, told: Mapping[str, Any]) -> None:
    """Add what is found whole in a text. The token types of GGUF say which; blanks behind them, llama.cpp by name."""
    from tokenizers import AddedToken

    strips = any(name in told.get("general.name", "").casefold() for name in ("phi-3", "phi3"))
    types = told.get("tokenizer.ggml.token_type", ())
    for number, (token, kind) in enumerate(zip(told["tokenizer.ggml.tokens"], types, strict=False)):
        if kind not in {_UNKNOWN, _CONTROL, _USER_DEFINED} or made.token_to_id(token) != number:
            continue  # Gemma's runs of blanks are spelled otherwise in the vocabulary, and found there
        special = kind != _USER_DEFINED
        rstrip = strips and token not in _NEVER_STRIPPING
        added = AddedToken(token, special=special, normalized=False, rstrip=rstrip)
        (made.add_special_tokens if special else made.add_tokens)([added])


def _add_ends(made: Tokenizer, named: Mapping[str, str], told: Mapping[str, Any], *, add_bos: bool) -> None:
    """Have the tokenizer add the beginning and the end of a text where the file, or its kind, says so."""
    from tokenizers import processors

    begins = told.get("tokenizer.ggml.add_bos_token", add_bos) and "bos_token" in named
    ends = told.get("tokenizer.ggml.add_eos_token", False) and "eos_token" in named
    before = [named["bos_token"]] if begins else []
    after = [named["eos_token"]] if ends else []
    made.post_processor = processors.TemplateProcessing(
        single=[*before, "$A", *after],
        pair=[*before, "$A", *after, "$B:1"],
        special_tokens=[(token, made.token_to_id(token)) for token in {*before, *after}],
    )


def describe(gguf: Path) -> tuple[Any, Any]:
    """The configuration and the tokenizer of a GGUF file as its conversion has them, its weights left where they are.

    Raises:
        ModelError, NotReadyError: as `convert`, but for weights that are missing.
    """
    try:
        from transformers import AutoConfig
    except ImportError as error:
        raise _needs_local_extra() from error
    with _reading(gguf):
        tokenizer = _checked_tokenizer(gguf)
        return AutoConfig.from_pretrained(gguf.parent, gguf_file=gguf.name), tokenizer


def converted_folder(gguf: Path) -> Path:
    """Where the conversion of these very bytes is, or will be."""
    return cache_dir() / "converted" / f"{gguf.stem}-{file_hash(gguf)[:16]}-v{_CONVERTER_VERSION}"


def convert(gguf: Path) -> Path:
    """The folder with the plain fp32 model and tokenizer of a GGUF file, converted now if it never was.

    Several processes may ask at once: one converts, the others wait for it. A folder that exists is complete.

    Raises:
        ModelError: not a GGUF file, a part of one, or of an architecture that transformers cannot read.
        NotReadyError: the local extra is missing, or the disk is full.
    """
    folder = converted_folder(gguf)
    if folder.is_dir():
        return folder
    check_magic(gguf)
    with locked(folder.with_name(f"{folder.name}.lock")):
        if not folder.is_dir():
            _log.warning(N_("converting %s to safetensors, once (about 20 s for 135M parameters)"), gguf.name)
            _convert_into(gguf, folder)
    return folder


def check_magic(gguf: Path) -> None:
    """Refuse what is no GGUF file. Raises ModelError."""
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
    from pytest_llmbench.models.quiet import quiet_libraries

    with _reading(gguf):
        tokenizer = _checked_tokenizer(gguf)  # first: of a file that is refused, the weights need not be read
        read, info = AutoModelForCausalLM.from_pretrained(
            gguf.parent, gguf_file=gguf.name, dtype=torch.float32, output_loading_info=True
        )
    if missing := sorted(info["missing_keys"]):
        raise ModelError(
            f"{gguf}: {len(missing)} weights are missing ({missing[0]}, …) and would be random; download it again, "
            "or give the model's own folder or hub id instead"
        )
    config = copy.deepcopy(read.config)
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    with quiet_libraries():
        plain = type(read)(config).to(torch.float32)
        plain.load_state_dict(read.state_dict())
        plain.tie_weights()
        try:
            plain.save_pretrained(folder)
        except safetensors.SafetensorError as error:
            raise _no_room(folder, error) from error
        tokenizer.save_pretrained(folder)


@contextlib.contextmanager
def _reading(gguf: Path) -> Iterator[None]:
    """Turn what transformers raises of a GGUF file into a ModelError; its bars and notes are hidden."""
    from pytest_llmbench.models.quiet import quiet_libraries

    with quiet_libraries(), _no_bar():
        try:
            yield
        except (ValueError, KeyError, IndexError, NotImplementedError) as error:
            raise ModelError(f"{gguf}: transformers cannot read this GGUF file ({error}); is it whole?") from error


def _checked_tokenizer(gguf: Path) -> Any:
    """Its tokenizer, of a file that transformers reads as it is meant. Raises ModelError of any other."""
    told, tensors = _read(gguf)
    _refuse_a_part(told, gguf)
    _refuse_scaled_positions(told, tensors, gguf)
    return tokenizer_of(told, gguf)


def _refuse_a_part(told: Mapping[str, Any], gguf: Path) -> None:
    """Refuse one file of several: transformers would read it alone, and make up the weights of the others."""
    if (count := told.get("split.count", 1)) > 1:
        raise ModelError(
            f"{gguf} is one of {count} parts of a model; join them with llama.cpp's "
            "`llama-gguf-split --merge FIRST_PART OUTPUT`, set model.engine: llamacpp, or give the model's own folder "
            "or hub id instead"
        )


def _refuse_scaled_positions(told: Mapping[str, Any], tensors: Mapping[str, Any], gguf: Path) -> None:
    """Refuse a file that scales its positions (Llama 3.1, YaRN): transformers reads nothing of that from a GGUF file.

    The model would answer, and worse than the file's own, of short texts too.
    """
    kind = told.get("general.architecture")
    if kind in _SCALED_BY_TRANSFORMERS:
        return
    factor = told.get(f"{kind}.rope.scaling.factor", told.get(f"{kind}.rope.scale_linear", 1.0))
    scales = told.get(f"{kind}.rope.scaling.type") != "none" and factor not in (0, 1)
    if scales or any((tensors[name] != 1).any() for name in _SCALES if name in tensors):
        raise ModelError(
            f"{gguf}: it scales its positions, which transformers does not read from a GGUF file, so that the model "
            "would answer worse than it does; give the model's own folder or hub id instead, or set model.engine: "
            "llamacpp"
        )


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
    remedy = fitting("free some space or set LLMBENCH_CACHE_DIR to another disk", error)
    return NotReadyError(f"cannot write the converted model {folder}: {error}; {remedy}")
