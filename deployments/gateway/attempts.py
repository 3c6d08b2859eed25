"""One request on its way through the replicas: one is asked, and where it fails another, with what was delivered so far.

Decides when an answer has failed, and whether another replica is asked. Which one is `policy.routing`'s, what it is told
`policy.request.resume`'s, what the client sees of it `delivery`'s.
"""

from dataclasses import dataclass

from deployments.gateway.admission import Admission, Place
from deployments.gateway.delivery import Delivery
from deployments.gateway.engine_requests import Asking, Inquiries, engine_lost
from deployments.gateway.load_ledgers import Ledgers
from deployments.gateway.prefill import Prefills
from deployments.gateway.replicas.roster import Roster
from deployments.gateway.request import Asked
from deployments.gateway.suspicion import Suspicion
from deployments.policy.errors import engine_errors
from deployments.policy.errors.client_errors import EngineLost, Overloaded, Unavailable
from deployments.policy.errors.herd_error import HerdError
from deployments.policy.queue.load_record import EngineLoads, LoadRecord
from deployments.policy.queue.slots import Waiting
from deployments.policy.request import resume
from deployments.policy.request.calls import BATCH, with_field
from deployments.policy.request.poison import Poison
from deployments.policy.routing.types import UNCHOSEN, Ask, Pick
from deployments.wire.deadlines import Deadline
from deployments.wire.engine.answer import Broken, Cut, EngineGone
from deployments.wire.engine.client import Engines
from monitoring.journal import Served
from monitoring.labels import Retry


@dataclass(frozen=True, slots=True)
class _Failure:
    """How one replica failed a request that another may still answer."""

    error: Unavailable
    cut: Cut | None = None
    """Why its answer broke off; None: it refused."""


class _Failed:
    """The failures of one request so far."""

    # As attributes of the class, so that they are not set for each request.
    errors: tuple[Unavailable, ...] = ()
    tried: frozenset[str] = frozenset()
    """The replicas that are not asked again."""
    lost: frozenset[str] = frozenset()
    """Those of them that are, where no other one comes: a connection may break though its engine lives. Once each."""
    waited_s = 0.0
    """How long the request has waited for a model to start."""

    def __init__(self, lost_come_back: bool = False) -> None:
        """Args:
        lost_come_back: a replica that was lost is asked again once it says that it is ready. It may be the only one, as the first of a
            model that starts, which cannot always be reached at once. Else another one is waited for: an engine that dies inside a
            stream may call itself ready for a moment yet.
        """
        self._lost_come_back = lost_come_back

    def add(self, replica: str, failure: _Failure) -> None:
        """Counts a failure."""
        self.errors = (*self.errors, failure.error)
        if self._lost_come_back and failure.cut is Cut.LOST:
            return
        again = failure.cut is Cut.LOST and replica not in self.tried
        self.lost = self.lost | {replica} if again else self.lost - {replica}
        self.tried |= {replica}

    def waited(self, seconds: float) -> None:
        """Counts a wait for a model to start."""
        self.waited_s += seconds


