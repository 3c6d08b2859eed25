"""Canaries through one replica's own door: before it serves, and periodically from then on.

Decides when one is sent and how long it is waited for; what it says is `policy.canary`'s, what an app must answer `policy.conformance`'s.
Knows neither Ray nor vLLM. Its requests are nobody's load: the door does not count them, and no gateway sees them.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import structlog

from configs.schema import Canary
from deployments.answer import Address, EngineGone
from deployments.door import UNCOUNTED
from deployments.policy.canary import Heard, History, Token, Verdict, Vote, heard, judged, outvoted, request, slow_after, unfit, vote
from deployments.policy.conformance import COMPLETIONS, Abilities, Check, complaint
from deployments.upstream import Engines
from monitoring.export import CanaryMeter

HEADERS = ((b"content-type", b"application/json"), (UNCOUNTED, b"1"))
#: After a bad one the next comes so soon: a replica that is sick should not answer for another period.
AGAIN_S = 1.0

Others = Callable[[], Awaitable[Sequence[Sequence[Token]]]]
"""The known answers of the model's other replicas of the same make. Raises OSError where nobody could be asked."""


class NotFit(RuntimeError):
    """A replica may not serve; the message says why."""


@dataclass(frozen=True, slots=True)
class Gate:
    """What a replica must show before it serves, and goes on showing."""

    canary: Canary
    abilities: Abilities
    made_of: str
    """Equal for replicas that must give the same answers: same checkpoint, same engine, same release."""


@dataclass(frozen=True, slots=True)
class Engine:
    """What canaries need to know of the engine that they go through."""

    model: str
    address: Address
    """Of its own door."""
    doing: Callable[[], object]
    """Something that changes whenever the engine has done anything."""
    step_s: Callable[[], float]
    """Seconds of one of its steps, lately."""
    first: Mapping[str, Any]
    """Fields of a request that put it before all others."""


