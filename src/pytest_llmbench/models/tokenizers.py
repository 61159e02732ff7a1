"""A base's tokenizer, and the tokens that the base has embeddings for."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pytest_llmbench.core.errors import ModelError
from pytest_llmbench.core.locale import N_
from pytest_llmbench.models.gguf import converted_folder
from pytest_llmbench.models.gguf import describe as describe_gguf
from pytest_llmbench.models.sources import Source, locate, tokenizer_place

_log = logging.getLogger("pytest_llmbench")

_FIRST_RULE = '"added_tokens"'  # in a tokenizer's JSON
_STRETCHING = frozenset({"yarn", "linear", "dynamic"})  # kinds of rope whose factor lengthens the context
_NAMED = ("eos", "bos", "pad")  # padding last: it may be the end
_CUT_OF_MISTRAL = (  # the pattern in Mistral's own tekken.json
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def load_tokenizer(source: Source, *, trust_remote_code: bool = False) -> Any:
    """The tokenizer of a base, for loading, training and checking alike: with a padding token, padding on the left.

    Raises:
        ModelError: it has neither a padding nor an end-of-text token, or one that the base has no embedding for.
        OSError, ValueError: as transformers does; see `loading_errors.explained`.
    """
    return _described_by(source.path, trust_remote_code=trust_remote_code)[1]


def describe(spec: str, *, revision: str | None = None, trust_remote_code: bool = False) -> tuple[Any, Any]:
    """The configuration of a base, and its tokenizer as `load_tokenizer` gives it, its weights left where they are.

    A GGUF file is not converted for it, and of a hub model no weights are downloaded.

    Raises:
        WrongModelError, ModelError, NotReadyError: as `sources.resolve`, but for what is wrong with the weights.
        OSError, ValueError: as transformers does of a folder; see `loading_errors.explained`.
    """
    location = locate(spec)
    place = Path(location.place) if location.kind != "hub" else tokenizer_place(spec, revision=revision)
    if location.kind != "gguf":
        return _described_by(place, trust_remote_code=trust_remote_code)
    if (converted := converted_folder(place)).is_dir():
        return _described_by(converted, trust_remote_code=trust_remote_code)
    config, tokenizer = describe_gguf(place)
    tokenizer.padding_side = "left"
    return config, _checked(tokenizer, config, place)


def _described_by(folder: Path | str, *, trust_remote_code: bool) -> tuple[Any, Any]:
    from transformers import AutoConfig

    tokenizer = read_tokenizer(folder, trust_remote_code=trust_remote_code)
    config = AutoConfig.from_pretrained(folder, trust_remote_code=trust_remote_code)
    return config, _checked(tokenizer, config, folder)


def _checked(tokenizer: Any, config: Any, place: Path | str) -> Any:
    """The tokenizer, with a padding token and an embedding for each token that the product itself uses."""
    if tokenizer.pad_token_id is None:
        if tokenizer.eos_token_id is None:
            raise ModelError(f"{place}: the tokenizer has neither a padding nor an end-of-text token; add one")
        tokenizer.pad_token = tokenizer.eos_token
    if (rows := embedding_rows(config)) is not None:
        _check_named(place, tokenizer, rows)
    return tokenizer


def read_tokenizer(folder: Path | str, *, trust_remote_code: bool = False) -> Any:
    """The tokenizer in a folder, padding on the left; one that cuts text wrongly is announced.

    Where mistral-common is installed, as vLLM installs it, transformers would take that library's for Mistral's models:
    it has no chat template, and refuses prompts that others write.

    Raises:
        ModelError: an older transformers has taken it all the same.
        OSError, ValueError: as transformers does.
    """
    from transformers import AutoTokenizer
    from transformers.models.auto import tokenization_auto

    asked = {"mistral_format": False} if hasattr(tokenization_auto, "_use_mistral_format") else {}
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=trust_remote_code, padding_side="left", **asked)
    if type(tokenizer).__name__.startswith("MistralCommon"):
        raise ModelError(
            f"{folder}: transformers reads its tokenizer with mistral-common, which has no chat template; upgrade "
            "transformers, or uninstall mistral-common"
        )
    if _is_cut_wrongly(tokenizer):
        _log.warning(
            N_(
                "%s: its tokenizer cuts text otherwise than the model learnt it, a known fault of tokenizer.json files "
                "of Mistral's; load it with AutoTokenizer.from_pretrained(FOLDER, fix_mistral_regex=True), and save "
                "that in a folder of the model"
            ),
            folder,
        )
    return tokenizer


def _is_cut_wrongly(tokenizer: Any) -> bool:
    """Whether it is one that transformers tells to have a wrong expression, and it has another than Mistral's own.

    That is told of every large vocabulary of a Mistral that was saved by transformers 4, right or not.
    """
    backend: Any = getattr(tokenizer, "backend_tokenizer", None)
    if getattr(backend, "fix_mistral_regex", None) is not False or backend.pre_tokenizer is None:
        return False
    return json.dumps(_CUT_OF_MISTRAL) not in backend.pre_tokenizer.__getstate__().decode()


def embedding_rows(config: Any) -> int | None:
    """How many tokens a model of this configuration has embeddings for; None where it does not say.

    A tokenizer may know more: Gemma 3 1B ships one for pictures, which the text model cannot read.
    """
    rows = getattr(config.get_text_config(), "vocab_size", None)
    return rows if isinstance(rows, int) else None


def context_tokens(config: Any) -> int | None:
    """How many tokens a model of this configuration reads at once; None where it does not say.

    A rope that is stretched from the length that the configuration tells, as Qwen's cards have it for YaRN, counts.
    """
    text = config.get_text_config()
    tokens = getattr(text, "max_position_embeddings", None)
    if not isinstance(tokens, int):
        return None
    rope = getattr(text, "rope_parameters", None) or getattr(text, "rope_scaling", None) or {}
    told_native = rope.get("original_max_position_embeddings", tokens) == tokens
    stretches = rope.get("rope_type", rope.get("type")) in _STRETCHING and told_native
    return int(tokens * (rope.get("factor") or 1)) if stretches else tokens


def why_unreadable(tokenizer: Any, tokens: Iterable[int], rows: int | None) -> str | None:
    """Why a model with so many embeddings cannot read these tokens of a prompt or row, and what to do; or None."""
    token = None if rows is None else next((token for token in tokens if not 0 <= token < rows), None)
    if token is None:
        return None
    written = tokenizer.convert_ids_to_tokens(token)
    return (
        f"it holds {written!r}, which is token {token}, and the base has embeddings for {rows} tokens only; "
        "leave it out of the text, or give a base that was enlarged for it (resize_token_embeddings)"
    )


def rules_hash(tokenizer: Any) -> str:
    """Of what makes tokens of a text."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    rules = json.dumps(tokenizer.get_vocab(), sort_keys=True) if backend is None else backend.to_str()
    rules = rules[max(0, rules.find(_FIRST_RULE)) :]  # before it stands how the last call cut and filled up texts
    return hashlib.sha256(rules.encode()).hexdigest()


def _check_named(place: Path | str, tokenizer: Any, rows: int) -> None:
    """The tokens that the product itself puts into batches and prompts must have a row; others may lack one."""
    for name in _NAMED:
        token = getattr(tokenizer, f"{name}_token_id")
        if token is None or 0 <= token < rows:
            continue
        written = getattr(tokenizer, f"{name}_token")
        raise ModelError(
            f"{place}: the tokenizer's {name}_token {written!r} is token {token}, and the model has embeddings "
            f"for {rows} tokens (0 to {rows - 1}); give it one with model.resize_token_embeddings(len(tokenizer)) and "
            f"save both, or set {name}_token to a token that has one"
        )
