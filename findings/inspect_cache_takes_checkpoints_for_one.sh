#!/usr/bin/env bash
# inspect_ai's cache of answers: every model read from a folder has one name there, so the second answers as the first.
#
# Versions: inspect_ai 0.3.260, transformers 5.15.0 (with 5.23.0 its local models raise at every question), torch 2.13.0.
# Expected: `cache=True` asks again where the model is another, as it does between models of a provider.
# Seen:     the name of the model is part of what is looked up, its folder (`-M model_path=`, as the documents have it) is
#           not: each is `hf/local`. A base and its fine-tune, two folders, are evaluated one after the other: all six
#           answers of the second are the first's, though without the cache not one is, and both logs are a success.
# What helps: no cache, or `CachePolicy(scopes={"model": FOLDER})`.
# Exits 0 while that is so, 1 when it has changed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet inspect_ai==0.3.260 torch==2.13.0 transformers==5.15.0 accelerate==1.15.0
cd "$work"
export HF_HUB_OFFLINE=1 INSPECT_CACHE_DIR="$work/cache" INSPECT_TRACE_FILE="$work/trace.log" XDG_DATA_HOME="$work/home"
"$work/venv/bin/python" - <<'PYTHON'
import sys

import torch
from inspect_ai import Task
from inspect_ai import eval as evaluate
from inspect_ai.dataset import Sample
from inspect_ai.model import CachePolicy, GenerateConfig, get_model
from inspect_ai.scorer import match
from inspect_ai.solver import generate
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

words = ["<pad>", "<s>", "</s>", *(f"w{number}" for number in range(40))]
plain = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<pad>"))
plain.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
tokenizer = PreTrainedTokenizerFast(tokenizer_object=plain, pad_token="<pad>", bos_token="<s>", eos_token="</s>")
tokenizer.chat_template = "{% for message in messages %}{{ message['content'] }} {% endfor %}"
shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
for seed, folder in enumerate(("base", "tuned")):
    torch.manual_seed(seed)
    LlamaForCausalLM(LlamaConfig(vocab_size=len(words), initializer_range=0.5, **shape)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def answers(folder, cache):
    model = get_model("hf/local", model_path=folder, device="cpu", memoize=False)
    asked = [Sample(input=f"w{number} w{number + 1}", target="w1") for number in range(6)]
    settings = GenerateConfig(max_tokens=5, temperature=0.01, seed=1)
    task = Task(dataset=asked, solver=[generate(cache=cache)], scorer=match(), config=settings)
    (log,) = evaluate(task, model=model, display="none", log_dir="logs")
    if log.status != "success":
        sys.exit(f"the evaluation of {folder} did not succeed")
    return [sample.output.completion for sample in log.samples]


def equal(*caches):
    pair = [answers(folder, cache) for folder, cache in zip(("base", "tuned"), caches, strict=True)]
    return sum(one == other for one, other in zip(*pair, strict=True))


alone, cached = equal(False, False), equal(True, True)
scoped = equal(*(CachePolicy(scopes={"model": folder}) for folder in ("base", "tuned")))
print(f"answers of the second that are the first's, of 6: {alone} without a cache, {cached} with, {scoped} with scopes")
sys.exit(0 if (alone, cached, scoped) == (0, 6, 0) else 1)
PYTHON
