"""Which adapters can answer beside their base: those that leave it as it is and can be switched off.

What PEFT calls an adapter may also change the base where it stands, or put tokens before every prompt. One base in
memory would then no longer answer as itself, so such adapters are refused by what their configuration says.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

_BEFORE_THE_PROMPT = frozenset(
    {
        *("PROMPT_TUNING", "MULTITASK_PROMPT_TUNING", "P_TUNING", "PREFIX_TUNING", "CPT", "CARTRIDGE"),
        "ADAPTION_PROMPT",
    }
)
_OTHER_TASKS = frozenset({"SEQ_CLS", "TOKEN_CLS", "QUESTION_ANS", "SEQ_2_SEQ_LM"})
_CUT_OUT_OF_THE_BASE = ("pissa", "olora", "corda", "lora_ga")
"""Ways to begin a LoRA that take it out of the base's weights; PEFT does so again at each loading."""

AS_MODELS = (
    "or compare them as two models: merge it into its base (merge_and_unload, save_pretrained), and give each as "
    "model.base in a run of its own"
)


def why_unusable(config: Mapping[str, Any], weights: Collection[str]) -> str | None:
    """Why an adapter of this configuration cannot be compared with its base in one model, and what to do; or None.

    `weights` are the names in its weight file; empty where they are not known before they are loaded.
    """
    kind, task = str(config.get("peft_type")), str(config.get("task_type"))
    if kind in _BEFORE_THE_PROMPT:
        return (
            f"it is of the kind {kind}, which puts learnt tokens before every prompt; adapters of the layers "
            "(LORA and its like) can be compared, so train one of these"
        )
    if task in _OTHER_TASKS:
        return f"it was trained for the task {task}, and does not write text; only CAUSAL_LM adapters answer prompts"
    if config.get("layer_replication"):
        return (
            "its layer_replication lays the base's layers out anew, so that the base would answer with more layers "
            f"than it has; train it without, {AS_MODELS}"
        )
    if config.get("alora_invocation_tokens"):
        return (
            "it is an activated LoRA (alora_invocation_tokens), which sleeps until its tokens come; train a plain one"
        )
    return _changed_start(config.get("init_lora_weights")) or _changed_biases(config, weights)


def _changed_start(start: Any) -> str | None:
    if not isinstance(start, str):
        return None
    if start.casefold().startswith(_CUT_OUT_OF_THE_BASE):
        return (
            f"its init_lora_weights is '{start}': PEFT takes its start out of the base's weights at each loading; "
            "save it from its training with save_pretrained(folder, path_initial_model_for_weight_conversion=START), "
            f"which makes a plain LoRA of it, {AS_MODELS}"
        )
    if start.casefold() == "loftq":
        return (
            "its init_lora_weights is 'loftq': PEFT quantizes the base anew whenever it is loaded; give the base that "
            "LoftQ left as model.base, and write true for init_lora_weights in its adapter_config.json"
        )
    return None


def _changed_biases(config: Mapping[str, Any], weights: Collection[str]) -> str | None:
    """A trained bias is the base's own: PEFT writes it there, and switching the adapter off does not bring it back."""
    bias = config.get("bias", "none")
    saved_whole = tuple(config.get("modules_to_save") or ())
    trained = [name for name in weights if name.endswith(".bias") and "lora_" not in name]
    trained = [name for name in trained if not any(f".{module}." in name for module in saved_whole)]
    if bias == "none" or not trained:
        return None
    return (
        f"its bias is '{bias}': it holds {len(trained)} biases of the base ({trained[0]}, …), which PEFT writes into "
        f"the base, where they stay with the adapter off; train it with bias: none, {AS_MODELS}"
    )
