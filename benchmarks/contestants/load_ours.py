"""The shipped load generator: so many users, so many answers. usage: python load_ours.py URL USERS REQUESTS [burst]

Prints the times to first token, in seconds, as JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys

from pytest_llmbench.load.client import ChatServer
from pytest_llmbench.load.conversations import Conversation, Conversations
from pytest_llmbench.load.records import SLO
from pytest_llmbench.load.trial import LoadTest, TrialLimits
from pytest_llmbench.load.users import Habits

_WORDS = "Allume la lumière du salon et dis-moi quelle heure il est, s'il te plaît, puis monte un peu le son, merci."


async def main(url: str, users: int, requests: int, arrivals: str) -> None:
    """One trial that ends when so many requests were judged."""
    talks = Conversations([Conversation((f"{number} {_WORDS}",)) for number in range(200)])
    together = arrivals == "burst"
    messages = -(-requests // users) if together else 1
    habits = Habits("burst" if together else "staggered", messages, history=0, cooldown_s=0.0)
    limits = TrialLimits(error_rate=0.0, warm_up_s=0.0, max_loop_lag_s=60.0, max_client_cpu=60.0)
    target = ChatServer(f"{url}/v1", body={"max_tokens": 20}, timeout_s=120.0)
    async with LoadTest(target, talks, habits, SLO(0.95, 60.0 if together else 1.0), limits, 1) as load:
        trial = await load.trial(users, requests)
    first = [one.first_token_s - one.started_s for one in trial.requests if one.first_token_s is not None]
    failed = [one.error for one in trial.requests if one.error]
    about = {"verdict": trial.verdict, "reason": trial.reason, "loop_lag_s": trial.loop_lag_s}
    print(json.dumps({"first_s": first, "failed": failed, "sent": trial.sent, **about}))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), "".join(sys.argv[4:])))
