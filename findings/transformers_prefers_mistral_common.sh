#!/usr/bin/env bash
# transformers: where mistral-common is installed, tekken.json is read in place of a folder's tokenizer and template.
#
# Versions: transformers 5.23.0, mistral-common 1.13.1, tokenizers as it installs. vLLM installs mistral-common.
# Expected: AutoTokenizer reads the folder's tokenizer.json, tokenizer_config.json and chat template, as it does where
#           mistral-common is not installed.
# Seen:     where a tekken.json lies beside them, as in Mistral's folders, it gives a MistralCommonBackend: its
#           chat_template is None, and a conversation that ends with the assistant, as rows to learn do, is refused.
#           Nothing is said. With `mistral_format=False` the usual tokenizer is read. So prompts and trainings differ by
#           what else is installed in the environment.
# Exits 0 while that is so, 1 when it has changed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet transformers==5.23.0 mistral-common==1.13.1 jinja2==3.1.6
HF_HUB_OFFLINE=1 "$work/venv/bin/python" - "$work" <<'PYTHON'
import shutil
import sys
from pathlib import Path

import mistral_common
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

folder = Path(sys.argv[1]) / "model"
words = Tokenizer(models.WordLevel({"<unk>": 0, "<s>": 1, "</s>": 2, "bonjour": 3}, unk_token="<unk>"))
words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
usual = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>", bos_token="<s>", eos_token="</s>")
usual.chat_template = "{% for m in messages %}{{ m.role }}: {{ m.content }} {% endfor %}"
usual.save_pretrained(folder)
(folder / "config.json").write_text('{"model_type": "mistral", "architectures": ["MistralForCausalLM"]}')
shipped = sorted(Path(mistral_common.__file__).parent.glob("data/tekken*.json"))
shutil.copy(shipped[-1], folder / "tekken.json")  # as the library ships it

row = [{"role": "user", "content": "bonjour"}, {"role": "assistant", "content": "bonjour"}]


def told(**options):
    tokenizer = AutoTokenizer.from_pretrained(folder, **options)
    try:
        text = tokenizer.apply_chat_template(row, tokenize=False)
    except Exception as error:  # noqa: BLE001  # what it raises is what is told
        text = f"{type(error).__name__}"
    return type(tokenizer).__name__, bool(getattr(tokenizer, "chat_template", None)), text


plain, asked = told(), told(mistral_format=False)
print("class, has a chat template, what a row becomes:")
print("  as it comes:          ", plain)
print("  mistral_format=False: ", asked)
passed_over = plain[0] == "MistralCommonBackend" and not plain[1] and "bonjour" not in plain[2]
sys.exit(0 if passed_over and asked[1] and "assistant: bonjour" in asked[2] else 1)
PYTHON
