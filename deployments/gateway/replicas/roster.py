"""Which replicas live, and how many requests each has from this gateway.

Decides when a replica is in or out. How replicas are found is the caller's (`Discover`): Ray in a gateway, a list in a test. When
nobody answers, the last that was known stays: gateways and engines go on while Ray's head is away.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace

import structlog

from configs.routing import Routing
from deployments.gateway.replicas.loops import end
from deployments.policy.errors.client_errors import ModelStopped
from deployments.policy.request.prompt_blocks import NO_PROMPT, Prompt
from deployments.policy.routing.availability import NEVER, Absence
from deployments.policy.routing.replica_report import after_silence, still_silent
from deployments.policy.routing.router import NobodyTakes, Router, Sending
from deployments.policy.routing.types import Ask, Pick, ReplicaState, ReplicaView, unavailable

Discover = Callable[[str], Awaitable[Sequence[ReplicaView]]]
"""Asks every replica of a model for its view of itself. Raises where nobody could be asked."""

NOTHING_KNOWN = Ask()


@dataclass(frozen=True, slots=True)
class _Known:
    replicas: tuple[ReplicaView, ...] = ()
    absence: Absence = NEVER


_UNKNOWN = _Known()


def _nothing(_news: object) -> None: ...


class Roster:
    """The replicas of every model."""

    def __init__(
        self,
        models: Collection[str],
        routing: Routing | None = None,
        clock: Callable[[], float] = time.monotonic,
        on_sick: Callable[[ReplicaView], None] = _nothing,
    ) -> None:
        """Args:
        models: ids of the groups of engines that there should be replicas of.
        routing: how a replica is chosen; None: by the defaults.
        clock: seconds.
        on_sick: told of each replica whose canary has just put it out.
        """
        self._clock = clock
        self._on_sick = on_sick
        self._listeners: list[Callable[[str], None]] = []
        self._told_sick: set[str] = set()
        self._known = dict.fromkeys(models, _Known())
        self._routing = routing or Routing()
        self._routers = {model: Router(self._routing) for model in models}

    def listen(self, news: Callable[[str], None]) -> None:
        """From now on calls `news` with each model whose replicas, or what is known of them, have changed."""
        self._listeners.append(news)

    def keep(self, models: Collection[str], routing: Routing | None = None) -> None:
        """The config has changed: forgets models that are no more, and expects new ones. Another way of routing begins with no memory."""
        before = self._routers if routing in (None, self._routing) else {}
        self._routing = routing = routing or self._routing
        gone = self._known.keys() - set(models)
        self._known = {model: self._of(model) for model in models}
        self._routers = {model: before.get(model) or Router(routing) for model in models}
        for model in gone:
            self._tell(model)

    def update(self, model: str, replicas: Sequence[ReplicaView]) -> None:
        """What the replicas of a model say now; who says nothing is out."""
        if model in self._known:
            before = {view.id: view for view in self.replicas(model)}
            self._take(model, tuple(still_silent(before.get(view.id), view) for view in replicas))

    def suspect(self, replica: ReplicaView) -> None:
        """A replica broke a connection: out, until it says again that it is ready."""
        self._replace(replace(replica, state=ReplicaState.DEAD))

    def heard(self, view: ReplicaView) -> None:
        """A replica says how it is. One that Ray does not know of any more, or not yet, is not taken in by this."""
        self._replace(view)

    def silent(self, view: ReplicaView, periods: float, reached: bool) -> None:
        """A replica has not been heard of for so many periods of the feed; whether its machine still takes connections."""
        now = after_silence(view, periods, reached)
        if now is not view:
            self._replace(now)

    def learned(self, replica: ReplicaView, prompt: Prompt) -> None:
        """Another gateway has sent a prompt there."""
        self._router(replica.model).learn(replica, prompt)

    def _replace(self, view: ReplicaView) -> None:
        replicas = self.replicas(view.model)
        if any(other.id == view.id for other in replicas):
            self._take(view.model, tuple(view if other.id == view.id else other for other in replicas))

    def _take(self, model: str, replicas: tuple[ReplicaView, ...]) -> None:
        self._known[model] = _Known(replicas, self._known[model].absence.after(replicas, self._clock()))
        self._tell(model)
        for replica in replicas:
            if replica.state is ReplicaState.SICK and replica.id not in self._told_sick:
                self._told_sick.add(replica.id)  # it may be taken for dead in between, and its restart has another id
                self._on_sick(replica)

    def _tell(self, model: str) -> None:
        for news in self._listeners:
            news(model)

    @property
    def models(self) -> tuple[str, ...]:
        """Every model that there should be replicas of."""
        return tuple(self._known)

    def replicas(self, model: str) -> tuple[ReplicaView, ...]:
        """All known replicas of a model, ready or not; none of a model that has been forgotten meanwhile."""
        return self._known.get(model, _UNKNOWN).replicas

    def ready(self, model: str) -> int:
        """Replicas of a model that take requests."""
        return sum(replica.state is ReplicaState.READY for replica in self.replicas(model))

    def slow(self, model: str) -> int:
        """Replicas of a model that take requests only while the others are full, because they are slow."""
        return sum(replica.state is ReplicaState.READY and replica.slow for replica in self.replicas(model))

    def choose(self, model: str, ask: Ask = NOTHING_KNOWN) -> Pick | None:
        """The replica for the next request; None where all have as many as they can run.

        Args:
            model: its id.
            ask: what is known of the request, and which replicas it has failed on.

        Raises:
            Unavailable: no replica takes requests, or only these; or the model is stopped.
        """
        try:
            return self._router(model).pick(self._known.get(model, _UNKNOWN).replicas, ask)
        except NobodyTakes:
            if model not in self._known:  # it is named in the config, and has no engines there
                raise ModelStopped(model) from None
            raise unavailable(model, self._of(model).absence.ever_ready, self.retry_after_s(model)) from None

    def retry_after_s(self, model: str) -> int:
        """Whole seconds until it should have a replica again, as far as is known."""
        return self._of(model).absence.retry_after_s(self._clock())

    def sending(self, chosen: Pick, prompt: Prompt = NO_PROMPT) -> Sending:
        """While this lasts, the replica has one more request from here."""
        return self._router(chosen.replica.model).sending(chosen, prompt)

    def lost(self, replica: ReplicaView, sending: Sending) -> bool:
        """Suspects a replica that broke a connection under a request.

        Returns:
            Whether it had this request only: no other from here since it came, and none by its last report. False if unknown.
        """
        model = replica.model
        alone = sending.alone and self._router(model).others(self.replicas(model), replica.id) == 0
        self.suspect(replica)  # which forgets what the last report said
        return alone

    def _router(self, model: str) -> Router:
        """Of a model that has been forgotten meanwhile, one that is forgotten with it."""
        return self._routers.get(model) or Router(self._routing)

    def _of(self, model: str) -> _Known:
        return self._known.get(model, _UNKNOWN)


class Watch:
    """Keeps a roster up to date: one loop per model, so that a silent replica of one does not hold up the others."""

    def __init__(self, roster: Roster, discover: Discover, period_s: float) -> None:
        self._roster = roster
        self._discover = discover
        self._period_s = period_s
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._ending: set[asyncio.Task[None]] = set()
        """Loops that were cancelled, and have not ended yet."""
        self._log = structlog.get_logger("herd.roster")

    def follow(self) -> None:
        """Watches just the models that the roster has now."""
        self._retire(self._tasks.keys() - set(self._roster.models))
        for model in set(self._roster.models) - self._tasks.keys():
            self._tasks[model] = asyncio.get_running_loop().create_task(self._loop(model))

    def change(self, period_s: float) -> None:
        """Sets how often Ray is asked. Every model is asked at once where that is new."""
        if period_s != self._period_s:
            self._period_s = period_s
            self._retire(self._tasks)
            self.follow()

    async def stop(self) -> None:
        """Ends every loop, and returns when they have ended."""
        self._retire(self._tasks)
        await end(self._ending)

    @property
    def alive(self) -> bool:
        """Every loop still runs."""
        return not any(task.done() for task in self._tasks.values())

    def _retire(self, models: Iterable[str]) -> None:
        for model in tuple(models):
            task = self._tasks.pop(model)
            task.cancel()
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)

    async def _loop(self, model: str) -> None:
        while True:
            await self._once(model)
            await asyncio.sleep(self._period_s)

    async def _once(self, model: str) -> None:
        try:
            replicas = await self._discover(model)
        except Exception as error:  # noqa: BLE001 (a control loop: whatever went wrong, it must ask again)
            self._log.warning("roster_unknown", model=model, error=f"{type(error).__name__}: {error}")
            return
        before = self._roster.ready(model)
        self._roster.update(model, replicas)
        if (now := self._roster.ready(model)) != before:
            self._log.info("roster_changed", model=model, ready=now, known=len(replicas))
