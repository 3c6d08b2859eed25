"""Clients that keep asking while something is killed, and what became of their requests.

Decides what is a request that failed, a stream that broke, and a wrong answer. They ask through a load balancer, as a site's would.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp

from tests.bench import asking
from tests.bench.asking import Answer, Failed, answered

PATH = "/v1/completions"
TOKENS = 40
#: Every so often a request begins, streamed and whole in turn.
PERIOD_S = 1.5
ANSWER_S = 150.0


@dataclass
class Tally(asking.Tally):
    """Of these, `failed` are those without an answer, or refused, before the first byte."""

    broken: int = 0
    """Streams that ended before their end."""
    slowest_s: float = 0.0


def asked(model: str, prompt: str, stream: bool) -> dict[str, Any]:
    """One request. Greedy, so that its answer is known."""
    body = {"model": model, "prompt": prompt, "max_tokens": TOKENS, "temperature": 0, "ignore_eos": True}
    return body | ({"stream": True, "stream_options": {"include_usage": True}} if stream else {})


class Clients:
    """Ask one after the other, each by a connection of its own, until they are told to stop."""

    def __init__(self, url: str, model: str, known: Sequence[tuple[str, Answer]]) -> None:
        """Args:
        url: where to ask.
        model: whom.
        known: prompts, and the answers to them.
        """
        self.tally = Tally()
        self._url = url
        self._model = model
        self._known = known
        self._over = asyncio.Event()
        self._begun = 0

    def stop(self) -> None:
        """No new request; those under way are still waited for. From the loop that runs them."""
        self._over.set()

    async def run(self) -> None:
        """Asks until `stop`, and until the last answer."""
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, force_close=True)) as http, asyncio.TaskGroup() as group:
            while not self._over.is_set():
                group.create_task(self._one(http, self._begun))
                self._begun += 1
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._over.wait(), PERIOD_S)

    async def _one(self, http: aiohttp.ClientSession, number: int) -> None:
        prompt, expected = self._known[number // 2 % len(self._known)]
        pieces: list[str] = []
        began = asyncio.get_running_loop().time()
        self.tally.requests += 1
        try:
            async with asyncio.timeout(ANSWER_S):
                answer = await answered(http, self._url + PATH, asked(self._model, prompt, number % 2 == 0), pieces.append)
        except (Failed, aiohttp.ClientError, TimeoutError) as error:
            if pieces:
                self.tally.broken += 1
            else:
                self.tally.failed += 1
            self.tally.complain(error)
        else:
            self.tally.wrong += answer != expected
        self.tally.slowest_s = max(self.tally.slowest_s, asyncio.get_running_loop().time() - began)
