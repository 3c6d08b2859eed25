"""A crowd before a real engine: it is late itself, and not who comes after it."""

import asyncio

import httpx

from tests.e2e.conftest import SMALL, Herd

SCOUT = "llama-4-scout-tiny"
#: Requests at the engine at once. The others wait in the gateway's line, and only of these can one be before another.
AT_ONCE = SMALL["max_num_seqs"]
#: A crowd that no engine is through with in a few seconds. Answers are so long or a bit longer, so that slots become free one by one, and
#: within half of the time that a request may wait: who has waited for that goes first again.
CROWD, TOKENS = AT_ONCE + 120, 8
#: Longer than the objective, 3 s: those that wait then are too late.
LATE_S = 3.5


class Crowd:
    """Requests that come at once, and how many of them have no token yet."""

    def __init__(self, endpoint: str) -> None:
        self.http = httpx.AsyncClient(base_url=endpoint, timeout=120, limits=httpx.Limits(max_connections=1000))
        self.waiting = 0

    async def ask(self, number: int) -> int | None:
        """Returns, at the first token, how many have none yet; None where it was refused, as a slow engine would come to it too late."""
        body = {"model": SCOUT, "prompt": f"{number} llamas", "max_tokens": TOKENS + number % 9, "ignore_eos": True, "stream": True}
        self.waiting += 1
        left = None
        async with self.http.stream("POST", "/v1/completions", json=body) as answer:
            assert answer.status_code in (200, 429), await answer.aread()
            async for _ in answer.aiter_lines():
                if left is None:
                    self.waiting -= 1
                    left = self.waiting
        return left if answer.status_code == 200 else None


def test_request_after_a_crowd_is_answered_before_those_that_are_too_late(herd: Herd) -> None:
    async def crowded() -> tuple[int, int | None]:
        crowd = Crowd(herd.endpoint)
        async with crowd.http:
            await crowd.ask(0)
            coming = [asyncio.create_task(crowd.ask(number)) for number in range(CROWD)]
            await asyncio.sleep(LATE_S)
            before, left = crowd.waiting, await crowd.ask(CROWD)
            await asyncio.gather(*coming)
            return before, left

    before, left = asyncio.run(crowded())
    assert before > 2 * AT_ONCE + 8, "the crowd was served too soon to say anything"
    assert left is not None, "there is room in the line for one that can be in time"
    assert left > AT_ONCE, "in turn, only others at the engine could be without a token yet"
