"""The load feed: every replica of a roster tells how it is, over HTTP and without Ray. With it comes what other gateways have sent it.

Decides whom to follow, and whom to doubt. What a report or a silence means is `policy.routing`'s.
A replica that does not answer holds up nobody else, and feeds go on while Ray's head is away.
"""

import asyncio
import contextlib
import math
import time
from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from deployments.gateway.replicas.loops import end
from deployments.gateway.replicas.report_stream import ReportStream
from deployments.gateway.replicas.roster import Roster
from deployments.gateway.replicas.telling import Telling
from deployments.policy.request import poison
from deployments.policy.request.poison import Poison
from deployments.policy.routing import prompt_gossip as sent
from deployments.policy.routing.report_stream import HEARTBEAT_S, Pace, pace
from deployments.policy.routing.types import ReplicaState, ReplicaView, Trust
from deployments.wire.engine.client import Engines

#: Streams that are asked anew in one period because there are more or fewer replicas than before.
MOST_RENEWED = 5
#: Reports are read, and told to the roster, together: one by one they find a cold cache, and the roster looks at all replicas each time.
#: The first of them waits for so long per replica: 4 ms where there are eight, half a second where there are a thousand, of which each
#: speaks every few seconds.
TOGETHER_S = 5e-4


def _nobody(_model: str) -> None: ...


