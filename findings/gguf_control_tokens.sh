#!/usr/bin/env bash
# transformers loses a GGUF's control tokens that are written outside the byte alphabet, and its add_space_prefix.
#
# Versions: transformers 5.23.0, torch 2.13.0, gguf 0.19.0 (which writes the two files that are read here).
# Expected: a token of the type CONTROL is found whole in a text and has the file's id, as in llama.cpp; and with
#           tokenizer.ggml.add_space_prefix = false no space is put before a text.
# Seen:     in a byte-level vocabulary "<｜end▁of▁sentence｜>", which DeepSeek's files have, is spelled anew in bytes. As
#           the end of text it gets a new id behind the vocabulary, for which the model has no embedding; any other such
#           token is cut into pieces. A SentencePiece vocabulary always gets its space.
# Exits 0 while that is so, 1 when it has changed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet torch==2.13.0 transformers==5.23.0 gguf==0.19.0
HF_HUB_OFFLINE=1 "$work/venv/bin/python" - "$work" <<'PYTHON'
import sys

import gguf
import numpy as np
from transformers import AutoTokenizer

work = sys.argv[1]


def written(name, kind, tokens, types, **more):
    writer = gguf.GGUFWriter(f"{work}/{name}", "llama")
    writer.add_context_length(64)
    writer.add_embedding_length(8)
    writer.add_block_count(1)
    writer.add_feed_forward_length(8)
    writer.add_head_count(1)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model(kind)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_eos_token_id(len(tokens) - 1)
    for key, value in more.items():
        getattr(writer, key)(value)
    writer.add_tensor("token_embd.weight", np.zeros((len(tokens), 8), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return AutoTokenizer.from_pretrained(work, gguf_file=name)


end = "<｜end▁of▁sentence｜>"
letters = [chr(code) for code in range(33, 127)]
byte_level = written(
    "bytes.gguf", "gpt2", [*letters, "ab", end], [1] * 95 + [3], add_tokenizer_pre="deepseek-v3", add_token_merges=["a b"]
)
ids = byte_level(f"ab{end}")["input_ids"]
print("control token:", ids, "where the file has", [94, 95])

pieces = ["<unk>", "<s>", "</s>", "▁", "l", "e", "le", "▁le", "."]
scores = [0.0, 0.0, 0.0, -4.0, -5.0, -6.0, -1.0, -2.0, -7.0]
spaced = written(
    "pieces.gguf", "llama", pieces, [2, 3, 3, 1, 1, 1, 1, 1, 1],
    add_token_scores=scores, add_add_space_prefix=False, add_add_bos_token=False,
)
read = spaced.convert_ids_to_tokens(spaced("le")["input_ids"])
print("without a space before it:", read, "where", ["le"], "was meant")
sys.stdout.flush()
if ids == [94, 95] or read == ["le"]:
    sys.exit("changed: one of them is right now")
print("still so: neither is read")
PYTHON
