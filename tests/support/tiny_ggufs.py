"""GGUF files small enough to be made in a test, which llama.cpp loads too."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import gguf
import numpy as np
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

WHOLE = {"<|im_end|>": 3, "<｜end▁x｜>": 3, "<think>": 4}  # the second as DeepSeek writes it
"""Tokens that are found whole in a text, and their type: 3 is control, 4 user-defined."""

_WIDTH, _INNER = 32, 64
_HEADS = 4


def byte_level_gguf(
    path: Path,
    pre: str | None,
    corpus: Iterable[str],
    *,
    heads: int = _HEADS,
    also: Mapping[str, Any] = MappingProxyType({}),
    **more: Any,
) -> Path:
    """A model with a byte-level tokenizer whose merges cross any border of words, so that its tokens show each cut.

    Quantized keys and values need heads of 32 numbers: one. `more` are further keys under `tokenizer.ggml.`, `also`
    keys and tensors by their whole names; a tensor that is None is left out.
    """
    model = _learnt(tuple(corpus))
    tokens = [*sorted(model["vocab"], key=model["vocab"].__getitem__), *WHOLE]
    types = [1] * (len(tokens) - len(WHOLE)) + list(WHOLE.values())
    end = tokens.index("<|im_end|>")
    keys = {"bos_token_id": end, "eos_token_id": end, **more, **({"pre": pre} if pre else {})}
    merges = [" ".join(pair) for pair in model["merges"]]
    return _write(path, "gpt2", tokens, types, heads, also, merges=merges, **keys)


@functools.cache
def _learnt(corpus: tuple[str, ...]) -> Any:
    learnt = Tokenizer(models.BPE())
    learnt.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=1500, initial_alphabet=alphabet, show_progress=False)
    learnt.train_from_iterator(corpus, trainer)
    return json.loads(learnt.to_str())["model"]


def sentencepiece_gguf(path: Path, **more: Any) -> Path:
    """A model with a tokenizer of scores, as SentencePiece makes them. `more` are further keys."""
    words = ["▁", "l", "e", "▁l", "▁le", "s", "o", "n", "on", "son", "▁s", "▁son", "▁▁", "x", "\n"]
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *words, "<|end|>", "<|u|>"]
    types = [2, 3, 3, *[6] * 256, *[1] * len(words), 3, 4]
    scores = [*[0.0] * 259, *(-float(rank) for rank in range(len(words))), 0.0, 0.0]
    return _write(path, "llama", tokens, types, scores=scores, **{"bos_token_id": 1, "eos_token_id": 2, **more})


def _write(
    path: Path,
    kind: str,
    tokens: Sequence[str],
    types: Sequence[int],
    heads: int = _HEADS,
    also: Mapping[str, Any] = MappingProxyType({}),
    **keys: Any,
) -> Path:
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    _add_shape(writer, len(tokens), heads, {name: also[name] for name in also if name.endswith(".weight")})
    if name := keys.pop("name", None):
        writer.add_name(name)
    writer.add_tokenizer_model(kind)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    whole = {key: value for key, value in also.items() if not key.endswith(".weight")}
    for key, value in {**{f"tokenizer.ggml.{key}": value for key, value in keys.items()}, **whole}.items():
        add = {
            bool: writer.add_bool,
            int: writer.add_uint32,
            float: writer.add_float32,
            str: writer.add_string,
            list: writer.add_array,
        }
        add[type(value)](key, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add_shape(writer: gguf.GGUFWriter, tokens: int, heads: int, other: Mapping[str, Any]) -> None:
    writer.add_context_length(512)
    writer.add_embedding_length(_WIDTH)
    writer.add_block_count(1)
    writer.add_feed_forward_length(_INNER)
    writer.add_head_count(heads)
    writer.add_head_count_kv(heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(_WIDTH // heads)
    writer.add_vocab_size(tokens)
    square, inner, outer = (_WIDTH, _WIDTH), (_INNER, _WIDTH), (_WIDTH, _INNER)
    layer = {"attn_norm": (_WIDTH,), "ffn_norm": (_WIDTH,), "ffn_gate": inner, "ffn_up": inner, "ffn_down": outer}
    layer |= {f"attn_{name}": square for name in ("q", "k", "v", "output")}
    shapes = {"token_embd": (tokens, _WIDTH), "output": (tokens, _WIDTH), "output_norm": (_WIDTH,)}
    random = np.random.default_rng(0)
    for name, shape in {**shapes, **{f"blk.0.{name}": shape for name, shape in layer.items()}}.items():
        tensor = random.standard_normal(shape).astype(np.float32)
        if f"{name}.weight" not in other:
            writer.add_tensor(f"{name}.weight", tensor)
    for name, tensor in other.items():
        if tensor is not None:
            writer.add_tensor(name, tensor)
