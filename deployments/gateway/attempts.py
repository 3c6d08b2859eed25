"""One request on its way through the replicas: one is asked, and where it fails another, with what was delivered so far.

Decides when an answer has failed, and whether another replica is asked. Which one is `policy.routing`'s, what it is told `policy.resume`'s,
what the client sees of it the relay's.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from deployments.gateway.admission import Admission, Place
from deployments.gateway.delivery import Relay
from deployments.gateway.engine_requests import Asking
from deployments.gateway.prefill import Prefills
from deployments.gateway.replicas.roster import Roster
from deployments.gateway.request import Asked
from deployments.gateway.suspicion import Suspicion
from deployments.policy.errors import engine_errors
from deployments.policy.errors.client_errors import AnswerTooLarge, EngineLost, Overloaded, Unavailable
from deployments.policy.errors.herd_error import HerdError
from deployments.policy.request import resume, usage
from deployments.policy.request.calls import with_field
from deployments.policy.routing.poison import Poison
from deployments.policy.routing.types import Ask
from deployments.wire.engine.answer import MOST_WHOLE_MIB, Answer, Broken, Cut, EngineGone, NeverReached
from deployments.wire.engine.client import Engines
from monitoring.export import Meter
from monitoring.metrics import Outcome, Retry

#: Headers of an engine's answer that go on to the client; the rest is the connection's own or says which software answers.
_FORWARDED = (b"content-type", b"cache-control")
#: What an event stream says to proxies on its way (nginx reads the second): pass each event on at once.
_UNBUFFERED = ((b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no"))


@dataclass(frozen=True, slots=True)
class _Failure:
    """How one replica failed a request that another may still answer."""

    error: Unavailable
    cut: Cut | None = None
    """Why its answer broke off; None: it refused."""


class Forward:
    """Carries prepared requests to replicas."""

    def __init__(self, roster: Roster, engines: Engines, meter: Meter, own: str, poison: Poison | None = None) -> None:
        """Args:
        roster: the replicas.
        engines: the way to them.
        meter: counts.
        own: this gateway's name, which goes with every prompt.
        poison: what is remembered of requests under which engines died.
        """
        self._poison = Poison() if poison is None else poison
        self._roster = roster
        self._asking = Asking(engines, own)
        self._admission = Admission(roster, meter)
        self._prefills = Prefills(roster, self._admission, self._asking, meter)
        self._meter = meter

    def has_choice(self, model: str) -> bool:
        """Whether there is more than one replica, so that it matters who knows a prompt."""
        return len(self._roster.replicas(model)) > 1

    async def answer(self, asked: Asked, relay: Relay) -> Outcome:
        """Has a request answered.

        Args:
            asked: the request.
            relay: where a streamed answer goes; others go straight to its client.

        Raises:
            HerdError: an engine refused it, no engine could answer it, or engines died of it.
        """
        suspicion = Suspicion(self._poison, asked)
        await suspicion.look_up()
        raw = asked.raw
        if resume.can_resume(asked.call.endpoint, asked.body):
            relay.keep(with_ids=bool(asked.body.get("return_token_ids")), simple=not asked.body.get("tools"))
            raw = resume.with_ids(raw)
        ahead = await self._prefills.ahead(asked, suspicion)
        body = raw if ahead is None else with_field(raw, ahead)  # for the first engine: what is handed over is taken once
        failed, ask = dict[str, Unavailable](), asked.ask
        while True:
            seen = len(relay.times)
            with await self._place(asked, ask, failed) as place:
                ended = await self._tried(asked, body, place, relay)
            if isinstance(ended, Outcome):
                suspicion.answered()
                return ended
            cut, error = ended.cut, ended.error
            if len(relay.times) > seen:  # it got further: not a request that kills whoever serves it
                failed.clear()
                suspicion.answered()
            elif cut is Cut.LOST and isinstance(error, EngineLost):
                await suspicion.died(place, error)
            if cut is not Cut.MADE_WAY:
                failed[place.pick.replica.id] = error
            if len(failed) >= asked.limits.attempts or asked.body.get("background"):
                raise error
            body = self._again(asked, raw, relay, error)
            kind = Retry.MADE_WAY if cut is Cut.MADE_WAY else Retry.RESUMED if relay.started else Retry.AGAIN
            self._meter.retried(asked.chosen.model.id, kind)
            ask = replace(asked.ask, tried=frozenset(failed), begun=relay.started or cut is Cut.MADE_WAY)

    async def _tried(self, asked: Asked, raw: bytes, place: Place, relay: Relay) -> "Outcome | _Failure":
        """Asks one replica. A client that has a whole answer misses nothing, whatever the engine did behind it."""
        relay.on_first = place.sending.answered
        try:
            return await self._once(asked, raw, place, relay)
        except Broken as broken:
            failure = _Failure(self._meant(broken, _question(asked, raw), place, relay), broken.cut)
        except Unavailable as error:
            failure = _Failure(error)
        if relay.kept and resume.is_whole(relay.tail):
            relay.complete()
            return Outcome.OK
        return failure

    def _meant(self, broken: Broken, asked: engine_errors.Question, place: Place, relay: Relay) -> Unavailable:
        """What a broken answer means for its request. Only a lost connection makes a replica suspect.

        Raises:
            HerdError: it is the request's fault, or the client has a part of the answer already.
        """
        replica = place.pick.replica
        if broken.cut is Cut.ENGINE_ERROR:
            return self._told(relay, asked)
        had_it, alone = False, False
        if broken.cut is Cut.LOST:
            had_it, alone = not isinstance(broken, NeverReached), self._roster.lost(replica, place.sending)
        return EngineLost(replica.model, self._roster.retry_after_s(replica.model), had_it=had_it, alone=alone)

    def _told(self, relay: Relay, asked: engine_errors.Question) -> Unavailable:
        """What an engine that goes on serving said at the end of a stream, where another one may do better.

        Raises:
            HerdError: it is the request's fault, or the client has a part of the answer already.
        """
        error = engine_errors.translate(relay.error or engine_errors.UNFINISHED, asked)
        if relay.started or not isinstance(error, Unavailable):
            raise error
        return error

    async def _place(self, asked: Asked, ask: Ask, failed: Mapping[str, Unavailable]) -> Place:
        try:
            place = await self._admission.place(asked.chosen.model.id, ask, asked.limits)
        except (Unavailable, Overloaded):
            if failed:  # which says more than that nobody else is there
                raise list(failed.values())[-1] from None
            raise
        self._meter.picked(asked.chosen.model.id, place.pick.reason.value)
        return place

    def _again(self, asked: Asked, raw: bytes, relay: Relay, failure: Unavailable) -> bytes:
        """What the next replica is asked: the same, or, where the client has a part of the answer, to go on behind that."""
        if not relay.started:
            return raw
        try:
            so_far = relay.delivered()
        except resume.CannotResume:
            raise failure from None
        return resume.continuing(asked.body, asked.chosen.model.id, so_far)

    async def _once(self, asked: Asked, raw: bytes, place: Place, relay: Relay) -> Outcome:
        answer = await self._asking.ask(asked, raw, place.pick.replica, place.sending)
        place.give_way = _way_out(relay, answer)
        try:
            if answer.status >= 400:
                raise _refusal(engine_errors.said(answer.status, await answer.read(engine_errors.MOST_BYTES)), _question(asked, raw))
            return await self._answer(asked, answer, relay)
        finally:
            place.give_way = None
            relay.client.follow(None)
            answer.close()

    async def _answer(self, asked: Asked, answer: Answer, relay: Relay) -> Outcome:
        headers = [(name, value) for name in _FORWARDED if (value := answer.headers.get(name)) is not None]
        headers.append((b"x-request-id", asked.call.request_id.encode("ascii")))
        if asked.chosen.instead_of is not None:
            headers.append((b"x-fallback-from", asked.chosen.instead_of.encode("ascii")))
        if answer.headers.get(b"content-type", b"").startswith(b"text/event-stream"):
            relay.begin(answer.status, [*headers, *_UNBUFFERED[b"cache-control" in answer.headers :]], answer)
            return await self._streamed(asked, answer, relay)
        body = await answer.read()
        if len(body) > MOST_WHOLE_MIB << 20:
            raise AnswerTooLarge(MOST_WHOLE_MIB)
        relay.client.reply(answer.status, headers, body)
        self._count(asked.chosen.model.id, usage.of_body(body))
        return Outcome.OK

    async def _streamed(self, asked: Asked, answer: Answer, relay: Relay) -> Outcome:
        model = asked.chosen.model.id
        relay.client.follow(answer)
        self._meter.stream_opened(model)
        try:
            await answer.pipe(relay)
            relay.end()
        finally:
            self._meter.stream_closed(model)
        self._count(model, usage.of_stream(relay.tail))
        return Outcome.OK

    def _count(self, model: str, used: usage.Usage | None) -> None:
        if used is not None:
            self._meter.used(model, used.prompt_tokens, used.completion_tokens)


def _way_out(relay: Relay, answer: Answer) -> Callable[[], bool]:
    """Ends an exchange whose answer can be gone on with later, and only such a one."""

    def give_way() -> bool:
        try:
            relay.delivered()
        except resume.CannotResume:
            return False
        answer.break_off(Cut.MADE_WAY)
        return True

    return give_way


def _refusal(error: engine_errors.Said, asked: engine_errors.Question) -> HerdError:
    """What to raise for an engine's error.

    Raises:
        EngineGone: it tells that its engine core has died.
    """
    if error.of_death:
        raise EngineGone
    return engine_errors.translate(error, asked)


def _question(asked: Asked, raw: bytes) -> engine_errors.Question:
    return engine_errors.Question(asked.body, len(raw), handed_over=b'"kv_transfer_params"' in raw)
