"""The straight line of a request: which model, which images, which replica, forward, count.

Every verb names the one file to open next. Knows neither Ray nor vLLM nor HTTP's wire: a `Client` takes the answer, `Engines` give it.
Who may ask (auth, quota) will stand before the model's choice, and what is safe between the choice of model and of replica.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec

from deployments.gateway.attempts import Forward
from deployments.gateway.body.images import settled
from deployments.gateway.body.reading import SMALL, read, read_small
from deployments.gateway.body.writing import written
from deployments.gateway.delivery import Delivery
from deployments.gateway.request import Asked, Client, Request, Rules
from deployments.policy.body import fields, sizes
from deployments.policy.errors.client_errors import (
    BadImage,
    BadRequest,
    EngineFailed,
    EngineLost,
    EnginesLost,
    ModelStopped,
    Overloaded,
    Starting,
    Timeout,
    Unavailable,
)
from deployments.policy.errors.herd_error import HerdError
from deployments.policy.images import media
from deployments.policy.request.calls import BATCH, GENERATING, Call, Priority, priority_of, session_of, with_field
from deployments.policy.request.prompt_blocks import BYTES_PER_TOKEN, NO_PROMPT, prompt_of
from deployments.policy.request.served_models import Chosen
from deployments.policy.request.served_models import Served as Model
from deployments.policy.routing.types import Ask
from deployments.wire.deadlines import Deadline, Deadlines
from monitoring.journal import Journal, Served, Trial
from monitoring.labels import Outcome

_NONE = frozenset[str]()
#: In Python 3.11 a member of an enum takes longer to look up than to compare.
_INTERNAL_ERROR = Outcome.INTERNAL_ERROR


class Pipeline:
    """Carries requests from clients to engines."""

    def __init__(self, rules: Rules, forward: Forward, journal: Journal) -> None:
        self._rules = rules
        self._forwarded = forward
        self._journal = journal
        self._deadlines = Deadlines()
        self._clock = journal.clock

    @property
    def rules(self) -> Rules:
        """Returns the rules for requests that arrive now."""
        return self._rules

    def apply(self, rules: Rules) -> None:
        """Sets the rules for requests that arrive from now on."""
        self._rules = rules

    def waiting(self, model: str) -> int:
        """Counts the requests of a model that wait here for a replica with room, or were refused a moment ago."""
        return self._forwarded.demand(model)

    def start_s(self, model: str) -> float:
        """Returns the seconds from the first request of a model without replicas until one takes it; 0 where nobody knows."""
        return self._forwarded.start_s(model)

    async def serve(self, call: Call, client: Client) -> None:
        """Answers one call, whatever happens, and counts how it ended. Only a cancelled task leaves a client without an answer."""
        rules, served = self._rules, None
        outcome = _INTERNAL_ERROR
        entry = self._journal.begins(call.endpoint, self._clock(), call.request_id, call.traceparent)
        try:
            body = read_small(call.body, rules.catalog) if len(call.body) <= SMALL else await read(call.body, rules.catalog, rules.requests)
            if left_out := fields.unknown(call.endpoint, body, rules.requests):
                call = await _without(call, body, left_out)
            named = rules.catalog.choose(body)
            entry.names(named.id, bool(body.get("stream")))
            request = Request(call, body, rules, entry)
            try:
                served = await self._by(request, Chosen(named, hurried=bool(named.fallbacks)), client)
            except (Unavailable, Overloaded) as refusal:
                served = await self._in_place_of(request, named, client, refusal)
            outcome = served.outcome
        except HerdError as error:
            outcome = _outcome(error)
            entry.refused(error.reason, 200 if client.started else error.status)
            tell(client, error.told_in(call.endpoint), call.request_id)
        except asyncio.CancelledError:
            outcome = Outcome.CANCELLED if client.gone else Outcome.UNAVAILABLE  # else this gateway stops
            raise
        finally:
            self._journal.ended(entry, outcome, served, self._clock())

    def never_read(self, endpoint: str, request_id: str, error: HerdError, began_s: float) -> None:
        """Counts a request whose body could not be read, so that nobody knows what it asked.

        Args:
            endpoint: the short name of its path.
            request_id: its id.
            error: what its client is told.
            began_s: when its head had arrived, by the clock of requests.
        """
        entry = self._journal.begins(endpoint, began_s, request_id)
        entry.refused(error.reason, error.status)
        outcome = Outcome.UNAVAILABLE if isinstance(error, Unavailable) else Outcome.CLIENT_ERROR
        self._journal.never_read(entry, outcome, self._clock())

    async def _in_place_of(self, request: Request, named: Model, client: Client, refusal: Unavailable | Overloaded) -> Served:
        """Has one of the named model's fallbacks answer, because that cannot."""
        if isinstance(refusal, EnginesLost):
            raise refusal  # it may be what they died of, so no other model's engine gets it
        call, body = request.call, request.body
        others = call.fallback and call.endpoint in GENERATING and not body.get("background") and not sizes.has_token_ids(body)
        for chosen in request.rules.catalog.in_place_of(named, body) if others else ():
            if client.started:
                break
            try:
                return await self._by(request, chosen, client)
            except EnginesLost:
                raise
            except (Unavailable, Overloaded, BadImage):  # a fallback may take smaller images only
                continue
        if isinstance(refusal, Starting) and named.fallbacks:  # nobody answers in its place: then it is waited for
            return await self._by(request, Chosen(named), client)
        raise refusal

    async def _by(self, request: Request, chosen: Chosen, client: Client) -> Served:
        """Has one model answer, within what is left of the request's time."""
        model = chosen.model.id
        with request.entry.asks(model) as trial:
            try:
                with self._deadlines.within(request.begins_by_s - self._clock()) as deadline:
                    if request.call.endpoint in sizes.WITH_IDS:
                        await _check_ids(request, chosen.model)
                    priority = _checked(request, chosen.model)
                    found = media.inspect(request.body, model, chosen.model.images_per_prompt)
                    raw = await _rewritten(request, chosen.model, found) if found.changed or found.images else request.call.body
                    asked = self._prepared(request, chosen, raw, priority, trial)
                    return await self._delivered(asked, Delivery(client, asked, deadline, self._clock), deadline)
            except TimeoutError as error:
                waited = "finish its answer" if client.started else "begin its answer"
                raise Timeout(f"The engine of '{model}' did not {waited} in time ({self._clock() - request.arrived_s:.0f} s).") from error

    async def _delivered(self, asked: Asked, delivery: Delivery, deadline: Deadline) -> Served:
        try:
            served = await self._forwarded.answer(asked, delivery, deadline)
            if delivery.is_read:
                await delivery.closed()
        except HerdError as error:
            raise error.told_in(asked.call.endpoint, after=delivery.said.tail) from None
        finally:
            if delivery.is_read:
                delivery.close()
        return served

    def _prepared(self, request: Request, chosen: Chosen, raw: bytes, priority: Priority, trial: Trial) -> Asked:
        """The request as the engines of a model shall get it."""
        call, body, served = request.call, request.body, chosen.model
        if raw is call.body and body["model"] != served.id:  # as it came, with an alias for the model
            raw = with_field(raw, b'"model":' + msgspec.json.encode(served.id))
        if priority is BATCH and served.by_priority:
            raw, body = with_field(raw, b'"priority":%d' % priority), body | {"priority": int(priority)}
        matters = served.prefill_from is not None or self._forwarded.has_choice(served.id)
        prompt = prompt_of(body, served.id) if matters else NO_PROMPT
        ask = Ask(prompt, session_of(call.session, body), _NONE, priority, False, served.on_demand, chosen.hurried, served.ttft_s)
        # The gateway has no tokenizer: where routing has not counted a prompt's tokens, its size tells them about.
        tokens = prompt.tokens or min(len(raw) // BYTES_PER_TOKEN, served.context_tokens)
        return Asked(request, call, body, raw, chosen, ask, trial, tokens)


async def _check_ids(request: Request, served: Model) -> None:
    """Checks a prompt's token ids, and lets others have their turn: there may be millions."""
    for _ in sizes.check_ids(request.call.endpoint, request.body, served):
        await asyncio.sleep(0)


def _checked(request: Request, served: Model) -> Priority:
    """Checks that the model has room for a request, and returns the request's class."""
    call, body = request.call, request.body
    sizes.check(call.endpoint, body, len(call.body), served, request.rules.requests)
    return priority_of(call.priority, body)


async def _rewritten(request: Request, served: Model, found: media.Media) -> bytes:
    """Returns the body of a request with images, or with content in another form, as the engine shall get it."""
    call, body, changed = request.call, request.body, found.changed
    if found.images:
        changed = await settled(request.rules.images, body, found.images, served) or changed
    return await written({**body, "model": served.id}, len(call.body)) if changed else call.body


def tell(client: Client, error: HerdError, request_id: str) -> None:
    """An error to a client: as the answer, or as the last event of a stream that has begun. One who has a whole answer gets no more."""
    if client.finished:
        return
    if client.started:
        client.write(error.event())
        client.finish()
    else:
        client.refuse(error, ((b"x-request-id", request_id.encode("ascii")),))


async def _without(call: Call, body: dict[str, Any], left_out: Sequence[str]) -> Call:
    """Returns a call without some fields of its body."""
    for name in left_out:
        del body[name]
    return msgspec.structs.replace(call, body=await written(body, len(call.body)))


def _outcome(error: HerdError) -> Outcome:
    match error:
        case Timeout():
            return Outcome.TIMEOUT
        case EngineFailed() | EngineLost():
            return Outcome.ENGINE_FAILED
        case ModelStopped() | BadRequest():  # that a model is stopped is meant so: it uses up no budget of errors, and wakes nobody
            return Outcome.CLIENT_ERROR
        case Unavailable():
            return Outcome.UNAVAILABLE
        case Overloaded():
            return Outcome.OVERLOADED
        case _:
            return Outcome.CLIENT_ERROR if error.status < 500 else Outcome.INTERNAL_ERROR
