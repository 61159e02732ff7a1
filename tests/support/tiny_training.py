"""A model of two layers with a chat template, and rows that it can learn in seconds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from support.tiny_models import tiny_llama

TEMPLATE = (
    "{% for message in messages %}<{{ message['role'] }}> {{ message['content'] }} "
    "{% if message['role'] == 'assistant' %}<end> {% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<assistant> {% endif %}"
)
_SPECIAL = ["<end>", "<unk>", "<system>", "<user>", "<assistant>"]
_COMMANDS = {"son": "monte", "chrome": "ouvre", "lampe": "allume", "porte": "ferme"}
_POLITE = ["merci", "jarvis", "vite", "encore", "puis"]
WORDS = [*_SPECIAL, *_COMMANDS, *_COMMANDS.values(), *_POLITE]


def save_tiny_model(folder: Path) -> Path:
    """Save the model with its word tokenizer."""
    import torch
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from transformers import PreTrainedTokenizerFast

    from pytest_llmbench.models.quiet import quiet_libraries

    torch.manual_seed(0)
    words = Tokenizer(WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="<unk>"))  # noqa: S106
    words.pre_tokenizer = WhitespaceSplit()
    with quiet_libraries():
        tiny_llama(len(WORDS)).save_pretrained(folder)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>", eos_token="<end>")  # noqa: S106
    tokenizer.add_special_tokens({"pad_token": "<end>"})
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    return folder


def rows(count: int = 32) -> list[dict[str, Any]]:
    """Commands of three words or more; each is answered with its verb and its thing."""
    made = []
    for number in range(count):
        thing, verb = list(_COMMANDS.items())[number % len(_COMMANDS)]
        polite = " ".join(_POLITE[: 1 + number // len(_COMMANDS) % len(_POLITE)])
        made.append(
            {
                "prompt": [{"role": "user", "content": f"{polite} {thing}"}],
                "completion": [{"role": "assistant", "content": f"{verb} {thing}"}],
                "tool": verb,
            }
        )
    return made


def other_rows(count: int = 8) -> list[dict[str, Any]]:
    """Commands that none of `rows` asks: the thing is said first."""
    return [
        {**row, "prompt": [{"role": "user", "content": " ".join(reversed(row["prompt"][0]["content"].split()))}]}
        for row in rows(count)
    ]


def write_rows(path: Path, made: list[dict[str, Any]]) -> Path:
    """Write rows as JSON Lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in made), encoding="utf-8")
    return path
