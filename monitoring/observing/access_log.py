"""One line of JSON for each request that has ended, or for each that did not end well.

Decides which requests get a line, and what stands in it: ids, names, codes and numbers, and nothing of the request's text, of its headers
or of its client's address. In a flood a bounded number of lines is written each second. The second half of it is kept for requests that
did not end well, and the number of lines that were left out is told once a second.

Lines are made and written many at once, when their requests are counted: that costs a fifth for each of them.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import lru_cache

import msgspec

from configs.observing import Observing
from monitoring.ended import Ended
from monitoring.journal import Later
from monitoring.labels import Outcome
from monitoring.observing.per_second import PerSecond
from monitoring.observing.spans import error_type

Write = Callable[[Sequence[str]], None]
"""Writes lines."""

TOLD_S = 1.0
#: In Python 3.11 a member of an enum takes longer to look up than to compare.
_OK = Outcome.OK
_ENCODER = msgspec.json.Encoder()


class Line(msgspec.Struct, frozen=True, omit_defaults=True):
    """A line about a request. What is not known, 0 or empty is left out."""

    timestamp: str
    """Its end, in ISO 8601."""
    level: str
    event: str
    id: str
    model: str
    """The model that the request names; "unknown" where it names none of the herd's."""
    endpoint: str
    outcome: Outcome
    duration_s: float
    """From its arrival to its end."""
    answered_by: str = ""
    """The model that answered, where it is another one."""
    error: str = ""
    """The code of the error that its client was told."""
    status: int = 0
    """The HTTP status of that error's answer: 200 where a stream had begun."""
    prompt_tokens: int = 0
    cached_tokens: int = 0
    """Of the prompt, in the engine's cache."""
    completion_tokens: int = 0
    ttft_s: float | None = None
    """From its arrival to the first piece of a streamed answer."""
    queue_s: float | None = None
    """In the gateway's line, if it had to wait."""
    replica: str = ""
    """The replica that was asked last."""
    attempts: int = 0
    """Replicas that were asked, one after the other."""
    trace: str = ""
    """The id of its trace, where its spans may be sent."""


class LeftOut(msgspec.Struct, frozen=True):
    """A line about the lines that a second had no room for."""

    timestamp: str
    level: str
    event: str
    count: int


class AccessLog:
    """Writes the lines of one gateway."""

    def __init__(self, write: Write, later: Later, clock: Callable[[], float], wall: Callable[[], float]) -> None:
        """Args:
        write: takes lines.
        later: calls a function later.
        clock: the one of requests' times, in seconds.
        wall: tells seconds since 1970.
        """
        self._write = write
        self._later = later
        self._clock, self._wall = clock, wall
        self._wanted = Observing(access_log="off")
        self._lines = PerSecond()
        self._telling = False

    def apply(self, wanted: Observing) -> None:
        """Writes lines as this says from now on."""
        self._wanted = wanted

    def ended(self, batch: Sequence[Ended]) -> None:
        """Writes the lines of requests that have ended."""
        wanted, takes = self._wanted, self._lines.takes
        if wanted.access_log == "off":
            return
        most = wanted.access_log_lines_per_s
        most_well = (most + 1) // 2 if wanted.access_log == "all" else 0
        zero_s = self._wall() - self._clock()
        lines = []
        for ended in batch:
            well = ended.outcome is _OK
            if (most_well or not well) and takes(ended.now_s, most_well if well else most):
                lines.append(_encoded(_line(ended, zero_s)))
        if lines:
            self._write(lines)
        if self._lines.left_out and not self._telling:
            self._telling = True
            self._later(TOLD_S, self.tell)

    def tell(self) -> None:
        """Writes how many lines were left out since this was last written, if any."""
        self._telling = False
        if count := self._lines.told():
            self._write((_encoded(LeftOut(_iso(self._wall()), "warning", "requests_left_out", count)),))


def _line(ended: Ended, zero_s: float) -> Line:
    """Makes a line; `zero_s` is when the clock of its times was zero, in seconds since 1970."""
    entry, ttft_s, usage = ended.entry, None, None
    attempts, cached, replica, queue_s = 0, 0, "", None
    for trial in entry.trials:
        if trial.times and ttft_s is None:
            ttft_s = _ms(trial.times[0] - entry.arrived_s)
        if trial.usage is not None:
            usage, cached = trial.usage, trial.cached_tokens
    for step in entry.steps:
        if step.kind == "attempt":
            attempts, replica = attempts + 1, step.replica
        elif step.kind == "queue":
            queue_s = (queue_s or 0.0) + step.ended_s - step.began_s
    trace, (prompt, completion) = entry.place(), usage or (0, 0)
    return Line(
        timestamp=_iso(zero_s + ended.now_s),
        level="info",
        event="request",
        id=entry.request_id,
        model=entry.model,
        endpoint=entry.endpoint,
        outcome=ended.outcome,
        duration_s=_ms(ended.now_s - entry.arrived_s),
        answered_by="" if ended.served is None or ended.served.model == entry.model else ended.served.model,
        error=error_type(ended) if entry.code else "",
        status=entry.status,
        prompt_tokens=prompt,
        cached_tokens=cached,
        completion_tokens=completion,
        ttft_s=ttft_s,
        queue_s=None if queue_s is None else _ms(queue_s),
        replica=replica,
        attempts=attempts,
        trace="" if trace is None else trace.name,
    )


def _encoded(line: Line | LeftOut) -> str:
    return _ENCODER.encode(line).decode()


def _ms(seconds: float) -> float:
    return round(seconds, 3)


def _iso(when: float) -> str:
    return f"{_second(int(when))}.{int(when % 1 * 1000):03d}Z"


@lru_cache(maxsize=2)
def _second(when: int) -> str:
    """Returns a whole second in ISO 8601. Lines that are written together have few of them."""
    return datetime.fromtimestamp(when, UTC).strftime("%Y-%m-%dT%H:%M:%S")
