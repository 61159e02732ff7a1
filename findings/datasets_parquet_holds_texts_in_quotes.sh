#!/usr/bin/env bash
# datasets writes a field of mixed kinds to Parquet as JSON, so that other readers get every text of it in quotes.
#
# Versions: datasets 5.2.0, pyarrow and pandas as it installs.
# Conversations where one message's `content` is a text and another's a list of parts, as those of models that see are,
# are read from JSON Lines with `load_dataset("json")` and saved with `to_parquet`.
# Expected: pandas, pyarrow or any trainer that reads the Parquet file gets `salut` where the JSON Lines had "salut".
# Seen:     nothing is said; the column is of the kind `Json`, and all its texts, also those of rows without parts, are
#           JSON in the file: `"salut"`, quotes and escapes included. Only datasets itself, which keeps a note in the
#           file's schema, takes them off again. A model that is trained on what others read learns to write the quotes.
# Exits 0 while that is so, 1 when it has changed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet datasets==5.2.0
HF_HUB_OFFLINE=1 "$work/venv/bin/python" - "$work" <<'PYTHON'
import json
import sys
from pathlib import Path

import datasets
import pandas
from pyarrow import parquet

work = Path(sys.argv[1])
datasets.disable_progress_bars()
parts = [{"type": "text", "text": "regarde"}]
rows = [
    [{"role": "user", "content": "bonjour"}, {"role": "assistant", "content": "salut"}],
    [{"role": "user", "content": parts}, {"role": "assistant", "content": "oui"}],
]
(work / "rows.jsonl").write_text("".join(json.dumps({"messages": row}) + "\n" for row in rows))


def loaded(kind, name):
    return datasets.load_dataset(kind, data_files=str(work / name), split="train", cache_dir=str(work / "cache"))


read = loaded("json", "rows.jsonl")
read.to_parquet(str(work / "rows.parquet"))
answers = {
    "datasets, from JSON Lines": read[0]["messages"][1]["content"],
    "datasets, from Parquet": loaded("parquet", "rows.parquet")[0]["messages"][1]["content"],
    "pandas, from Parquet": pandas.read_parquet(work / "rows.parquet").iloc[0].messages[1]["content"],
    "pyarrow, from Parquet": parquet.read_table(work / "rows.parquet").to_pylist()[0]["messages"][1]["content"],
}
for who, text in answers.items():
    print(f"{who}: {text}")
sys.exit(0 if list(answers.values()) == ["salut", "salut", '"salut"', '"salut"'] else 1)
PYTHON
