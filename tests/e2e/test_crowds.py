"""A crowd before a real engine: it is late itself, and not who comes after it."""

import asyncio
import time

import httpx

from tests.e2e.conftest import SMALL, Herd

SCOUT = "llama-4-scout-tiny"
#: Requests that tell how fast the engine is. The crowd is then what it does in so many seconds.
FEW, CROWD_S = 64, 16.0
#: Requests at the engine at once. The others wait in the gateway's line, and only of these can one be before another.
AT_ONCE = SMALL["max_num_seqs"]
#: No more, though: that many have a slot or a place in the line.
MOST = 250
#: Longer than the objective, 3 s: those that wait then are too late.
LATE_S = 3.5


class Crowd:
    """Requests that come at once, and how many of them have no token yet."""

    def __init__(self, endpoint: str) -> None:
        self.http = httpx.AsyncClient(base_url=endpoint, timeout=120, limits=httpx.Limits(max_connections=1000))
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


def test_request_after_a_crowd_is_answered_before_those_that_are_too_late(herd: Herd) -> None:
    async def crowded() -> tuple[int, int]:
        crowd = Crowd(herd.endpoint)
        async with crowd.http:
            await crowd.come(FEW)  # an engine's first steps are slow
            several = min(MOST, int(FEW / await crowd.come(FEW) * CROWD_S))
            coming = asyncio.create_task(crowd.come(several))
            await asyncio.sleep(LATE_S)
            before, left = crowd.waiting, await crowd.ask(several)
            await coming
            return before, left

    before, left = asyncio.run(crowded())
    in_line = before - AT_ONCE
    assert in_line > 24, "the crowd was served too soon to say anything"
    assert left > in_line / 3
