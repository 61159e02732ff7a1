#!/usr/bin/env bash
# ray 2.60.0: `ActorPool` forgets the items that wait for an actor when the actors before them die.
#
# Twenty items are submitted to a pool of two actors. Item 3 and item 4 each end their actor's process. Results are taken with
# `get_next_unordered` until `has_next` says that there are none, and each error is caught.
# Expected: an actor that dies costs its own item; the pool either starts another, or says at the end which items are
# left. Seen: the pool never gives the dead actors an item again, `has_next` becomes false with items still in its
# queue, and nothing tells of them. Whoever counts results alone takes the run for whole.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet ray==2.60.0
cat > "$work/pool.py" <<'PYTHON'
import logging, os, sys
import ray
from ray.util import ActorPool

@ray.remote(num_cpus=0.5, max_restarts=0)
class Worker:
    def answer(self, item):
        if item in (3, 4):
            os._exit(1)
        return item

ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
pool = ActorPool([Worker.remote() for _ in range(2)])
for item in range(20):
    pool.submit(lambda actor, value: actor.answer.remote(value), item)
answered, errors = [], 0
while pool.has_next():
    try:
        answered.append(pool.get_next_unordered(timeout=60))
    except ray.exceptions.RayActorError:
        errors += 1
ray.shutdown()
lost = 20 - len(answered) - errors
print(f"ray {ray.__version__}: {len(answered)} answered, {errors} errors, {lost} items of 20 forgotten without a word")
sys.exit(0 if lost else "no item is forgotten any more: this surprise is gone")
PYTHON
RAY_USAGE_STATS_ENABLED=0 RAY_AUTH_TOKEN=$(printf '0%.0s' {1..64}) "$work/venv/bin/python" -W ignore "$work/pool.py" 2>/dev/null
