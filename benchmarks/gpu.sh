#!/usr/bin/env bash
# benchmarks/gpu.py on a machine with a GPU and without a network, in one command of at most eight minutes:
#
#     WHEELS=.whl bash benchmarks/gpu.sh
#
# PyTorch, transformers and PEFT are there. What else is missing there lies as wheels in the folder $WHEELS, made where
# there is a network, for that machine's Python: bitsandbytes, and as a rule pydantic, pydantic_core, annotated-types,
# typing-inspection, platformdirs, filelock and psutil. With trl and datasets the training is the product's own, without
# them a bare loop.
#
#     pip download --no-deps --only-binary=:all: --python-version 3.12 --implementation cp \
#         --platform manylinux_2_24_x86_64 --platform manylinux_2_17_x86_64 -d .whl bitsandbytes==0.50.2 pydantic ...
#
# Where no GPU is, `--device cpu --tiny --output FOLDER` shows in four minutes that the script works, and nothing else.
#
# Results go to benchmarks/results/gpu.json and gpu.md. All arguments go to gpu.py.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
site=$(mktemp -d)
trap 'rm -rf "$site"' EXIT
if compgen -G "${WHEELS:-.whl}/*.whl" >/dev/null; then
    "$python" -m pip install -q --no-index --no-deps --no-compile --target "$site" "${WHEELS:-.whl}"/*.whl
fi
export PYTHONPATH="$site:$PWD/src${PYTHONPATH:+:$PYTHONPATH}" HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false
timeout 475 "$python" benchmarks/gpu.py "$@"
