"""A replica's reports of its load to gateways, and the words of gateways to one another that go with them.

Decides how long a reading is good for, and what goes into a line of a stream. When a line is due is `policy.routing.report_stream`'s. The
engine is read once a tick and a line written once, however many gateways follow the replica.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from deployments.policy.request import poison
from deployments.policy.routing import prompt_gossip as sent
from deployments.policy.routing.load_query import LoadQuery
from deployments.policy.routing.report_stream import NOTHING_NEW, NUMBER, Pace, changes, is_due, is_news, until_tick
from deployments.wire.shared_answer import SharedAnswer

Report = Callable[[], Awaitable[dict[str, Any]]]
Line = Callable[[bytes], Awaitable[None]]
#: A reading is shared by all whose tick is within so many seconds.
KEPT_S = 0.005


@dataclass(frozen=True, slots=True)
class _Reading:
    number: int
    """The same as that of the reading before where nothing has changed."""
    arrivals: int
    said: dict[str, Any]
    condemned: frozenset[str]
    """Digests of the requests that gateways refuse."""


_NOTHING = _Reading(0, 0, {}, frozenset())


class LoadReports:
    """A replica's reports to all gateways."""

    def __init__(self, report: Report, clock: Callable[[], float] = time.monotonic) -> None:
        """Args:
        report: the fields of the engine's own report, by the names of `policy.routing.ReplicaView`.
        clock: seconds.
        """
        self._report = report
        self._clock = clock
        self._recent = sent.Recent()
        self._poison = poison.Poison()
        """Requests that a gateway has found to end engines, for the other gateways to hear of."""
        self._arrivals = 0
        self._last = _NOTHING
        self._readings = SharedAnswer(self._read, KEPT_S, clock)
        self._lines: dict[tuple[int, int, int], tuple[bytes, int]] = {}
        """Lines about the last reading, by the one that the gateway was told before, this one, and the prompts that the gateway knows."""
        self._ended = False

    def arrived(self, told: bytes | None) -> int:
        """A request has come, with this word of its gateway's about its prompt; its tokens to compute, to be given to `computed` once."""
        self._arrivals += 1
        return self._recent.arrived(told) if told else 0

    def computed(self, tokens: int) -> None:
        """A prompt has been computed, or nobody wants it any more."""
        self._recent.computed(tokens)

    def learn(self, asked: LoadQuery) -> None:
        """Takes what a gateway tells with its question."""
        if asked.poison:
            self._poison.learn(poison.read(asked.poison), self._clock())

    async def whole(self, after: int) -> bytes:
        """One report with everything in it, read now, and the prompts after this number."""
        return self._written(_NOTHING, await self._read(), after)[0]

    async def stream(self, asked: LoadQuery, say: Line, is_gone: Callable[[], bool]) -> None:
        """Says lines until `end`, or until the gateway is gone, which is looked for at every tick."""
        pace = Pace(asked.every_s, asked.every_s, asked.quiet_s)
        told, after, spoke_s = _NOTHING, asked.after, self._clock()
        while not (is_gone() or self._ended):
            now = await self._readings.get()
            if now.number != told.number:
                line, after = self._line(told, now, after)
                told = now
            else:
                line = NOTHING_NEW
            if line is not NOTHING_NEW or now.said.get("ongoing") or is_due(self._clock() - spoke_s, pace):
                await say(line)
                spoke_s = self._clock()
            await asyncio.sleep(until_tick(self._clock(), asked.every_s))

    def end(self) -> None:
        """Ends every stream at its next tick, and lets none begin."""
        self._ended = True

    async def _read(self) -> _Reading:
        arrivals = self._arrivals
        said = await self._report() | {"prefill_tokens": self._recent.prefill_tokens}
        condemned = frozenset(self._poison.told(self._clock())) if self._poison else frozenset[str]()
        last = self._last
        if arrivals != last.arrivals or condemned != last.condemned or is_news(last.said, said):
            self._last = _Reading(last.number + 1, arrivals, said, condemned)
            self._lines.clear()
        elif NUMBER in said:  # what begins to follow now must not take it for older than what Ray has told it
            self._last = replace(last, said=last.said | {NUMBER: said[NUMBER]})
        return self._last

    def _line(self, told: _Reading, now: _Reading, after: int) -> tuple[bytes, int]:
        """Returns a line that may have been written for another gateway, and the number of the last prompt in it."""
        key = told.number, now.number, after
        if key not in self._lines:
            self._lines[key] = self._written(told, now, after)
        return self._lines[key]

    def _written(self, told: _Reading, now: _Reading, after: int) -> tuple[bytes, int]:
        last, prompts = self._recent.after(after)
        said = changes(told.said, now.said)
        if prompts or told is _NOTHING:
            said |= {"last": last, "prompts": prompts}
        if now.condemned != told.condemned:
            said["poison"] = poison.written(self._poison.told(self._clock()))
        return msgspec.json.encode(said) + NOTHING_NEW, last
