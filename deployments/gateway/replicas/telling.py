"""Tells replicas which requests this gateway refuses because engines died of them.

Decides when a replica is told: with each question for its reports, and in between where there is something new.
"""

import asyncio
import time
from collections.abc import Mapping

from deployments.gateway.replicas.loops import end
from deployments.gateway.replicas.report_stream import PATH, ReportStream
from deployments.policy.request import poison
from deployments.policy.request.poison import Poison
from deployments.policy.routing import load_query
from deployments.policy.routing.load_query import LoadQuery
from deployments.wire.engine.answer import Broken
from deployments.wire.engine.client import Engines

#: A replica takes a word within so many seconds, or is told again.
TAKEN_S = 2.0
#: Replicas that are told something in one second, at most: with more of them a change takes longer to be known to all.
MOST_PER_S = 50
#: Stands for the word of a replica that could not be told: equal to no list.
_FAILED = "nothing"


class Telling:
    """Tells the replicas of a gateway."""

    def __init__(self, engines: Engines, refused: Poison) -> None:
        """Args:
        engines: the way to the replicas.
        refused: the requests that this gateway refuses.
        """
        self._engines = engines
        self._refused = refused
        self._told: dict[str, str] = {}
        """The refused requests that each replica was told last, without the seconds that each is refused yet."""
        self._known = ""
        """Those that every replica should know."""
        self.is_open = False
        """Some replica must be told something, though nothing has changed."""
        self._tasks: set[asyncio.Task[None]] = set()

    def question(self, stream: ReportStream) -> bytes:
        """The query with which a replica is asked for its reports. It tells the replica everything."""
        self._told[stream.id] = self._words()
        return self._query(stream, stream.pace.every_s, stream.pace.quiet_s)

    def tell(self, streams: Mapping[str, ReportStream], within_s: float) -> None:
        """Tells those replicas for which there is something new; where they are many, the rest by the next call, `within_s` later."""
        words = self._words()
        if words == self._known and not self.is_open:
            return
        most = max(1, int(MOST_PER_S * within_s))
        self._known = words
        self._told = {name: told for name, told in self._told.items() if name in streams}
        late = [name for name, told in self._told.items() if told != words]
        self.is_open = len(late) > most
        for name in late[:most]:
            self._told[name] = words
            task = asyncio.get_running_loop().create_task(self._send(streams[name]))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        """Tells nobody any more."""
        await end(self._tasks)

    def _words(self) -> str:
        return ",".join(self._refused.told(time.monotonic())) if self._refused else ""

    def _query(self, stream: ReportStream, every_s: float = 0.0, quiet_s: float = 0.0) -> bytes:
        refused = poison.written(self._refused.told(time.monotonic())) if self._refused else ""
        return load_query.written(LoadQuery(stream.last, refused, every_s, quiet_s))

    async def _send(self, stream: ReportStream) -> None:
        try:
            async with asyncio.timeout(TAKEN_S):
                answer = await self._engines.exchange(stream.address, b"GET", b"%b?%b" % (PATH, self._query(stream)), (), b"")
                try:
                    await answer.read()
                finally:
                    answer.close()
        except (TimeoutError, Broken):
            self._told[stream.id] = _FAILED
            self.is_open = True
