"""The load feed: every replica of a roster is asked how it is, several times a second, over HTTP and without Ray. With its answer comes
what other gateways have sent it since; with the question it hears how many requests wait here.

Decides how often. What an answer or a silence means is `policy.routing.replica_report`'s. A replica that does not answer holds up nobody
else, and feeds go on while Ray's head is away.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import msgspec

from deployments.gateway.replicas.loops import end
from deployments.gateway.replicas.roster import Roster
from deployments.policy.queue import demand
from deployments.policy.routing import load_query, poison
from deployments.policy.routing import prompt_gossip as sent
from deployments.policy.routing.load_query import LoadQuery
from deployments.policy.routing.poison import Poison
from deployments.policy.routing.replica_report import SUSPECTED_AFTER, view_of
from deployments.policy.routing.types import ReplicaView
from deployments.wire.engine.answer import EngineGone
from deployments.wire.engine.client import Engines
from deployments.wire.types import Address

PATH = b"/-/load"
#: Longest wait for one report, in seconds and in periods; the next is asked for only after it.
ANSWER_S, ANSWER_PERIODS = 2.0, 10
#: Longest wait for a connection to a replica that gave no report, in periods.
REACH_PERIODS = 5


class Feed:
    """Keeps the views of a roster fresh."""

    def __init__(
        self,
        roster: Roster,
        engines: Engines,
        own: str,
        period_s: float,
        refused: Poison | None = None,
        waiting: Callable[[str], int] | None = None,
    ) -> None:
        """Args:
        roster: whose replicas are asked.
        engines: the way there.
        own: this gateway's name, by which it knows its own prompts again.
        period_s: between two questions to a replica.
        refused: the requests that this gateway refuses because engines died of them; it tells the others, and learns theirs.
            waiting: how many requests of a model wait at this gateway, which every replica of the model is told; None: nothing is told.
        """
        self._roster = roster
        self._own = own
        self._engines = engines
        self._period_s = period_s
        self._refused = Poison() if refused is None else refused
        self._waiting = waiting
        self._heard: dict[str, float] = {}
        self._reached: dict[str, bool] = {}
        """Whether the machines of silent replicas take connections."""
        self._last: dict[str, int] = {}
        """Prompts of each replica's that have been heard of."""
        self._asking: dict[str, asyncio.Task[None]] = {}
        self._task = asyncio.get_running_loop().create_task(self._loop())

    def change(self, period_s: float) -> None:
        """Sets how often each replica is asked. All are asked at once where that is new.

        A replica's silence so far stays as many periods long as it was: in a shorter period it is neither suspected nor given up for it.
        """
        if period_s == self._period_s:
            return
        now, times = time.monotonic(), period_s / self._period_s
        self._heard = {name: now - (now - heard) * times for name, heard in self._heard.items()}
        self._period_s = period_s
        self._task.cancel()
        self._task = asyncio.get_running_loop().create_task(self._loop())

    async def stop(self) -> None:
        """Ends every loop and question, and returns when they have ended."""
        await end((self._task, *self._asking.values()))

    @property
    def alive(self) -> bool:
        """It still asks."""
        return not self._task.done()

    async def _loop(self) -> None:
        while True:
            there = {view.id: view for model in self._roster.models for view in self._roster.replicas(model)}
            self._heard = {name: self._heard.get(name, time.monotonic()) for name in there}
            self._last = {name: self._last.get(name, 0) for name in there}
            self._reached = {name: reached for name, reached in self._reached.items() if name in there}
            self._asking = {name: task for name, task in self._asking.items() if not task.done()}
            for name, view in there.items():
                periods = (time.monotonic() - self._heard[name]) / self._period_s
                if periods >= SUSPECTED_AFTER:
                    self._roster.silent(view, periods, self._reached.get(name, False))
                if name not in self._asking:
                    self._asking[name] = asyncio.get_running_loop().create_task(self._ask(view))
            await asyncio.sleep(self._period_s)

    async def _ask(self, view: ReplicaView) -> None:
        address = Address(view.host, view.port)
        try:
            async with asyncio.timeout(min(ANSWER_S, ANSWER_PERIODS * self._period_s)):
                answer = await self._engines.exchange(address, b"GET", b"%b?%b" % (PATH, self._query(view)), (), b"")
                try:
                    report = msgspec.json.decode(await answer.read(), type=dict)
                finally:
                    answer.close()
            said = view_of(report)
        except TimeoutError:
            self._reached[view.id] = await self._engines.reaches(address, REACH_PERIODS * self._period_s)
            return
        except (EngineGone, msgspec.DecodeError, KeyError, TypeError, ValueError):
            self._reached[view.id] = False
            return  # its silence will tell
        self._heard[view.id] = time.monotonic()
        self._roster.heard(said)
        self._learn(said, report)

    def _query(self, view: ReplicaView) -> bytes:
        refused = poison.written(self._refused.told(time.monotonic())) if self._refused else ""
        waiting = "" if self._waiting is None else demand.written(self._own, self._waiting(view.model))
        return load_query.written(LoadQuery(self._last.get(view.id, 0), waiting, refused))

    def _learn(self, said: ReplicaView, report: dict[str, Any]) -> None:
        if isinstance(refused := report.get("poison"), str):
            self._refused.learn(poison.read(refused), time.monotonic())
        last, prompts = report.get("last"), report.get("prompts")
        if not (isinstance(last, int) and isinstance(prompts, list)):
            return  # a replica of an older release
        self._last[said.id] = last
        for told in (sent.read(prompt) for prompt in prompts if isinstance(prompt, str)):
            if told is not None and told.by != self._own:
                self._roster.learned(said, told.prompt)
