"""Clients that keep asking while something is killed, and what became of their requests.

Decides what is a request that failed, one that was refused, a stream that broke, and a wrong answer. They ask through a load balancer, as a
site's would.
"""

import asyncio
import contextlib
from bisect import bisect_right
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
#: A stream whose engine has no twin waits for the next one.
ANSWER_S = 600.0


@dataclass
class Tally(asking.Tally):
    """Of these, `failed` are those without an answer before the first byte, and without being told when to come again."""

    refused: int = 0
    """Told to come again, and when."""
    broken: int = 0
    """Streams that ended before their end."""
    slowest_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Promise:
    """What one client was told, and what came of it."""

    told_s: int
    """To wait so long."""
    took_s: float
    """So long it took until somebody was answered."""


def kept(refusals: Sequence[tuple[float, int]], answers: Sequence[float]) -> list[Promise]:
    """Each refusal as a promise; those after the last answer are left out.

    Args:
        refusals: when, and the seconds that were told.
        answers: when an answer began.
    """
    ordered = sorted(answers)
    after = [(at, told_s, bisect_right(ordered, at)) for at, told_s in sorted(refusals)]
    return [Promise(told_s, round(ordered[place] - at, 1)) for at, told_s, place in after if place < len(ordered)]


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
        self._refusals: list[tuple[float, int]] = []
        self._answers: list[float] = []

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

    @property
    def promises(self) -> list[Promise]:
        """What those who were refused were told; known when all have been asked."""
        return kept(self._refusals, self._answers)

    async def _one(self, http: aiohttp.ClientSession, number: int) -> None:
        prompt, expected = self._known[number // 2 % len(self._known)]
        now, pieces = asyncio.get_running_loop().time, list[float]()
        began = now()
        self.tally.requests += 1
        try:
            async with asyncio.timeout(ANSWER_S):
                body = asked(self._model, prompt, number % 2 == 0)
                answer = await answered(http, self._url + PATH, body, lambda _: pieces.append(now()))
        except (Failed, aiohttp.ClientError, TimeoutError) as error:
            self._count(error, now(), bool(pieces))
        else:
            self.tally.wrong += answer != expected
            self._answers.append(pieces[0] if pieces else now())
        self.tally.slowest_s = max(self.tally.slowest_s, now() - began)

    def _count(self, error: Failed | aiohttp.ClientError | TimeoutError, at: float, begun: bool) -> None:
        if isinstance(error, Failed) and error.retry_after_s is not None:
            self.tally.refused += 1
            self._refusals.append((at, error.retry_after_s))
            return
        if begun:
            self.tally.broken += 1
        else:
            self.tally.failed += 1
        self.tally.complain(error)
