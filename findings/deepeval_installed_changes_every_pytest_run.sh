#!/usr/bin/env bash
# deepeval, installed and not used: a test that knows nothing of it runs with the project's .env in its environment.
#
# Version: deepeval 4.1.10, with pytest as it installs.
# Expected: what a pytest plugin does, it does for tests that ask for it; with none, a run is as it was.
# Seen:     its plugin, which pytest loads wherever deepeval is installed, imports all of deepeval. That puts what stands in
#           .env.local and .env into the environment of every test and of the processes that tests start, imports the
#           clients of openai and grpc, and says a line at the end of the session. So a test passes here and fails
#           where deepeval is not installed. The documents tell of .env where deepeval is imported.
# What helps: `-p no:deepeval` in `addopts`, or DEEPEVAL_DISABLE_DOTENV=1 for the environment alone.
# Exits 0 while that is so, 1 when it has changed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet deepeval==4.1.10
mkdir "$work/project"
cd "$work/project"
export DEEPEVAL_TELEMETRY_OPT_OUT=1
echo "WHO_SAYS=dotenv" >.env
cat >test_alone.py <<'PYTHON'
import os
import sys


def test_alone():
    loaded = sorted({"deepeval", "openai", "grpc"} & sys.modules.keys())
    print(f"\nseen: {os.environ.get('WHO_SAYS')} {','.join(loaded) or 'nothing'}")
PYTHON
with=$("$work/venv/bin/python" -W ignore -m pytest -q -s test_alone.py)
without=$("$work/venv/bin/python" -W ignore -m pytest -q -s -p no:deepeval test_alone.py)
grep --only-matching "seen: .*" <<<"$with"
grep --only-matching "seen: .*" <<<"$without"
grep --quiet "seen: dotenv deepeval,grpc,openai" <<<"$with" && grep --quiet "seen: None nothing" <<<"$without"
