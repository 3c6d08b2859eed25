"""Canaries through one replica's own door: before it serves, and periodically from then on.

Decides when one is sent and how long it is waited for; what it says is `policy.fleet.canary`'s, what an app must answer
`policy.fleet.conformance`'s. Knows neither Ray nor vLLM. Its requests are nobody's load: the door does not count them, and no gateway sees
them.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import msgspec
import structlog

from configs.schema import Canary
from deployments.engine.canary_request import HEADERS, Engine, Patience, sent
from deployments.policy.fleet.canary import (
    Heard,
    History,
    Told,
    Verdict,
    is_slow,
    judged,
    late,
    outvoted,
    request,
    stuck_after,
    unfit,
    whole_after,
)
from deployments.policy.fleet.conformance import Abilities, Check, complaint
from deployments.policy.fleet.known_answer import Token, Vote, vote
from deployments.policy.fleet.slowness import Circumstances, Pace
from deployments.wire.engine.answer import EngineGone
from deployments.wire.engine.client import Engines
from monitoring.engine_page import CanaryMeter

#: After a bad one the next comes so soon: a replica that is sick should not answer for another period.
AGAIN_S = 1.0
#: What the gate says of a canary that is no reason to refuse a replica: it may be slow because others start on its machine.
FIT = (Verdict.RIGHT, Verdict.SLOW, Verdict.HELD_UP)


@dataclass(frozen=True, slots=True)
class Others:
    """The model's other replicas of the same make."""

    told: Sequence[Told] = ()
    """The siblings' own words about their canaries."""
    complete: bool = False
    """All replicas of the model run, and none is being started or stopped."""


Ask = Callable[[], Awaitable[Others]]
"""Asks the other replicas. Raises OSError where nobody could be asked."""


class NotFit(RuntimeError):
    """A replica may not serve; the message says why."""


@dataclass(frozen=True, slots=True)
class Gate:
    """The proof that a replica gives before it serves, and goes on giving."""

    canary: Canary
    abilities: Abilities
    made_of: str
    """Equal for replicas that must give the same answers: same checkpoint, same engine, same release."""
    tensor: int | None = None
    """GPUs that must be on one node; None where they may be on several."""


