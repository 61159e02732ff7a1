#!/usr/bin/env bash
# Ray 2.60.0: ray.init() puts a handler of its own on SIGTERM, and ray.shutdown() leaves it there.
#
# Expected: after shutdown() SIGTERM does what it did before init(). Seen: the handler of init() stays for the rest of
# the process, so a program that used Ray for a while ends otherwise than before. Source: ray/_private/worker.py.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check ray==2.60.0
export RAY_USAGE_STATS_ENABLED=0 RAY_AUTH_TOKEN=0000000000000000000000000000000000000000000000000000000000000000
"$folder/venv/bin/python" - <<'PYTHON'
import logging
import signal

import ray

before = signal.getsignal(signal.SIGTERM)
options = {"include_dashboard": False, "log_to_driver": False, "logging_level": logging.ERROR}
ray.init(address="local", num_cpus=1, object_store_memory=80 * 2**20, **options)
ray.shutdown()
after = signal.getsignal(signal.SIGTERM)
print(f"ray {ray.__version__}: SIGTERM before init {before!r}, after shutdown {getattr(after, '__qualname__', after)}")
assert before is signal.SIG_DFL
assert callable(after) and after.__module__.startswith("ray."), after
PYTHON
