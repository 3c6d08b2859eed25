"""The news of a gateway for replicas: how many requests wait here for their model, and which are refused because engines died of them.

Decides when a replica is told: with each question for its reports, and in between where there is something new, or something that would
else be forgotten there. Nothing is sent while nothing waits.
"""

import asyncio
import time
from collections.abc import Callable, Collection, Mapping

from deployments.gateway.replicas.loops import end
from deployments.gateway.replicas.report_stream import PATH, ReportStream
from deployments.policy.queue import demand
from deployments.policy.request import poison
from deployments.policy.request.poison import Poison
from deployments.policy.routing import load_query
from deployments.policy.routing.load_query import LoadQuery
from deployments.wire.engine.answer import Broken
from deployments.wire.engine.client import Engines

#: A replica takes a word within so many seconds, or is told again.
TAKEN_S = 2.0
#: What still waits is told again after so many seconds; replicas remember it for `demand.TOLD_S`.
AGAIN_S = 5.0
#: Replicas that are told something in one second, at most: with more of them a change takes longer to be known to all. Autoscaling takes
#: the longest line that any replica knows of, so that it hears of a line from the first replica that is told.
MOST_PER_S = 50
#: What a replica was told that could not be told.
_FAILED = LoadQuery(after=-1)


class Telling:
    """Tells the replicas of a gateway."""

    def __init__(self, engines: Engines, own: str, refused: Poison, waiting: Callable[[str], int] | None) -> None:
        """Args:
        engines: the way to the replicas.
        own: this gateway's name.
        refused: the requests that this gateway refuses.
        waiting: how many requests of a model wait here; None: nothing is told of that.
        """
        self._engines = engines
        self._own = own
        self._refused = refused
        self._waiting = waiting
        self._told: dict[str, tuple[LoadQuery, float]] = {}
        """The last news of each replica, without the seconds that a request is refused yet, and when."""
        self._known: dict[str, LoadQuery] = {}
        """The news for the replicas of each model."""
        self.is_open = False
        """Some replica must be told something, though nothing has changed."""
        self._tasks: set[asyncio.Task[None]] = set()

    def question(self, stream: ReportStream) -> bytes:
        """The query with which a replica is asked for its reports. It tells the replica everything."""
        self._told[stream.id] = self._words(stream.model), time.monotonic()
        return self._query(stream, stream.pace.every_s, stream.pace.quiet_s)

    def tell(self, models: Collection[str], streams: Mapping[str, ReportStream], within_s: float) -> None:
        """Tells those replicas for which there is something new; where they are many, the rest by the next call, `within_s` later."""
        words = {model: self._words(model) for model in models}
        if words == self._known and not self.is_open:
            return
        now, most = time.monotonic(), max(1, int(MOST_PER_S * within_s))
        self._known = words
        self._told = {name: told for name, told in self._told.items() if name in streams}
        late = [name for name, (told, at) in self._told.items() if _is_late(told, words.get(streams[name].model), now - at)]
        self.is_open = len(late) > most or any(one.waiting for one in words.values())
        for name in late[:most]:
            del self._told[name]  # the one told last is the last to be told again
            self._told[name] = words[streams[name].model], now
            task = asyncio.get_running_loop().create_task(self._send(streams[name]))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        """Tells nobody any more."""
        await end(self._tasks)

    def _words(self, model: str) -> LoadQuery:
        waiting = 0 if self._waiting is None else self._waiting(model)
        refused = ",".join(self._refused.told(time.monotonic())) if self._refused else ""
        return LoadQuery(waiting=demand.written(self._own, waiting) if waiting else "", poison=refused)

    def _query(self, stream: ReportStream, every_s: float = 0.0, quiet_s: float = 0.0) -> bytes:
        refused = poison.written(self._refused.told(time.monotonic())) if self._refused else ""
        waiting = "" if self._waiting is None else demand.written(self._own, self._waiting(stream.model))
        return load_query.written(LoadQuery(stream.last, waiting, refused, every_s, quiet_s))

    async def _send(self, stream: ReportStream) -> None:
        try:
            async with asyncio.timeout(TAKEN_S):
                answer = await self._engines.exchange(stream.address, b"GET", b"%b?%b" % (PATH, self._query(stream)), (), b"")
                try:
                    await answer.read()
                finally:
                    answer.close()
        except (TimeoutError, Broken):
            self._told[stream.id] = _FAILED, 0.0
            self.is_open = True


def _is_late(told: LoadQuery, words: LoadQuery | None, since_s: float) -> bool:
    return words is not None and (told != words or (bool(words.waiting) and since_s >= AGAIN_S))