class Canaries:
    """The canaries of one replica."""

    def __init__(self, settings: Canary, engine: Engine, engines: Engines, others: Others, meter: CanaryMeter) -> None:
        self._settings = settings
        self._engine = engine
        self._engines = engines
        self._others = others
        self._meter = meter
        self._body = msgspec.json.encode(request(engine.model, settings) | dict(engine.first))
        self._agreed = False
        self._history = History()
        self._task: asyncio.Task[None] | None = None
        self._log = structlog.get_logger("herd.canary")

    @property
    def known(self) -> tuple[Token, ...]:
        """The answer that this replica has to give; empty before its first one."""
        return self._history.known

    @property
    def sick(self) -> Verdict | None:
        """What is wrong with the replica; None where it may serve."""
        return self._history.last if self._history.sick else None

    @property
    def why(self) -> str:
        """A sentence about it."""
        return self._history.why

    async def let_in(self, checks: Iterable[Check]) -> None:
        """The gate: canaries and conformance checks, before the replica serves.

        Raises:
            NotFit: it must not, with the reason.
        """
        reason = await self._first() or await self._nonconformity(checks)
        if reason is not None:
            raise NotFit(f"{self._engine.model} may not serve: {reason}.")

    def start(self) -> None:
        """One canary each period from now on, until the replica is sick."""
        self._task = asyncio.get_running_loop().create_task(self._loop())

    def stop(self) -> None:
        """No more of them."""
        if self._task is not None:
            self._task.cancel()

    async def once(self) -> None:
        """One canary, and what follows from it."""
        step_s = self._engine.step_s()
        came = await self._send(slow_after(self._settings, self._history.usual_s, step_s))
        self._history = judged(self._settings, self._history, came, step_s)
        if not self._agreed and await self._vote(newcomer=False) is Vote.OUTVOTED:
            self._history = outvoted(self._history)
        verdict = self._history.last
        self._meter.judged(verdict.value, came.seconds if came.tokens and not came.unfinished else None)
        if verdict not in (Verdict.RIGHT, Verdict.BUSY):
            self._log.warning("canary", model=self._engine.model, verdict=verdict.value, sick=self._history.sick)

    async def generate(self, within_s: float) -> None:
        """One canary that nothing follows from: for who asks whether the replica generates.

        Raises:
            NotFit: it did not, or not in time.
        """
        try:
            async with asyncio.timeout(within_s):
                came = await self._send(within_s)
        except TimeoutError:
            came = Heard(waiting=True)
        if not came.tokens:
            raise NotFit(f"{self._engine.model} did not generate: {came.error or f'nothing within {within_s:g} s'}.")

    async def _loop(self) -> None:
        while not self._history.sick:
            await asyncio.sleep(AGAIN_S if self._history.in_a_row else self._settings.period_s)
            try:
                await self.once()
            except Exception as error:  # noqa: BLE001 (a control loop: whatever went wrong, it must ask again)
                self._log.error("canary_defect", exc_info=error)

    async def _first(self) -> str | None:
        """Why the answers that it begins with do not do; the first may have waited for what an engine makes once."""
        came = await self._send(self._settings.stuck_s)
        if (reason := unfit(self._settings, came)) is not None:
            return reason
        self._history = judged(self._settings, History(known=came.tokens), await self._send(self._settings.stuck_s), 0.0)
        if self._history.last is not Verdict.RIGHT:
            return f"its second canary is {self._history.last.value}: {self._history.why}"
        contradicted = await self._vote(newcomer=True) is Vote.OUTVOTED
        return "its canary's answer is not that of the replicas that serve" if contradicted else None

    async def _vote(self, newcomer: bool) -> Vote | None:
        """What the replicas that serve say of its known answer. They are asked until most agree: two may have begun wrong together."""
        try:
            others = await self._others()
        except OSError as error:  # Ray's head is away; the next time will tell
            self._log.warning("canary_alone", model=self._engine.model, error=str(error))
            return None
        found = vote(self._history.known, others, self._settings.tolerance, newcomer)
        self._agreed = found is Vote.AGREED
        if found is Vote.DISPUTED:
            self._log.warning("canary_disputed", model=self._engine.model, replicas=len(others) + 1)
        return found

    async def _nonconformity(self, checks: Iterable[Check]) -> str | None:
        for check in checks:
            try:
                async with asyncio.timeout(self._settings.stuck_s):
                    status, text = await self._answered(check)
            except (EngineGone, TimeoutError) as error:
                return f"{check.name} was not answered ({type(error).__name__})"
            if (fault := complaint(check, status, text)) is not None:
                return fault
        return None

    async def _answered(self, check: Check) -> tuple[int, str]:
        body = msgspec.json.encode(check.body)
        answer = await self._engines.exchange(self._engine.address, b"POST", check.path.encode(), HEADERS, body)
        try:
            return answer.status, (await answer.read()).decode(errors="replace")
        finally:
            answer.close()

    async def _send(self, whole_s: float) -> Heard:
        """One canary; from its first token on it is waited for so long."""
        before, pieces = self._engine.doing(), _Timed()
        try:
            async with asyncio.timeout(self._settings.stuck_s) as patience:
                pieces.begun = lambda: patience.reschedule(asyncio.get_running_loop().time() + whole_s)
                answer = await self._engines.exchange(self._engine.address, b"POST", COMPLETIONS.encode(), HEADERS, self._body)
                try:
                    await answer.pipe(pieces)
                finally:
                    answer.close()
        except TimeoutError:
            if pieces.times:
                return Heard(unfinished=True)
            return Heard(waiting=True, moved=self._engine.doing() != before)
        except EngineGone:
            return Heard(error="its door broke the connection")
        if answer.status != 200:
            return Heard(error=f"{answer.status}: {pieces.text[:200]}")
        return heard(pieces.text, pieces.times[-1] - pieces.times[0] if pieces.times else 0.0)


class _Timed:
    """The pieces of an answer, and when each came."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.begun: Callable[[], None] = lambda: None
        self._pieces: list[bytes] = []

    def write(self, data: bytes) -> None:
        if not self.times:
            self.begun()
        self.times.append(time.perf_counter())
        self._pieces.append(data)

    @property
    def text(self) -> str:
        return b"".join(self._pieces).decode(errors="replace")
