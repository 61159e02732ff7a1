"""Tiny random models whose chat templates and tokenizers are like those of real families."""

from __future__ import annotations

from pathlib import Path
from typing import Any

MARKS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
_OPENED = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    + _OPENED
)
THINKING = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}"
    "{% if m['role'] == 'assistant' and loop.last %}{{ '<think>\n\n</think>\n\n' }}{% endif %}"
    "{{ m['content'] + '<|im_end|>\n' }}{% endfor %}" + _OPENED + "{% if add_generation_prompt and enable_thinking is "
    "defined and enable_thinking is false %}{{ '<think>\n\n</think>\n\n' }}{% endif %}"
)
NO_SYSTEM = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system turn here') }}{% endif %}"
    "{% for m in messages %}{{ '<start_of_turn>' + ('model' if m['role'] == 'assistant' else m['role']) + '\n' + "
    "(m['content'] | trim) + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
_ROOM = 8  # rows of the embedding that no token has, as Qwen's


def make_qwen3(folder: Path, corpus: Path) -> Path:
    """The template writes an empty block of thinking before an answer; its marks are ordinary added tokens."""
    from tokenizers import AddedToken
    from transformers import Qwen3Config, Qwen3ForCausalLM

    words = _tokenizer(corpus, MARKS, THINKING, eos_token=MARKS[2], pad_token=MARKS[0])
    words.add_tokens([AddedToken(mark, special=False) for mark in ("<think>", "</think>")])
    return _saved(folder, Qwen3ForCausalLM, Qwen3Config, words, head_dim=16)


def make_qwen2_base(folder: Path, corpus: Path) -> Path:
    """The template closes turns with a token that neither tokenizer nor generation config declares as an end."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    words = _tokenizer(corpus, MARKS, CHATML, eos_token=MARKS[0], pad_token=MARKS[0])
    return _saved(folder, Qwen2ForCausalLM, Qwen2Config, words)


def make_gemma(folder: Path, corpus: Path) -> Path:
    """The template refuses a system prompt."""
    from tokenizers.processors import TemplateProcessing
    from transformers import GemmaConfig, GemmaForCausalLM

    marks = ["<pad>", "<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"]
    words = _tokenizer(corpus, marks, NO_SYSTEM, pad_token="<pad>", bos_token="<bos>", eos_token="<eos>")  # noqa: S106
    words.backend_tokenizer.post_processor = TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 1)])
    return _saved(folder, GemmaForCausalLM, GemmaConfig, words, head_dim=16)


def _tokenizer(corpus: Path, marks: list[str], template: str, **named: str) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.BPE())
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=800, special_tokens=marks, initial_alphabet=alphabet, show_progress=False)
    made.train_from_iterator(corpus.read_text(encoding="utf-8").splitlines(), trainer)
    return PreTrainedTokenizerFast(tokenizer_object=made, chat_template=template, **named)


def _saved(folder: Path, kind: Any, config: Any, words: Any, **more: Any) -> Path:
    import torch

    from pytest_llmbench.models.quiet import quiet_libraries

    torch.manual_seed(0)
    special = {
        "bos_token_id": words.bos_token_id,
        "eos_token_id": words.eos_token_id,
        "pad_token_id": words.pad_token_id,
    }
    shape = {
        "hidden_size": 128,
        "intermediate_size": 256,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 1024,
    }
    with quiet_libraries():
        kind(config(vocab_size=len(words) + _ROOM, **special, **shape, **more)).save_pretrained(folder)
    words.save_pretrained(folder)
    return folder
