"""The straight line of a request: which model, which images, which replica, forward, count.

Every verb names the one file to open next. Knows neither Ray nor vLLM nor HTTP's wire: a `Client` takes the answer, `Engines` give it.
Who may ask (auth, quota) will stand before the model's choice, and what is safe between the choice of model and of replica.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from configs.requests import Requests
from configs.schema import Limits
from deployments.gateway.attempts import Forward
from deployments.gateway.body.images import Images, settled
from deployments.gateway.body.reading import read
from deployments.gateway.body.writing import written
from deployments.gateway.delivery import Client, Relay
from deployments.gateway.engine_requests import Asked
from deployments.policy.body import fields, sizes
from deployments.policy.errors.client_errors import (
    BadImage,
    BadRequest,
    EngineFailed,
    EngineLost,
    EnginesLost,
    Overloaded,
    Timeout,
    Unavailable,
)
from deployments.policy.errors.herd_error import HerdError
from deployments.policy.images import media
from deployments.policy.request.browsers import ANYBODY, Guests
from deployments.policy.request.calls import GENERATING, Call, Priority, priority_of, session_of, with_field
from deployments.policy.request.prompt_blocks import NO_PROMPT, prompt_of
from deployments.policy.request.served_models import Catalog, Chosen, Served
from deployments.policy.routing.types import Ask
from monitoring.export import Meter
from monitoring.metrics import Outcome

#: The bounds of a config that says nothing of them.
DEFAULT_BOUNDS = Requests()


@dataclass(frozen=True, slots=True)
class Rules:
    """What the config says about requests; replaced as a whole when it changes."""

    catalog: Catalog
    limits: Limits
    images: Images
    guests: Guests = ANYBODY
    """Which web pages may ask."""
    requests: Requests = DEFAULT_BOUNDS


class Pipeline:
    """Carries requests from clients to engines."""

    def __init__(self, rules: Rules, forward: Forward, meter: Meter, clock: Callable[[], float] = time.perf_counter) -> None:
        self._rules = rules
        self._forwarded = forward
        self._meter = meter
        self._clock = clock

    @property
    def rules(self) -> Rules:
        """Returns the rules for requests that arrive now."""
        return self._rules

    def apply(self, rules: Rules) -> None:
        """Sets the rules for requests that arrive from now on."""
        self._rules = rules

    async def serve(self, call: Call, client: Client) -> None:
        """Answers one call, whatever happens, and counts how it ended. Only a cancelled task leaves a client without an answer."""
        arrived = self._clock()
        outcome, model = Outcome.INTERNAL_ERROR, "unknown"
        rules = self.rules
        try:
            body = await read(call.body, rules.catalog, rules.requests)
            call = await _without(call, body, fields.unknown(call.endpoint, body, rules.requests))
            named = rules.catalog.choose(body)
            model = named.id
            outcome = await self._by_any(call, body, named, client, arrived)
        except HerdError as error:
            outcome = _outcome(error)
            tell(client, error.told_in(call.endpoint), call.request_id)
        except asyncio.CancelledError:
            outcome = Outcome.CANCELLED
            raise
        finally:
            self._meter.ended(model, call.endpoint, outcome, self._clock() - arrived)

    async def _by_any(self, call: Call, body: dict[str, Any], named: Served, client: Client, arrived: float) -> Outcome:
        """The model that was named answers, or one of its fallbacks while it cannot."""
        try:
            return await self._by(call, body, Chosen(named), client, arrived)
        except EnginesLost:
            raise  # it may be what they died of, so no other model's engine gets it
        except (Unavailable, Overloaded) as error:
            refusal = error
        others = call.fallback and call.endpoint in GENERATING and not body.get("background") and not sizes.has_token_ids(body)
        for chosen in self.rules.catalog.in_place_of(named, body) if others else ():
            if client.started:
                break
            try:
                outcome = await self._by(call, body, chosen, client, arrived)
            except EnginesLost:
                raise
            except (Unavailable, Overloaded, BadImage):  # a fallback may take smaller images only
                continue
            self._meter.fell_back(named.id, chosen.model.id)
            return outcome
        raise refusal

    async def _by(self, call: Call, body: dict[str, Any], chosen: Chosen, client: Client, arrived: float) -> Outcome:
        self._meter.opened(chosen.model.id)
        try:
            return await self._forward(call, body, chosen, client, arrived)
        finally:
            self._meter.closed(chosen.model.id)

    async def _forward(self, call: Call, body: dict[str, Any], chosen: Chosen, client: Client, arrived: float) -> Outcome:
        limits, served = self.rules.limits, chosen.model
        for _ in sizes.check_ids(call.endpoint, body, served):
            await asyncio.sleep(0)
        sizes.check(call.endpoint, body, len(call.body), served, self.rules.requests)
        # Without a stream the first byte comes with the last.
        first_byte_s = limits.first_byte_s if body.get("stream") else limits.total_s
        try:
            async with asyncio.timeout(first_byte_s) as deadline:
                priority = priority_of(call.priority, body)
                raw = await self._prepared(call, body, served)
                if priority is Priority.BATCH and served.by_priority:
                    raw, body = with_field(raw, b'"priority":%d' % priority), body | {"priority": int(priority)}
                matters = served.prefill_from is not None or self._forwarded.has_choice(served.id)
                prompt = prompt_of(body, served.id) if matters else NO_PROMPT
                ask = Ask(prompt, session_of(call.session, body), priority=priority)
                asked = Asked(call, body, raw, chosen, ask)
                relay = Relay(client, deadline, limits.total_s - first_byte_s, self._clock)
                try:
                    return await self._forwarded.answer(asked, relay, limits)
                except HerdError as error:
                    raise error.told_in(call.endpoint, after=relay.tail) from None
                finally:
                    self._meter.streamed(served.id, arrived, relay.times)
        except TimeoutError as error:
            waited = "finish its answer" if client.started else "begin its answer"
            raise Timeout(f"The engine of '{served.id}' did not {waited} in time ({self._clock() - arrived:.0f} s).") from error

    async def _prepared(self, call: Call, body: dict[str, Any], served: Served) -> bytes:
        """The body as the engine shall get it: as it came, unless an alias or a part of its content had to be replaced."""
        found = media.inspect(body, served.id, served.images_per_prompt)
        changed = found.changed
        if found.images:
            changed = await settled(self.rules.images, body, found.images, served) or changed
        if changed:
            return await written({**body, "model": served.id}, len(call.body))
        return call.body if body["model"] == served.id else with_field(call.body, b'"model":' + msgspec.json.encode(served.id))


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
    """A call without some fields of its body; itself where there are none."""
    if not left_out:
        return call
    for name in left_out:
        del body[name]
    return replace(call, body=await written(body, len(call.body)))


def _outcome(error: HerdError) -> Outcome:
    match error:
        case Timeout():
            return Outcome.TIMEOUT
        case EngineFailed() | EngineLost():
            return Outcome.ENGINE_FAILED
        case Unavailable():
            return Outcome.UNAVAILABLE
        case Overloaded():
            return Outcome.OVERLOADED
        case BadRequest():
            return Outcome.CLIENT_ERROR
        case _:
            return Outcome.CLIENT_ERROR if error.status < 500 else Outcome.INTERNAL_ERROR
