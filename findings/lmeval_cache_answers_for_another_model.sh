#!/usr/bin/env bash
# lm-evaluation-harness with `use_cache`: the fine-tune gets the answers of its base, and its scores, and nothing is said.
#
# Versions: lm_eval 0.4.13, peft 0.21.2, transformers 5.23.0, torch 2.13.0, on a CPU in float32.
# Expected: the cache, which is for "a given (model, task) pair", asks again where the model is another.
# Seen:     an answer is found by the prompt and the settings of generation alone. A base is evaluated, then the same
#           base with `peft=`, with one cache: all eight answers of the fine-tune are the base's, though without a cache
#           not one is. The evaluation ends in no difference between the two, at once and with no error.
# What helps: a cache of its own for each model and adapter.
# Exits 0 while that is so, 1 when it has changed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet torch==2.13.0 transformers==5.23.0 peft==0.21.2 accelerate==1.15.0 lm_eval==0.4.13
cd "$work"
export HF_HUB_OFFLINE=1 HF_DATASETS_OFFLINE=1 HF_HOME="$work/home"
"$work/venv/bin/python" - <<'PYTHON'
import json
import sys
from pathlib import Path

import lm_eval
import torch
from lm_eval.tasks import TaskManager
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

words = ["<pad>", "<s>", "</s>", *(f"w{number}" for number in range(40))]
plain = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<pad>"))
plain.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
marks = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>"}
PreTrainedTokenizerFast(tokenizer_object=plain, **marks).save_pretrained("base")
torch.manual_seed(0)
shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
base = LlamaForCausalLM(LlamaConfig(vocab_size=len(words), initializer_range=0.5, **shape))
base.save_pretrained("base")
lora = LoraConfig(r=4, lora_alpha=64, init_lora_weights=False, target_modules="all-linear", task_type="CAUSAL_LM")
get_peft_model(base, lora).save_pretrained("adapter")

asked = Path("asked.jsonl")
asked.write_text("".join(json.dumps({"q": f"w{n} w{n + 1}", "a": f"w{n + 2}"}) + "\n" for n in range(8)))
Path("tasks").mkdir()
Path("tasks/words.yaml").write_text(
    f"""task: words
dataset_path: json
dataset_kwargs: {{data_files: {{test: {asked.resolve()}}}}}
test_split: test
output_type: generate_until
doc_to_text: "{{{{q}}}}"
doc_to_target: "{{{{a}}}}"
generation_kwargs: {{max_gen_toks: 5, until: ["none"]}}
metric_list: [{{metric: exact_match, aggregation: mean, higher_is_better: true}}]
"""
)
tasks = TaskManager(include_path="tasks", include_defaults=False)


def answers(model, cache):
    run = lm_eval.simple_evaluate(
        "hf", model_args=model, tasks=["words"], use_cache=cache, task_manager=tasks, device="cpu", bootstrap_iters=0
    )
    return [sample["resps"][0][0] for sample in run["samples"]["words"]]


def equal(cache):
    pair = answers("pretrained=base,dtype=float32", cache), answers("pretrained=base,dtype=float32,peft=adapter", cache)
    return sum(one == other for one, other in zip(*pair, strict=True))


alone, cached = equal(None), equal("cache")
print(f"answers of the fine-tune that are the base's: {alone} of 8 without a cache, {cached} of 8 with one")
sys.exit(0 if alone == 0 and cached == 8 else 1)
PYTHON
