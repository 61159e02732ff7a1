#!/usr/bin/env bash
# transformers drops tokens in decode(skip_special_tokens=True) that all_special_tokens does not list.
#
# Versions: transformers 5.23.0, tokenizers as it installs.
# Expected: all_special_tokens and all_special_ids name every token that skip_special_tokens leaves out, so that a text
#           which was decoded with its special tokens can be cleaned of the same ones afterwards.
# Seen:     they name those with a role (end, padding, ...). A token that tokenizer.json marks as special without a role,
#           as turn marks of chat models are, is left out of the decoded text and is in neither list, also after the
#           tokenizer was saved and loaded again. added_tokens_decoder, with its `special`, names all of them.
# Exits 0 while that is so, 1 when it has changed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet transformers==5.23.0
HF_HUB_OFFLINE=1 "$work/venv/bin/python" - "$work/tokenizer" <<'PYTHON'
import sys

from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

folder = sys.argv[1]
made = Tokenizer(models.WordLevel({"<end>": 0, "<turn>": 1, "yes": 2}, unk_token="yes"))
made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
made.add_special_tokens(["<end>", "<turn>"])
PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<end>").save_pretrained(folder)
loaded = AutoTokenizer.from_pretrained(folder)
skipped = loaded.decode([2, 1], skip_special_tokens=True)
listed = "<turn>" in loaded.all_special_tokens or 1 in loaded.all_special_ids
marked = loaded.added_tokens_decoder[1].special
print(f"decoded: {skipped!r}; listed: {listed}; marked as special: {marked}; lists: {loaded.all_special_tokens}")
sys.exit(0 if skipped.strip() == "yes" and not listed and marked else 1)
PYTHON