class Canaries:
    """The canaries of one replica."""

    def __init__(self, settings: Canary, engine: Engine, engines: Engines, ask: Ask, meter: CanaryMeter) -> None:
        self._settings = settings
        self._engine = engine
        self._engines = engines
        self._ask = ask
        self._meter = meter
        body = request(engine.model, settings)
        self._body = msgspec.json.encode(body | dict(engine.first))
        # A check that strangers may ask for takes its turn behind clients' requests, which have their own places in the engine, as it has.
        self._check = msgspec.json.encode(body | {"max_tokens": 1})
        self._agreed = False
        self._pace = Pace(engine.name, engine.address.host)
        self._ended_s = float("-inf")
        self._history = History()
        self._task: asyncio.Task[None] | None = None
        self._log = structlog.get_logger("herd.canary")

    @property
    def known(self) -> tuple[Token, ...]:
        """The answer that this replica has to give; empty before its first one."""
        return self._history.known

    @property
    def sick(self) -> Verdict | None:
        """Says why the replica is sick; None where it may serve."""
        return self._history.last if self._history.sick else None

    @property
    def slow(self) -> bool:
        """Whether the other replicas should be preferred to this one."""
        return is_slow(self._settings, self._history)

    @property
    def pace(self) -> Pace:
        """How long the last canary took, for the other replicas."""
        return replace(self._pace, age_s=time.monotonic() - self._ended_s, slow=self.slow, serves=not self._history.sick)

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
        crowd = self._engine.crowd()
        came = await self._send(crowd)
        self._history = await self._judged(came, crowd)
        if not self._agreed and await self._vote(newcomer=False) is Vote.OUTVOTED:
            self._history = outvoted(self._history)
        verdict = self._history.last
        self._meter.judged(verdict.value, came.seconds if came.tokens and not came.unfinished else None)
        if verdict not in (Verdict.RIGHT, Verdict.BUSY):
            seen = {"seconds": round(came.seconds, 2), "work": round(came.work, 1), "idle": came.idle}
            self._log.warning("canary", model=self._engine.model, verdict=verdict.value, slow=self.slow, sick=self._history.sick, **seen)

    async def generate(self, within_s: float) -> None:
        """One canary that nothing follows from: for who asks whether the replica generates.

        Raises:
            NotFit: it did not, or not in time.
        """
        try:
            async with asyncio.timeout(within_s):
                came = await sent(self._engine, self._engines, self._check, Patience(within_s, within_s, 1))
        except TimeoutError:
            came = Heard(waiting=True)
        if not came.tokens:
            raise NotFit(f"{self._engine.model} did not generate: {came.error or f'nothing within {within_s:g} s'}.")

    async def _send(self, crowd: float) -> Heard:
        settings, engine, usual_s = self._settings, self._engine, self._history.usual_s
        patience = Patience(
            stuck_after(settings, usual_s, engine.batch_tokens, crowd),
            whole_after(settings, usual_s, crowd, engine.step_s()),
            settings.tokens,
        )
        return await sent(engine, self._engines, self._body, patience)

    async def _judged(self, came: Heard, crowd: float) -> History:
        """Judges a canary; of one that is late, the other replicas are asked how long theirs took."""
        if came.seconds:
            self._pace, self._ended_s = replace(self._pace, seconds=came.seconds, work=came.work), time.monotonic()
        others = await self._asked() if late(self._settings, self._history, came, crowd) else Others()
        paces = [told.pace for told in others.told]
        seen = Circumstances(self._pace, paces, others.complete, came.idle, crowd, time.monotonic())
        return judged(self._settings, self._history, came, seen)

    async def _asked(self) -> Others:
        try:
            return await self._ask()
        except OSError as error:  # Ray's head is away, or another replica is too busy to answer: the next time will tell
            self._log.warning("canary_alone", model=self._engine.model, error=str(error))
            return Others()

    async def _loop(self) -> None:
        while not self._history.sick:
            await asyncio.sleep(AGAIN_S if self._history.in_a_row else self._settings.period_s)
            try:
                await self.once()
            except Exception as error:  # noqa: BLE001 (a control loop: whatever went wrong, it must ask again)
                self._log.error("canary_defect", exc_info=error)

    async def _first(self) -> str | None:
        """Why the answers that it begins with do not do; the first may have waited for what an engine makes once."""
        crowd = self._engine.crowd()
        generous = Patience(self._generous_s(crowd), self._generous_s(crowd), self._settings.tokens)
        came = await sent(self._engine, self._engines, self._body, generous)
        if (reason := unfit(self._settings, came)) is not None:
            return reason
        self._history = History(known=came.tokens)
        self._history = await self._judged(await sent(self._engine, self._engines, self._body, generous), crowd)
        if self._history.last not in FIT:
            return f"its second canary is {self._history.last.value}: {self._history.why}"
        contradicted = await self._vote(newcomer=True) is Vote.OUTVOTED
        return "its canary's answer is not that of the replicas that serve" if contradicted else None

    def _generous_s(self, crowd: float) -> float:
        """How long the gate waits for one answer, in seconds; longer on a crowded machine, where several engines may start."""
        return stuck_after(self._settings, 0, self._engine.batch_tokens, crowd)

    async def _vote(self, newcomer: bool) -> Vote:
        """Asks the replicas that serve for their known answer. They are asked until most agree: two may have begun wrong together."""
        others = [told.known for told in (await self._asked()).told]
        found = vote(self._history.known, others, self._settings.tolerance, newcomer)
        self._agreed = found is Vote.AGREED
        if found is Vote.DISPUTED:
            self._log.warning("canary_disputed", model=self._engine.model, replicas=len(others) + 1)
        return found

    async def _nonconformity(self, checks: Iterable[Check]) -> str | None:
        for check in checks:
            try:
                async with asyncio.timeout(self._generous_s(self._engine.crowd())):
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
