"""One replica's reports, as it sends them over a connection that stays open.

Decides when it is asked anew. What a report or a silence means is `policy.routing`'s. A heartbeat is one byte, and costs no task, future or
timer. A replica of an earlier release answers with one report, and is asked again after a period.
"""

import asyncio
from typing import Any, Protocol

import msgspec
import structlog

from deployments.policy.routing.replica_report import SUSPECTED_AFTER, view_of
from deployments.policy.routing.report_stream import NOTHING_NEW, Pace, patience_s
from deployments.policy.routing.types import ReplicaView
from deployments.wire.engine.answer import Answer, Broken, Cut, EngineGone, NeverReached
from deployments.wire.engine.client import Engines
from deployments.wire.types import Address

PATH = b"/-/load"
#: Longest wait for the beginning of an answer, in seconds and in periods.
ANSWER_S, ANSWER_PERIODS = 2.0, 10
#: Longest wait for a connection to a replica that gave no report, in periods.
REACH_PERIODS = 5
_LOG = structlog.get_logger("herd.feed")
_DECODER: msgspec.json.Decoder[dict[str, Any]] = msgspec.json.Decoder(dict)


class Follower(Protocol):
    """The part of a gateway that follows replicas."""

    def question(self, stream: "ReportStream") -> bytes:
        """Returns the query with which a replica is asked for its reports."""

    def arrived(self, stream: "ReportStream") -> None:
        """Has `stream.read` called soon."""

    def take(self, stream: "ReportStream", report: dict[str, Any]) -> None:
        """Takes the fields of a report that are new; `stream.said` has all."""

    def broke(self, stream: "ReportStream", gone: bool) -> None:
        """A stream has broken, or, where `gone`, a replica whose stream broke takes no connection any more."""


class ReportStream:
    """The reports of one replica."""

    def __init__(self, view: ReplicaView, engines: Engines, follower: Follower, wanted: Pace) -> None:
        """Args:
        view: the replica, as it was found.
        engines: the way there.
        follower: told what the replica says.
        wanted: how often it should speak.
        """
        self.id, self.model = view.id, view.model
        self.address = Address(view.host, view.port)
        self.last = 0
        """Prompts of the replica's that have been heard of."""
        self.said: ReplicaView | None = None
        """The replica's last report."""
        self.pace = wanted
        """How often it was asked to speak."""
        self.reached = True
        """Its machine took the last connection that was tried. Nothing says otherwise before one was tried: where this gateway itself was
        held up, it has heard of nobody."""
        self._engines = engines
        self._follower = follower
        self._wanted = wanted
        self._time = asyncio.get_running_loop().time
        self._heard, self._patience_s = self._time(), 0.0
        self.doubted_at = 0.0
        """When it will be doubted if it says nothing until then, by the time of the event loop."""
        self._speaks_within(wanted.every_s)
        self._asked = self._time()
        self._fields: dict[str, Any] = {}
        self._rest = b""
        self._answer: Answer | None = None
        self._spoke = False
        """It has said something since it was last seen to be gone."""
        self._task = asyncio.get_running_loop().create_task(self._follow())

    @property
    def alive(self) -> bool:
        """It is still listened to."""
        return not self._task.done()

    @property
    def missed(self) -> float:
        """For how many periods it has been silent; 1 when its next word was expected."""
        return SUSPECTED_AFTER + (self._time() - self.doubted_at) / self.pace.period_s

    def close(self) -> asyncio.Task[None]:
        """Listens no more; the task ends soon."""
        self._task.cancel()
        return self._task

    def renew(self, wanted: Pace) -> None:
        """Has it asked anew for everything, where it is not being asked just now; from now on it should speak this often."""
        self._wanted = wanted
        if self._answer is not None:
            if (now := self._time()) < self.doubted_at:  # what is late already stays late
                self._heard = now
                self._speaks_within(self.pace.period_s)
            self._answer.break_off(Cut.MADE_WAY)

    def doubt(self) -> None:
        """Gives up a stream on which nothing comes, and asks again."""
        if self._answer is not None and self._time() - self._asked > self._longest_s:
            self._answer.break_off(Cut.REFUSED)

    def write(self, data: bytes) -> None:
        """Takes a piece of the stream. A report is read later, by `read`: many at once are read faster than one at a time."""
        self._heard = self._time()
        if data == NOTHING_NEW and not self._rest:
            self.doubted_at = self._heard + self._patience_s
            return
        self._rest += data
        self._follower.arrived(self)

    def read(self) -> None:
        """Reads what has arrived."""
        *lines, self._rest = self._rest.split(NOTHING_NEW)
        for line in lines:
            self._line(line)

    @property
    def _longest_s(self) -> float:
        return min(ANSWER_S, ANSWER_PERIODS * self.pace.period_s)

    async def _follow(self) -> None:
        while True:
            self._asked = self._time()
            try:
                await self._once()
            except Exception as error:  # noqa: BLE001 (a control loop: whatever went wrong, it must ask again)
                _LOG.warning("reports_unknown", replica=self.id, error=f"{type(error).__name__}: {error}")
            await asyncio.sleep(max(0.0, self._asked + self.pace.period_s - self._time()))

    async def _once(self) -> None:
        self.pace, self._fields, self._rest = self._wanted, {}, b""
        try:
            async with asyncio.timeout(self._longest_s):
                answer = await self._engines.exchange(self.address, b"GET", b"%b?%b" % (PATH, self._follower.question(self)), (), b"")
            await self._listen(answer)
        except NeverReached:
            self._broke(gone=True)
        except EngineGone:
            self._broke(gone=False)
        except (TimeoutError, Broken) as error:
            if not (isinstance(error, Broken) and error.cut is Cut.MADE_WAY):
                self.reached = await self._engines.reaches(self.address, REACH_PERIODS * self.pace.period_s)

    async def _listen(self, answer: Answer) -> None:
        self._answer, self.reached = answer, True
        try:
            await answer.pipe(self)
        finally:
            self._answer = None
            self.read()
            answer.close()
        self._line(self._rest)  # one report, and no line
        if self._fields:
            self._speaks_within(self.pace.period_s)

    def _broke(self, gone: bool) -> None:
        """A connection that breaks is the last word of a replica's, and the next one is expected at once."""
        self.reached = False
        if self._fields:
            self._heard = self._time()
            self._speaks_within(self.pace.period_s)
            self._follower.broke(self, gone=False)
        elif gone and self._spoke:
            self._spoke = False
            self._follower.broke(self, gone=True)

    def _line(self, line: bytes) -> None:
        if not line:
            return
        try:
            report = _DECODER.decode(line)
            fields = self._fields | report
            self.said = view_of(fields)
        except (msgspec.DecodeError, KeyError, TypeError, ValueError):
            return  # its silence will tell
        self._fields = fields
        if isinstance(last := report.get("last"), int):
            self.last = last
        self._spoke = True
        self._speaks_within(self.pace.every_s if self.said.ongoing else self.pace.quiet_s)
        self._follower.take(self, report)

    def _speaks_within(self, seconds: float) -> None:
        """It speaks again within so many seconds since it was heard."""
        self._patience_s = patience_s(seconds, self.pace.period_s)
        self.doubted_at = self._heard + self._patience_s
