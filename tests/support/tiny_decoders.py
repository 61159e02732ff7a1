"""Decoders small enough to be made in a test, with weights that make every token a surprise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

VOCABULARY = 61
PAD = 0
WORDS = ["<pad>", "<unk>", "<end>", *(f"w{number}" for number in range(3, VOCABULARY))]
_SMALL = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}


def llama(context: int = 128) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    return _built(LlamaForCausalLM, LlamaConfig, num_key_value_heads=2, max_position_embeddings=context, **_SMALL)


def qwen3() -> Any:
    from transformers import Qwen3Config, Qwen3ForCausalLM

    return _built(Qwen3ForCausalLM, Qwen3Config, num_key_value_heads=2, head_dim=16, **_SMALL)


def gpt2() -> Any:
    from transformers import GPT2Config, GPT2LMHeadModel

    return _built(GPT2LMHeadModel, GPT2Config, n_embd=32, n_layer=2, n_head=4)


def mistral_with_a_window() -> Any:
    """Attention that sees the last four tokens only."""
    from transformers import MistralConfig, MistralForCausalLM

    return _built(MistralForCausalLM, MistralConfig, num_key_value_heads=2, sliding_window=4, **_SMALL)


DECODERS: dict[str, Callable[[], Any]] = {
    "llama": llama,
    "qwen3": qwen3,
    "gpt2": gpt2,
    "mistral with a window": mistral_with_a_window,
}


def _built(model: Any, config: Any, **changed: Any) -> Any:
    torch.manual_seed(0)
    special = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": PAD}
    built = model(config(vocab_size=VOCABULARY, initializer_range=0.4, **special, **changed))
    return built.eval().requires_grad_(requires_grad=False)


def word_tokenizer(chat_template: str | None = None) -> Any:
    """`w5 w6` is tokens 5 and 6; `<end>`, token 2, ends an answer."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token=WORDS[1]))
    words.pre_tokenizer = WhitespaceSplit()
    special = dict(zip(("pad_token", "unk_token", "eos_token"), WORDS, strict=False))
    return PreTrainedTokenizerFast(tokenizer_object=words, chat_template=chat_template, **special)
