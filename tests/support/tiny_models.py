"""Models and adapters small enough to be made in a test."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytest_llmbench.models.quiet import quiet_libraries

WORDS = ["bonjour", "ouvre", "chrome", "puis", "monte", "le", "son", "baisse", "ferme", "<end>", "<unk>", "!", ".", ","]


def tiny_llama(vocabulary: int = len(WORDS), **changed: Any) -> Any:
    """A Llama with random weights, two layers and so many tokens; any field of its configuration may be changed."""
    from transformers import LlamaConfig, LlamaForCausalLM

    shape = {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "initializer_range": 0.3,  # with the usual 0.02 its logits are too small to be moved
    }
    return LlamaForCausalLM(LlamaConfig(vocab_size=vocabulary, **{**shape, **changed}))


def save(model: Any, folder: Path) -> None:
    """Save a model with the word tokenizer."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from transformers import PreTrainedTokenizerFast

    special = {"unk_token": "<unk>", "eos_token": "<end>"}
    words = Tokenizer(WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token=special["unk_token"]))
    words.pre_tokenizer = Whitespace()
    with quiet_libraries():
        model.save_pretrained(folder)
    PreTrainedTokenizerFast(tokenizer_object=words, **special).save_pretrained(folder)


def save_adapter(base: Path, folder: Path, **lora: Any) -> None:
    """Save an untrained LoRA of the attention layers."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    config = LoraConfig(**{"r": 4, "target_modules": ["q_proj", "v_proj"], "task_type": "CAUSAL_LM", **lora})
    with quiet_libraries():
        get_peft_model(AutoModelForCausalLM.from_pretrained(base), config).save_pretrained(folder)


def write_adapter(
    folder: Path, *, base_name: str | None = "tiny-llama", record: Mapping[str, Any] | None = None
) -> Path:
    """An adapter folder that is whole on disk, without a model behind it."""
    folder.mkdir(parents=True)
    config = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["v_proj", "q_proj"]}
    (folder / "adapter_config.json").write_text(json.dumps({**config, "base_model_name_or_path": base_name}))
    (folder / "adapter_model.safetensors").write_bytes(safetensors_bytes(16))
    if record is not None:
        (folder / "llmbench_training.json").write_text(json.dumps(record))
    return folder


def safetensors_bytes(size: int) -> bytes:
    """A safetensors file of one tensor of `size` bytes."""
    header = json.dumps({"a": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    return len(header).to_bytes(8, "little") + header + bytes(size)
