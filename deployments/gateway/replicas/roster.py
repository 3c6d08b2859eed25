"""Which replicas live, and how many requests each has from this gateway.

Decides when a replica is in or out. It is told them by `deployments.gateway.replicas.watch`
and `load_feed`.
"""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from types import MappingProxyType

from msgspec.structs import replace

from configs.routing import Routing
from deployments.gateway.replicas.departures import Departures
from deployments.gateway.replicas.known_replicas import KnownReplicas
from deployments.policy.errors.client_errors import ModelStopped
from deployments.policy.request.prompt_blocks import NO_PROMPT, Prompt
from deployments.policy.routing.flights import Sending
from deployments.policy.routing.replica_report import after_silence, is_older, still_silent
from deployments.policy.routing.router import NobodyTakes, Router
from deployments.policy.routing.types import Ask, Pick, ReplicaState, ReplicaView, unavailable

NOTHING_KNOWN = Ask()
#: Every model always has replicas.
NONE: Mapping[str, float] = MappingProxyType({})


#: Of a model that has been forgotten meanwhile; nothing is put there.
_UNKNOWN = KnownReplicas()


def _nothing(_news: object) -> None: ...


class Roster:
    """The replicas of every model."""

    def __init__(
        self,
        models: Collection[str],
        routing: Routing | None = None,
        clock: Callable[[], float] = time.monotonic,
        on_sick: Callable[[ReplicaView], None] = _nothing,
        on_gone: Callable[[ReplicaView], None] = _nothing,
        on_demand: Mapping[str, float] = NONE,
    ) -> None:
        """Args:
        models: ids of the groups of engines that there should be replicas of.
        routing: how a replica is chosen; None: by the defaults.
        clock: seconds.
        on_sick: told of each replica whose canary has just put it out.
        on_gone: told of each replica that Ray does not name any more.
        on_demand: those of the models that may have no replica while nobody asks for them, and the seconds that a start of each is
            taken to last until one was measured.
        """
        self._clock = clock
        self._on_sick = on_sick
        self._departures = Departures(on_gone)
        self._listeners: list[Callable[[str], None]] = []
        self._told_sick: set[str] = set()
        self._on_demand = on_demand
        self._known = {model: KnownReplicas(model in on_demand) for model in models}
        self._routing = routing or Routing()
        self._routers = {model: Router(self._routing) for model in models}

    def listen(self, news: Callable[[str], None]) -> None:
        """From now on calls `news` with each model whose replicas, or what is known of them, have changed."""
        self._listeners.append(news)

    def keep(self, models: Collection[str], routing: Routing | None = None, on_demand: Mapping[str, float] = NONE) -> None:
        """The config has changed: forgets models that are no more, and expects new ones. Another way of routing begins with no memory."""
        before = self._routers if routing in (None, self._routing) else {}
        self._routing = routing = routing or self._routing
        self._on_demand = on_demand
        gone = self._known.keys() - set(models)
        self._known = {model: self._known.get(model) or KnownReplicas() for model in models}
        for model, known in self._known.items():
            known.change(model in on_demand)
        self._routers = {model: before.get(model) or self._new_router(model) for model in models}
        for model in gone:
            self._tell(model)

    def _new_router(self, model: str) -> Router:
        router = Router(self._routing)
        router.update(self._of(model).all)
        return router

    def update(self, model: str, replicas: Sequence[ReplicaView]) -> None:
        """Takes in the reports of a model's replicas; one without a report is out."""
        known = self._known.get(model)
        if known is not None:
            before = {view.id: view for view in known.all}
            self._departures.seen(model, before, (view.id for view in replicas), self._clock())
            known.update([_newest(before.get(view.id), view) for view in replicas], self._clock())
            self._routers[model].update(known.all)
            for view in known.all:
                self._look_at(view)
            self._tell(model)

    def suspect(self, replica: ReplicaView) -> None:
        """A replica broke a connection: out, until it says again that it is ready."""
        if (last := self._last(replica)) is not None:
            self._put(replace(last, state=ReplicaState.DEAD))

    def heard(self, view: ReplicaView) -> None:
        """A replica says how it is. One that Ray does not know of any more, or not yet, is not taken in by this."""
        self.heard_all((view,))

    def heard_all(self, views: Collection[ReplicaView]) -> None:
        """Several replicas say how they are, as `heard`; listeners are told once for each model."""
        for model in {view.model for view in views if self._takes(view)}:
            self._tell(model)

    def silent(self, view: ReplicaView, periods: float, reached: bool) -> None:
        """A replica has not been heard of for so many periods of the feed; whether its machine still takes connections."""
        last = self._last(view)
        if last is not None and (now := after_silence(last, periods, reached)) is not last:
            self._put(now)

    def learned(self, replica: ReplicaView, prompt: Prompt) -> None:
        """Another gateway has sent a prompt there."""
        self._router(replica.model).learn(replica.id, prompt)

    def _last(self, view: ReplicaView) -> ReplicaView | None:
        """Returns a replica's view by now; None where it is not known."""
        return self._of(view.model).get(view.id)

    def _takes(self, view: ReplicaView) -> bool:
        """Takes what a replica says, unless it is not known or has said something newer; returns whether it was taken."""
        last = self._last(view)
        if last is None or is_older(view, last):
            return False
        self._keep(view)
        return True

    def _put(self, view: ReplicaView) -> None:
        self._keep(view)
        self._tell(view.model)

    def _keep(self, view: ReplicaView) -> None:
        self._known[view.model].put(view, self._clock())
        self._routers[view.model].heard(view)
        self._look_at(view)

    def _look_at(self, view: ReplicaView) -> None:
        if view.state is ReplicaState.SICK and view.id not in self._told_sick:
            self._told_sick.add(view.id)  # it may be taken for dead in between, and its restart has another id
            self._on_sick(view)

    def _tell(self, model: str) -> None:
        for news in self._listeners:
            news(model)

    @property
    def models(self) -> tuple[str, ...]:
        """Every model that there should be replicas of."""
        return tuple(self._known)

    def replicas(self, model: str) -> tuple[ReplicaView, ...]:
        """All known replicas of a model, ready or not; none of a model that has been forgotten meanwhile."""
        return self._of(model).all

    def known(self, model: str) -> int:
        """Replicas of a model that are known, ready or not."""
        return self._of(model).count

    def ready(self, model: str) -> int:
        """Replicas of a model that take requests."""
        return self._of(model).ready

    def is_down(self, model: str) -> bool:
        """Whether no replica of a model takes requests, and some that should are dead or sick."""
        return self._of(model).is_down

    def slow(self, model: str) -> int:
        """Replicas of a model that take requests only while the others are full, because they are slow."""
        return self._of(model).slow

    def choose(self, model: str, ask: Ask = NOTHING_KNOWN) -> Pick | None:
        """The replica for the next request; None where all have as many as they can run.

        Args:
            model: its id.
            ask: what is known of the request, and which replicas it has failed on.

        Raises:
            Unavailable: no replica takes requests, or only these; or the model is stopped.
        """
        try:
            return self._router(model).pick(ask)
        except NobodyTakes:
            if model not in self._known:  # it is named in the config, and has no engines there
                raise ModelStopped(model) from None
            raise unavailable(model, self._of(model).absence.ever_ready, self.retry_after_s(model)) from None

    def retry_after_s(self, model: str) -> int:
        """Whole seconds until it should have a replica again, as far as is known."""
        return self._of(model).absence.retry_after_s(self._clock())

    def start_s(self, model: str) -> float:
        """Seconds that a start of a model takes, as far as is known; 0 where it is not."""
        return self._of(model).absence.takes_s

    def assumed_start_s(self, model: str) -> float:
        """Returns the seconds that the config takes a start of a model to last; 0 of one that always has replicas."""
        return self._on_demand.get(model, 0.0)

    def sending(self, chosen: Pick, prompt: Prompt = NO_PROMPT) -> Sending:
        """While this lasts, the replica has one more request from here."""
        return self._router(chosen.replica.model).sending(chosen, prompt)

    def lost(self, replica: ReplicaView, sending: Sending) -> bool:
        """Suspects a replica that broke a connection under a request.

        Returns:
            Whether it had this request only: no other from here since it came, and none by its last report. False if unknown.
        """
        model = replica.model
        alone = sending.alone and self._router(model).others(replica.id) == 0
        self.suspect(replica)
        return alone

    def _router(self, model: str) -> Router:
        """Of a model that has been forgotten meanwhile, one that is forgotten with it."""
        return self._routers.get(model) or Router(self._routing)

    def _of(self, model: str) -> KnownReplicas:
        return self._known.get(model, _UNKNOWN)


def _newest(last: ReplicaView | None, told: ReplicaView) -> ReplicaView:
    """Returns the view of a replica that Ray tells of; what a replica has told the feed meanwhile is newer."""
    return last if last is not None and is_older(told, last) else still_silent(last, told)