class Forward:
    """Carries prepared requests to replicas."""

    def __init__(self, roster: Roster, engines: Engines, admission: Admission, own: str, poison: Poison | None = None) -> None:
        """Args:
        roster: the replicas.
        engines: the way to them.
        admission: room at them, and the line before it.
        own: this gateway's name, which goes with every prompt.
        poison: what is remembered of requests under which engines died.
        """
        self._poison = Poison() if poison is None else poison
        self._roster = roster
        self._asking = Asking(engines, own)
        self._admission = admission
        self.inquiries = Inquiries(roster, self._admission, self._asking)
        """For whatever the herd itself asks of its models."""
        self._prefills = Prefills(self.inquiries)
        self._ledgers, self._own = Ledgers(), own

    def has_choice(self, model: str) -> bool:
        """Whether there is more than one replica, so that it matters who knows a prompt."""
        return self._roster.known(model) > 1

    def demand(self, model: str) -> int:
        """Requests of a model that wait here for a replica, or were refused a moment ago because all were full."""
        return self._admission.demand(model)

    def load(self, model: str, release: str, engines: EngineLoads) -> LoadRecord:
        """Returns what is known here of a model's load, beside its replicas as they report themselves."""
        standing = self._admission.demand(model), self._admission.running(model)
        return self._ledgers.record(model, (self._own, release), standing, engines)

    def start_s(self, model: str) -> float:
        """Seconds from the first request of a model without replicas until one takes it, as far as is known; 0 where it is not."""
        return self._admission.start_s(model)

    async def answer(self, asked: Asked, delivery: Delivery, deadline: Deadline) -> Served:
        """Has a request answered. What its readers hold back may still be under way then.

        Args:
            asked: the request.
            delivery: where its answer goes.
            deadline: by which the answer must begin; the time in which the model starts does not count.

        Raises:
            HerdError: an engine refused it, no engine could answer it, or engines died of it.
        """
        self._ledgers.arrived(asked)
        suspicion = Suspicion(self._poison, asked)
        if self._poison:
            await suspicion.look_up()
        raw = resume.with_ids(asked.raw) if delivery.said.is_kept else asked.raw
        ahead = None if asked.chosen.model.prefill_from is None else await self._prefills.ahead(asked, suspicion)
        body = raw if ahead is None else with_field(raw, ahead)  # for the first engine: what is handed over is taken once
        failed = _Failed(lost_come_back=asked.ask.on_demand)
        ask, seen = asked.ask, 0
        while True:
            offer = self._offered(asked, ask, failed)
            with offer if isinstance(offer, Place) else await self._waited(asked, offer, deadline, failed) as place:
                asked.trial.picked(*_expected(place.pick, ask))
                failure = await self._tried(asked, body, place, delivery)
            if failure is None:
                suspicion.answered()
                self._ledgers.answered(asked, place)
                return asked.trial.served()
            before, seen = seen, delivery.progress
            if seen > before:  # it got further: not a request that kills whoever serves it
                failed = _Failed()
                suspicion.answered()
            elif isinstance(failure.error, EngineLost):
                await suspicion.died(place, failure.error)
            if failure.cut is not Cut.MADE_WAY:
                failed.add(place.pick.replica.id, failure)
            if len(failed.errors) >= asked.limits.attempts or asked.body.get("background"):
                raise failure.error
            body = self._again(asked, raw, delivery, failure)
            ask = asked.ask._replace(tried=failed.tried, lost=failed.lost, begun=bool(delivery.said) or failure.cut is Cut.MADE_WAY)

    async def _tried(self, asked: Asked, raw: bytes, place: Place, delivery: Delivery) -> "_Failure | None":
        """Asks one replica; None: the answer has been said, or a reader has ended it, and no other replica is asked."""
        step = asked.trial.asks(place.pick.replica.id, place.pick.reason)
        try:
            with step:
                answer = await self._asking.ask(place, asked.call.path, asked.call.request_id, asked.ask, raw, step.traceparent)
                if asked.ask.priority is BATCH:
                    place.yields_by(delivery.yield_up)
                try:
                    if answer.status >= 400:
                        said = engine_errors.said(answer.status, await answer.read(engine_errors.MOST_BYTES))
                        raise _refusal(said, _question(asked, raw))
                    await delivery.take(answer, place.answered)
                finally:
                    answer.close()
            return None
        except Broken as broken:
            if broken.cut is Cut.REFUSED:
                return None
            failure = _Failure(self._meant(broken, _question(asked, raw), place, delivery), broken.cut)
        except Unavailable as error:
            failure = _Failure(error)
        if delivery.said.is_whole:  # its client misses nothing, whatever the engine did behind it
            delivery.complete()
            return None
        step.failed("" if failure.cut is Cut.MADE_WAY else failure.error.reason or "")
        return failure

    def _meant(self, broken: Broken, asked: engine_errors.Question, place: Place, delivery: Delivery) -> Unavailable:
        """Returns the error that a broken answer means for its request.

        Raises:
            HerdError: it is the request's fault, or the client has a part of the answer already.
        """
        if broken.cut is Cut.ENGINE_ERROR and not delivery.said.is_whole:
            error = engine_errors.translate(delivery.error or engine_errors.UNFINISHED, asked)
            if delivery.shown or not isinstance(error, Unavailable):
                raise error
            return error
        return engine_lost(self._roster, place, broken)

    def _offered(self, asked: Asked, ask: Ask, failed: _Failed) -> "Place | Waiting":
        limits = asked.request.rules.limits
        if failed.waited_s:
            limits = limits.model_copy(update={"start_wait_s": max(0.0, limits.start_wait_s - failed.waited_s)})
        try:
            return self._admission.offer(asked.chosen.model.id, ask, limits)
        except (Unavailable, Overloaded) as error:
            raise self._refused(asked, error, failed) from None

    async def _waited(self, asked: Asked, waiting: Waiting, deadline: Deadline, failed: _Failed) -> Place:
        model = asked.chosen.model.id
        try:
            with self._ledgers.waiting(asked), asked.trial.waits():
                if not waiting.for_start:
                    return await self._admission.wait(model, waiting)
                most_s = min(asked.limits.start_wait_s, asked.request.due_s - asked.request.begins_by_s)
                with deadline.later(max(0.0, most_s - failed.waited_s)):
                    place = await self._admission.wait(model, waiting)
        except (Unavailable, Overloaded) as error:
            raise self._refused(asked, error, failed) from None
        failed.waited(place.since_s - waiting.since_s)
        return place

    def _refused(self, asked: Asked, error: Unavailable | Overloaded, failed: _Failed) -> HerdError:
        """Returns why a request is refused: how the last replica failed it says more than that nobody else is there."""
        if isinstance(error, Overloaded):
            self._ledgers.refused(asked, error)
        return failed.errors[-1] if failed.errors else error

    def _again(self, asked: Asked, raw: bytes, delivery: Delivery, failure: "_Failure") -> bytes:
        """Returns the request to the next replica: the same, or, where the client has a part of the answer, to go on behind that."""
        try:
            so_far = delivery.goes_on()
        except resume.CannotResume:
            raise failure.error from None
        kind = Retry.AGAIN if so_far is None else Retry.RESUMED
        asked.trial.retried(Retry.MADE_WAY if failure.cut is Cut.MADE_WAY else kind)
        return raw if so_far is None else resume.continuing(asked.body, asked.chosen.model.id, so_far)


def _expected(pick: Pick, ask: Ask) -> tuple[str, int, int]:
    """Returns why a replica was picked, the tokens of the prompt that it should have, and all of them; 0 where nobody has looked for it."""
    return pick.reason, pick.hit_tokens, 0 if pick.reason in UNCHOSEN else ask.prompt.tokens


def _refusal(error: engine_errors.Said, asked: engine_errors.Question) -> HerdError:
    """Returns the exception for an engine's error.

    Raises:
        EngineGone: it tells that its engine core has died.
    """
    if error.of_death:
        raise EngineGone
    return engine_errors.translate(error, asked)


def _question(asked: Asked, raw: bytes) -> engine_errors.Question:
    appended = raw[asked.raw.rindex(b"}") :]  # a client may name the field too: as null, or inside of others
    return engine_errors.Question(asked.body, len(raw), handed_over=b'"kv_transfer_params"' in appended)
