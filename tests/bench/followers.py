"""Gateways that only follow replicas: production's feeds, rosters and connections, without listeners. One process for all of them.

Prints a line when every gateway has heard of every replica, and ends when its standard input does.
"""

import argparse
import asyncio
import gc
import sys

import uvloop

from deployments.gateway.replicas.load_feed import Feed
from deployments.gateway.replicas.roster import Roster
from deployments.policy.routing.types import ReplicaState, ReplicaView, Trust
from deployments.wire.engine.client import Engines
from tests.bench.feeds import KEY, MODEL, PERIOD_S, host

_LONGEST_S = 120


async def _serve(gateways: int, replicas: int, port: int) -> None:
    views = [ReplicaView(f"replica-{number}", MODEL, host(number), port, ReplicaState.READY, 0) for number in range(replicas)]
    rosters = [Roster([MODEL]) for _ in range(gateways)]
    for roster in rosters:
        roster.update(MODEL, views)
    feeds = [Feed(roster, Engines(KEY), f"gateway{number}", PERIOD_S) for number, roster in enumerate(rosters)]
    async with asyncio.timeout(_LONGEST_S):
        while not all(view.slots for roster in rosters for view in roster.replicas(MODEL)):  # noqa: ASYNC110 (a roster sets no event)
            await asyncio.sleep(1)
    gc.collect()
    gc.freeze()  # as a gateway's process does
    print("all are heard", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    if any(view.trust is not Trust.TRUSTED for roster in rosters for view in roster.replicas(MODEL)):
        raise SystemExit("some replicas were doubted")
    for feed in feeds:
        await feed.stop()


def main() -> None:
    """Follows until the standard input ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gateways", type=int, default=1)
    parser.add_argument("--replicas", type=int, default=1)
    parser.add_argument("--port", type=int, required=True)
    asked = parser.parse_args()
    uvloop.run(_serve(asked.gateways, asked.replicas, asked.port))


if __name__ == "__main__":
    main()