class Feed:
    """Keeps the views of a roster fresh."""

    def __init__(
        self,
        roster: Roster,
        engines: Engines,
        own: str,
        period_s: float,
        refused: Poison | None = None,
    ) -> None:
        """Args:
        roster: whose replicas are followed.
        engines: the way there.
        own: this gateway's name, by which it knows its own prompts again.
        period_s: between two reports of a replica that has requests.
        refused: the requests that this gateway refuses because engines died of them; it tells the others, and learns theirs.
        """
        self._roster = roster
        self._own = own
        self._engines = engines
        self._period_s = period_s
        self._refused = Poison() if refused is None else refused
        self._telling = Telling(engines, self._refused)
        self._on_break: Callable[[str], None] = _nobody
        self._seen: tuple[tuple[ReplicaView, ...], ...] = ()
        """The replicas of each model when they were last looked at."""
        self._views: dict[str, ReplicaView] = {}
        self._streams: dict[str, ReportStream] = {}
        self._fresh: dict[str, ReplicaView] = {}
        """Reports that the roster has not been told yet."""
        self._unread: dict[ReportStream, None] = {}
        self._reading: asyncio.TimerHandle | None = None
        self._doubted: set[str] = set()
        self._wanted, self._renewing = pace(period_s, 0), False
        self._time = asyncio.get_running_loop().time
        self._ending: set[asyncio.Task[None]] = set()
        self._news = asyncio.Event()
        """Something has changed in the roster since the loop looked."""
        roster.listen(self._changed)
        self._task = asyncio.get_running_loop().create_task(self._loop())

    def listen(self, broken: Callable[[str], None]) -> None:
        """From now on calls `broken` with the model of each replica whose stream breaks."""
        self._on_break = broken

    def change(self, period_s: float) -> None:
        """Sets how often a replica with requests reports. All are asked anew, one after the other, where that is new.

        Until then a replica's silence is counted by the period that it was told: in a shorter one it is neither suspected nor given up.
        """
        if period_s == self._period_s:
            return
        self._period_s = period_s
        self._want(pace(period_s, len(self._streams)))
        self._task.cancel()
        self._task = asyncio.get_running_loop().create_task(self._loop())

    async def stop(self) -> None:
        """Ends every loop and stream, and returns when they have ended."""
        if self._reading is not None:
            self._reading.cancel()
        await end((self._task, *self._ending, *(stream.close() for stream in self._streams.values())))
        await self._telling.stop()

    @property
    def alive(self) -> bool:
        """It still follows every replica."""
        return not self._task.done() and all(stream.alive for stream in self._streams.values())

    def question(self, stream: ReportStream) -> bytes:
        """Returns the query with which a replica is asked for its reports."""
        return self._telling.question(stream)

    def arrived(self, stream: ReportStream) -> None:
        """A report has come; it is read with others."""
        self._unread[stream] = None
        if self._reading is None:
            self._reading = asyncio.get_running_loop().call_later(TOGETHER_S * len(self._streams), self._read)

    def take(self, stream: ReportStream, report: dict[str, Any]) -> None:
        """Takes what a replica has said of itself, and what others have told it."""
        if stream.said is not None:
            self._learn(stream, stream.said, report)
            self._fresh[stream.id] = stream.said

    def broke(self, stream: ReportStream, gone: bool) -> None:
        """A stream has broken, or, where `gone`, the replica takes no connection either: its process has ended."""
        self._on_break(stream.model)
        self._fresh.pop(stream.id, None)
        if gone and stream.said is not None:
            self._roster.suspect(stream.said)

    def _read(self) -> None:
        """Reads all that has come since the last time, and tells the roster."""
        if self._reading is not None:
            self._reading.cancel()
        self._reading, unread, self._unread = None, self._unread, {}
        for stream in unread:
            stream.read()
        if self._fresh:
            fresh, self._fresh = self._fresh, {}
            self._roster.heard_all(fresh.values())

    def _changed(self, _model: str) -> None:
        self._news.set()

    async def _loop(self) -> None:
        """Looks every period while a replica says something new, and else when the next one would be late."""
        while True:
            self._news.clear()
            self._read()
            self._look()
            self._doubt()
            self._renew()
            self._telling.tell(self._streams, self._period_s)
            await asyncio.sleep(max(self._period_s, TOGETHER_S * len(self._streams)))
            if not self._news.is_set() and (idle_s := self._idle_s()) > 0:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(idle_s):
                        await self._news.wait()

    def _idle_s(self) -> float:
        """Seconds for which there is nothing to do, as far as is known."""
        if self._doubted or self._renewing or self._telling.is_open:
            return 0.0
        now = self._time()
        return min(HEARTBEAT_S, min((stream.doubted_at for stream in self._streams.values()), default=math.inf) - now)

    def _want(self, wanted: Pace) -> None:
        if wanted != self._wanted:
            self._wanted, self._renewing = wanted, True

    def _look(self) -> None:
        """Follows the replicas that there are now. Does nothing where there is no news of any."""
        seen = tuple(self._roster.replicas(model) for model in self._roster.models)
        if len(seen) == len(self._seen) and all(now is before for now, before in zip(seen, self._seen, strict=True)):
            return
        self._seen = seen
        views = {view.id: view for replicas in seen for view in replicas}
        for name in self._streams.keys() - views.keys():
            task = self._streams.pop(name).close()
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)
        self._views = views
        self._want(pace(self._period_s, len(views)))
        for name, view in views.items():
            stream = self._streams.get(name)
            if stream is None:
                self._streams[name] = ReportStream(view, self._engines, self, self._wanted)
            elif stream.said is not None and stream.said.state is not view.state:
                stream.renew(self._wanted)  # doubted by a request that failed, or Ray says otherwise: it is asked how it is now

    def _doubt(self) -> None:
        now = self._time()
        late = [name for name, stream in self._streams.items() if now >= stream.doubted_at]
        for name in late:
            stream = self._streams[name]
            self._roster.silent(self._views[name], stream.missed, stream.reached)
            stream.doubt()
        for name in self._doubted.difference(late):
            self._trust_again(name)
        self._doubted = set(late)

    def _renew(self) -> None:
        """Has some of those asked anew that speak at another pace than they should."""
        if self._renewing:
            others = [stream for stream in self._streams.values() if stream.pace != self._wanted]
            for stream in others[:MOST_RENEWED]:
                stream.renew(self._wanted)
            self._renewing = bool(others)

    def _trust_again(self, name: str) -> None:
        """It speaks again. If all that it said is that nothing has changed, the roster has not heard of it."""
        stream = self._streams.get(name)
        if stream is None or stream.said is None or (view := self._views[name]).trust is Trust.TRUSTED:
            return
        state = stream.said.state if view.state is ReplicaState.DEAD else view.state
        self._roster.heard(replace(view, state=state, trust=Trust.TRUSTED))

    def _learn(self, stream: ReportStream, said: ReplicaView, report: dict[str, Any]) -> None:
        if isinstance(refused := report.get("poison"), str):
            self._refused.learn(poison.read(refused), time.monotonic())
        prompts = report.get("prompts")
        if not isinstance(prompts, list):
            return  # nobody has sent it a prompt since
        for told in (sent.read(prompt) for prompt in prompts if isinstance(prompt, str)):
            if told is not None and told.by != self._own:
                self._roster.learned(said, told.prompt)
