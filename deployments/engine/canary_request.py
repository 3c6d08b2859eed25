"""One canary's request through a replica's own door, and how long it is waited for.

Decides when waiting has no more sense. Time in which this process itself stood still (it checked a client's large request, say) is not
counted: then nobody could have seen the engine's tokens.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from deployments.engine.front_door import UNCOUNTED
from deployments.policy.fleet.canary import REFUSED, Heard, heard
from deployments.policy.fleet.conformance import COMPLETIONS
from deployments.policy.fleet.slowness import Progress, work_between
from deployments.wire.engine.answer import EngineGone
from deployments.wire.engine.client import Engines
from deployments.wire.types import Address

HEADERS = ((b"content-type", b"application/json"), (UNCOUNTED, b"1"))
#: The engine is looked at so often while a canary is under way.
LOOK_S = 1.0


@dataclass(frozen=True, slots=True)
class Engine:
    """The engine that canaries go through, as far as they need to know it."""

    model: str
    name: str
    """The replica's id."""
    address: Address
    """Of its own door."""
    progress: Callable[[], Progress]
    step_s: Callable[[], float]
    """Seconds of one of its steps, lately."""
    crowd: Callable[[], float]
    """Runnable threads per CPU of its machine."""
    batch_tokens: int
    """Most tokens that it computes in one step."""
    first: Mapping[str, Any]
    """Fields of a request that put it before all others."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a canary is waited for, in seconds."""

    stuck_s: float
    """While the engine shows nothing, for anybody."""
    whole_s: float
    """From its first token on, while the engine shows something."""
    tokens: int
    """Tokens that it asks for."""


async def sent(engine: Engine, engines: Engines, body: bytes, patience: Patience) -> Heard:
    """Sends one canary and says what came back."""
    watch = _Watch(engine.progress, patience)
    asked = asyncio.get_running_loop().create_task(_asked(engine, engines, body, watch))
    try:
        while not asked.done() and not watch.over:
            await asyncio.wait({asked}, timeout=watch.every_s)
            watch.look()
        came = asked.result() if asked.done() else watch.without_answer()
        while came.refused and not (watch.moved or watch.over):  # the next refusal would say no more than this one
            await asyncio.sleep(watch.every_s)
            watch.look()
    finally:
        asked.cancel()
    return watch.seen(came)


async def _asked(engine: Engine, engines: Engines, body: bytes, watch: "_Watch") -> Heard:
    try:
        answer = await engines.exchange(engine.address, b"POST", COMPLETIONS.encode(), HEADERS, body)
        try:
            await answer.pipe(watch)
        finally:
            answer.close()
    except EngineGone:
        return Heard(error="its door broke the connection")
    if answer.status != 200:
        return Heard(error=f"{answer.status}: {watch.text[:200]}", refused=answer.status in REFUSED)
    return heard(watch.text)


class _Watch:
    """A canary that is under way: its pieces, and what the engine does meanwhile."""

    def __init__(self, progress: Callable[[], Progress], patience: Patience) -> None:
        self.every_s = min(LOOK_S, patience.stuck_s / 10)
        self.over = False
        self._progress = progress
        self._patience = patience
        self._before = self._last = progress()
        self._looked = time.perf_counter()
        self._waited_s = self._still_s = self._lost_s = 0.0
        self._idle = True
        self._times: list[float] = []
        self._pieces: list[bytes] = []

    def write(self, data: bytes) -> None:
        """Takes a piece of the answer."""
        if not self._times:
            self._lost_s = 0.0
        self._times.append(time.perf_counter())
        self._pieces.append(data)

    def look(self) -> None:
        """Looks at the clock and at the engine."""
        now, progress = time.perf_counter(), self._progress()
        passed = now - self._looked
        counted = min(passed, 2 * self.every_s)
        self._looked = now
        self._waited_s += counted
        self._lost_s += passed - counted
        self._still_s = 0.0 if progress != self._last else self._still_s + counted
        self._last = progress
        self._idle = self._idle and progress.requests <= 1
        self.over = self._has_waited_enough()

    def _has_waited_enough(self) -> bool:
        """An engine that shows nothing may be stuck; that takes longer to know than that its tokens come slowly."""
        if self._still_s >= self._patience.stuck_s:
            return True
        if not self._times:
            return self._waited_s >= self._patience.stuck_s
        return self._still_s == 0.0 and self._looked - self._times[0] - self._lost_s >= self._patience.whole_s

    @property
    def text(self) -> str:
        """Returns the answer so far."""
        return b"".join(self._pieces).decode(errors="replace")

    @property
    def moved(self) -> bool:
        """The engine has done something since the canary was sent."""
        return self._last != self._before

    def without_answer(self) -> Heard:
        """Says what is known of a canary that is not waited for any longer."""
        moves = self._still_s < self._patience.stuck_s
        return Heard(unfinished=True, moved=moves) if self._times else Heard(waiting=True, moved=moves)

    def seen(self, came: Heard) -> Heard:
        """Adds how long its tokens took and what the engine did meanwhile."""
        now = self._progress()
        until = self._looked if came.unfinished else self._times[-1] if self._times else 0.0
        seconds = max(0.0, until - self._times[0] - self._lost_s) if self._times else 0.0
        idle = self._idle and now.generated - self._before.generated <= self._patience.tokens
        moved = now != self._before if came.refused else came.moved
        return replace(came, seconds=seconds, moved=moved, work=work_between(self._before, now), idle=idle)
