#!/usr/bin/env bash
# PEFT: `target_modules="all-linear"` also trains the router and the fused experts of some mixtures, at twice the rank.
#
# Versions: peft 0.21.2, transformers 5.23.0, torch 2.13.0; tiny models of random weights.
# Expected: "all-linear" means the linear layers (torch.nn.Linear) but for the output, as its documentation has it.
# Seen:     of a Qwen3-MoE and of a Mixtral, whose experts and router are parameters and no layers, PEFT adds
#           `target_parameters` of its own: the router `gate.weight`, `gate_up_proj` at twice the rank that was asked
#           for, and `down_proj`, which are 74 and 87 % of the weights that are trained here. Of a Qwen2-MoE, whose
#           experts are the same kind of parameter, it takes none. So one setting trains adapters of another kind, and
#           of several times the size, from one family to the next.
# Exits 0 while that is so, 1 when it has changed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet torch==2.13.0 transformers==5.23.0 peft==0.21.2
HF_HUB_OFFLINE=1 "$work/venv/bin/python" -W ignore - <<'PYTHON'
import sys

from peft import LoraConfig, get_peft_model
from transformers import (
    MixtralConfig,
    MixtralForCausalLM,
    Qwen2MoeConfig,
    Qwen2MoeForCausalLM,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
)

RANK = 4
SHAPE = {
    "vocab_size": 64, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2,
    "num_key_value_heads": 2,
}  # fmt: skip
MOE = {**SHAPE, "moe_intermediate_size": 16, "num_experts": 4, "num_experts_per_tok": 2}
MODELS = {
    "qwen3_moe": lambda: Qwen3MoeForCausalLM(Qwen3MoeConfig(**MOE, head_dim=16)),
    "mixtral": lambda: MixtralForCausalLM(MixtralConfig(**SHAPE, num_local_experts=4)),
    "qwen2_moe": lambda: Qwen2MoeForCausalLM(Qwen2MoeConfig(**MOE, shared_expert_intermediate_size=16)),
}
seen = {}
for name, made in MODELS.items():
    asked = LoraConfig(target_modules="all-linear", task_type="CAUSAL_LM", r=RANK)
    adapted = get_peft_model(made(), asked)
    used = adapted.peft_config["default"]
    trained = {key: one.numel() for key, one in adapted.named_parameters() if one.requires_grad}
    fused = sum(count for key, count in trained.items() if ".experts." in key or ".gate." in key)
    seen[name] = (sorted(used.target_parameters or ()), dict(used.rank_pattern))
    print(f"{name}: target_parameters {seen[name][0]}, rank_pattern {seen[name][1]},", end=" ")
    print(f"{fused / sum(trained.values()):.0%} of the trained weights are experts' and routers'")


def takes_experts(name):
    parameters, ranks = seen[name]
    named = {one.rsplit(".", 1)[-1] for one in parameters} >= {"gate_up_proj", "down_proj"}
    return named and "gate.weight" in " ".join(parameters) and 2 * RANK in ranks.values()


sys.exit(0 if takes_experts("qwen3_moe") and takes_experts("mixtral") and seen["qwen2_moe"] == ([], {}) else 1)
PYTHON
