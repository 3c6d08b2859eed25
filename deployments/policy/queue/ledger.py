"""One gateway's count of a model's load: arrivals, waits and ended answers, in buckets of 5 s.

Decides what counts, and for how long it is kept: there is no clock here, times come in as arguments (seconds since 1970). A request costs
about three microseconds, a piece of a stream nothing.
"""

from collections import deque
from dataclasses import dataclass, field
from math import inf

import msgspec

from deployments.policy.queue.load_record import BUCKET_S, Counted, EngineLoads, LoadRecord, Usual
from deployments.policy.queue.returns import Returns

#: Buckets that are kept: five minutes, in which a controller that died is back.
MOST_BUCKETS = 60
#: Requests over which the usual ones are averaged, and ends of answers whose pace is kept for one bucket.
REMEMBERED, PACES = 64, 32


@dataclass(slots=True)
class _Bucket:
    number: int
    requests: int = 0
    prompt_tokens: float = 0.0
    squared_tokens: float = 0.0
    answered_prompt_tokens: float = 0.0
    answer_tokens: float = 0.0
    waited: bool = False
    itls_s: list[float] = field(default_factory=list)

    @property
    def says(self) -> bool:
        """Returns whether anything happened."""
        return bool(self.requests or self.answered_prompt_tokens or self.answer_tokens or self.waited)


class Answered(msgspec.Struct, frozen=True):
    """A request whose answer has ended. A struct, because one is made per request."""

    estimated_tokens: float
    """Of its prompt, as they were estimated when it came."""
    prompt_tokens: int | None
    """As its engine counts them; None where it has not said."""
    answer_tokens: int
    dwell_s: float
    """At the replica that answered."""
    itl_s: float = 0.0
    """Between its tokens; 0 where there was none between."""


class Ledger:
    """One model's load, as one gateway sees it."""

    def __init__(self, now_s: float) -> None:
        self._since_s = now_s
        self._buckets: deque[_Bucket] = deque(maxlen=MOST_BUCKETS)
        self._newest, self._newest_until_s = _Bucket(-1), -inf
        """The last one of these, which takes all that comes before its end."""
        self._returns = Returns()
        self._waiting = 0
        self._waiting_tokens = 0.0
        self._waits_since_s: float | None = None
        """Since when somebody has always waited; None while nobody does."""
        self._ended = 0.0
        self._answer_tokens = self._dwell_s = self._told_tokens = self._estimated_tokens = self._prompt_tokens = 0.0

    def arrived(self, prompt_tokens: float, body: bytes, now_s: float) -> None:
        """Counts a request, unless it was refused here before and its client comes again.

        Args:
            prompt_tokens: of its prompt, about.
            body: as it goes to an engine, by which a return is known.
            now_s: the time.
        """
        bucket = self._bucket(now_s)
        if self._returns.is_one(body, now_s):
            return
        bucket.requests += 1
        bucket.prompt_tokens += prompt_tokens
        bucket.squared_tokens += prompt_tokens * prompt_tokens
        self._prompt_tokens += (prompt_tokens - self._prompt_tokens) / REMEMBERED if self._prompt_tokens else prompt_tokens

    def refused(self, body: bytes, now_s: float, retry_after_s: float) -> None:
        """Remembers a request that was refused because all replicas are full."""
        self._returns.refused(body, now_s, retry_after_s)

    def waits(self, prompt_tokens: float, now_s: float) -> None:
        """Counts a request that begins to wait for a replica."""
        self._bucket(now_s)
        if not self._waiting:
            self._waits_since_s = now_s
        self._waiting += 1
        self._waiting_tokens += prompt_tokens

    def waited(self, prompt_tokens: float, now_s: float) -> None:
        """Counts a request that waits no more, however that ended."""
        self._bucket(now_s)
        self._waiting -= 1
        self._waiting_tokens -= prompt_tokens
        if not self._waiting:
            self._waits_since_s, self._waiting_tokens = None, 0.0

    def answered(self, end: Answered, now_s: float) -> None:
        """Counts a request whose answer has ended."""
        bucket = self._bucket(now_s)
        estimated, told, answer = end.estimated_tokens, end.prompt_tokens, end.answer_tokens
        bucket.answered_prompt_tokens += estimated * self._ratio if told is None else told
        bucket.answer_tokens += answer
        if end.itl_s and len(bucket.itls_s) < PACES:
            bucket.itls_s.append(end.itl_s)
        if self._ended < REMEMBERED:
            self._ended += 1
        self._answer_tokens += (answer - self._answer_tokens) / self._ended
        self._dwell_s += (end.dwell_s - self._dwell_s) / self._ended
        if told and estimated:
            self._told_tokens += (told - self._told_tokens) / REMEMBERED
            self._estimated_tokens += (estimated - self._estimated_tokens) / REMEMBERED

    def record(self, gateway: str, release: str, standing: tuple[int, int], engines: EngineLoads, now_s: float) -> LoadRecord:
        """Returns what the gateway tells now.

        Args:
            gateway: its name.
            release: of its code.
            standing: requests that wait or were refused a moment ago, and requests at replicas.
            engines: the model's replicas as they report themselves.
            now_s: the time.
        """
        self._bucket(now_s)
        waiting, running = standing
        unseen = max(0, waiting - self._waiting)  # refused a moment ago: as large as usual
        return LoadRecord(
            gateway=gateway,
            release=release,
            at_s=round(now_s, 3),
            since_s=round(self._since_s, 3),
            buckets=tuple(_counted(one) for one in self._buckets if one.number > now_s / BUCKET_S - MOST_BUCKETS and one.says),
            waiting=waiting,
            waiting_tokens=self._waiting_tokens + unseen * self._prompt_tokens,
            running=running,
            usual=Usual(self._ended, self._answer_tokens, self._dwell_s, self._ratio),
            engines=engines,
        )

    @property
    def _ratio(self) -> float:
        return self._told_tokens / self._estimated_tokens if self._estimated_tokens else 1.0

    def _bucket(self, now_s: float) -> _Bucket:
        """Returns the bucket of a time; one before the newest, by a clock that was put back, counts there."""
        return self._newest if now_s < self._newest_until_s else self._next(int(now_s / BUCKET_S))

    def _next(self, number: int) -> _Bucket:
        """Returns a bucket that is new. One that begins while somebody waits is counted as waited until nobody does."""
        last = self._buckets[-1] if self._buckets else None
        if last is not None:
            last.waited = self._waited_through(last.number)
            for missed in range(max(last.number + 1, number - MOST_BUCKETS), number):
                if self._waited_through(missed):
                    self._buckets.append(_Bucket(missed, waited=True))
        self._newest, self._newest_until_s = _Bucket(number), (number + 1) * BUCKET_S
        self._buckets.append(self._newest)
        return self._newest

    def _waited_through(self, number: int) -> bool:
        return self._waits_since_s is not None and self._waits_since_s <= number * BUCKET_S


def _counted(bucket: _Bucket) -> Counted:
    itls = sorted(bucket.itls_s)
    itl_s = itls[min(len(itls) - 1, len(itls) * 9 // 10)] if itls else 0.0
    return Counted(
        bucket.number,
        bucket.requests,
        round(bucket.prompt_tokens, 1),
        round(bucket.answered_prompt_tokens, 1),
        bucket.answer_tokens,
        bucket.waited,
        round(itl_s, 5),
        round(bucket.squared_tokens),
    )
