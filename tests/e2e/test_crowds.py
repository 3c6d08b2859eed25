"""A crowd before a real engine: it is late itself, and not who comes after it.

The gateway here is built by the test, in front of the herd's engine and with its door's key: its objective is one that also a slow machine
can keep for a request that goes first.
"""

import asyncio
import time

import httpx

from configs.scaling import Slo
from configs.schema import Limits, Model
from tests.e2e.conftest import SMALL, Herd
from tests.e2e.own_gateway import before, views

SCOUT = "llama-4-scout-tiny"
#: Requests at the engine at once. The others wait in the gateway's line, and only of these can one be before another.
AT_ONCE = SMALL["max_num_seqs"]
OBJECTIVE_S, LATE_S = 10.0, 10.5
#: Who has waited for half of this goes first again.
QUEUE_S = 120.0
MODEL = Model(id=SCOUT, kind=SCOUT, checkpoint=f"small:{SCOUT}", context_tokens=2048, engine=SMALL, slo=Slo(ttft_s=OBJECTIVE_S))
#: Requests that tell how fast the engine is. In the line there is then what it does in so many seconds, and so much at least.
FEW, CROWD_S, LEAST = 2 * AT_ONCE, 30.0, 100


class Crowd:
    """Requests that come at once, and how many of them have no token yet."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http
        self.waiting = 0

    async def ask(self, number: int) -> int:
        """Returns, at the first token, how many have none yet."""
        # Of different lengths, so that slots become free one after the other.
        body = {"model": SCOUT, "prompt": f"{number} llamas", "max_tokens": 2 + number % 9, "ignore_eos": True, "stream": True}
        self.waiting += 1
        left = -1
        async with self.http.stream("POST", "/v1/completions", json=body) as answer:
            assert answer.status_code == 200, await answer.aread()
            async for _ in answer.aiter_lines():
                if left < 0:
                    self.waiting -= 1
                    left = self.waiting
        return left

    async def come(self, several: int) -> float:
        """Sends so many, and returns how many seconds they took."""
        begun = time.monotonic()
        await asyncio.gather(*(self.ask(number) for number in range(several)))
        return time.monotonic() - begun


async def test_request_after_a_crowd_is_answered_before_those_that_are_too_late(herd: Herd) -> None:
    replica = views([herd.replica(SCOUT)], SCOUT, slots=AT_ONCE)
    async with before(herd, MODEL, Limits(queue_s=QUEUE_S, queue_requests=10_000), replica) as own:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(base_url=own.url, timeout=2 * QUEUE_S, limits=limits) as http:
            crowd = Crowd(http)
            await crowd.come(FEW)  # an engine's first steps are slow
            several = AT_ONCE + max(LEAST, int(FEW / await crowd.come(FEW) * CROWD_S))
            coming = asyncio.create_task(crowd.come(several))
            await asyncio.sleep(LATE_S)
            ahead, left = crowd.waiting, await crowd.ask(several)
            await coming
    print(f"of {several}, {ahead} waited before it, and {left} behind it")
    assert ahead > 2 * AT_ONCE + 8, "the crowd was served too soon to say anything"
    assert left > AT_ONCE, "in turn, only others at the engine could be without a token yet"
