"""Models of real shapes with random weights, for a machine that has no model and no network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from pytest_llmbench.models.quiet import quiet_libraries
from pytest_llmbench.models.registry import load_registry

TEMPLATE = (
    "{% for message in messages %}<{{ message['role'] }}> {{ message['content'] }} "
    "{% if message['role'] == 'assistant' %}<end> {% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<assistant> {% endif %}"
)
SPECIAL = ("<end>", "<unk>", "<system>", "<user>", "<assistant>")
LARGE: Mapping[str, int] = {
    "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "num_attention_heads": 32,
    "num_key_value_heads": 8, "vocab_size": 32_000, "max_position_embeddings": 4096,
}  # fmt: skip
"""The shape of Llama 3.2 1B, with a smaller vocabulary."""
TINY: Mapping[str, int] = {
    "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": 512, "max_position_embeddings": 512,
}  # fmt: skip
TINY_EXPERTS = {"moe_intermediate_size": 64, "num_experts": 8, "num_experts_per_tok": 2, "head_dim": 32}


def save_dense(folder: Path, *, tiny: bool) -> None:
    """Save a Llama with its tokenizer of words, one token each, and a chat template."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    shape = TINY if tiny else LARGE
    torch.manual_seed(0)
    config = LlamaConfig(**shape, tie_word_embeddings=True, initializer_range=0.2 if tiny else 0.02, dtype="bfloat16")
    with quiet_libraries():
        LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    words = [*SPECIAL, *(f"w{number}" for number in range(shape["vocab_size"] - len(SPECIAL)))]
    unknown = {"unk_token": "<unk>"}
    made = Tokenizer(WordLevel({word: number for number, word in enumerate(words)}, **unknown))
    made.pre_tokenizer = WhitespaceSplit()
    ends = {"eos_token": "<end>", "pad_token": "<end>"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, **unknown, **ends)
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)


def save_adapter(base: Path, folder: Path) -> None:
    """Save a LoRA over all linear layers whose second matrices are not zero, so that it changes something."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(1)
    config = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
    with quiet_libraries():
        model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), config)
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.02)
        model.save_pretrained(folder)


def expert_config(*, tiny: bool) -> Any:
    """The configuration of Qwen3-30B-A3B, or of the same kind with a few small experts."""
    from transformers import AutoConfig

    fields = dict(load_registry()["qwen3-30b-a3b"].architecture)
    if tiny:
        fields |= {**TINY, **TINY_EXPERTS}
    return AutoConfig.for_model(**fields)


def expert_weights(config: Any) -> dict[str, torch.Tensor]:
    """A state dict of that configuration as checkpoints have it, one expert at a time.

    All layers and experts share the memory of one: 61 GB would not fit where this is made, and no size depends on it.
    """
    generator = torch.Generator().manual_seed(0)

    def matrix(rows: int, columns: int) -> torch.Tensor:
        return (torch.randn(rows, columns, generator=generator) * 0.02).to(torch.bfloat16)

    hidden, inner, head = config.hidden_size, config.moe_intermediate_size, config.head_dim
    queries, keys = config.num_attention_heads * head, config.num_key_value_heads * head
    ones = torch.ones
    layer = {
        "self_attn.q_proj": matrix(queries, hidden), "self_attn.k_proj": matrix(keys, hidden),
        "self_attn.v_proj": matrix(keys, hidden), "self_attn.o_proj": matrix(hidden, queries),
        "self_attn.q_norm": ones(head, dtype=torch.bfloat16), "self_attn.k_norm": ones(head, dtype=torch.bfloat16),
        "input_layernorm": ones(hidden, dtype=torch.bfloat16),
        "post_attention_layernorm": ones(hidden, dtype=torch.bfloat16),
        "mlp.gate": matrix(config.num_experts, hidden),
    }  # fmt: skip
    expert = {"gate_proj": matrix(inner, hidden), "up_proj": matrix(inner, hidden), "down_proj": matrix(hidden, inner)}
    for number in range(config.num_experts):
        layer |= {f"mlp.experts.{number}.{name}": value for name, value in expert.items()}
    weights = {
        f"model.layers.{place}.{name}.weight": value
        for place in range(config.num_hidden_layers)
        for name, value in layer.items()
    }
    return weights | {
        "model.embed_tokens.weight": matrix(config.vocab_size, hidden),
        "lm_head.weight": matrix(config.vocab_size, hidden),
        "model.norm.weight": ones(hidden, dtype=torch.bfloat16),
    }
