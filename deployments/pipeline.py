"""The straight line of a request: which model, which images, which replica, forward, count.

Every verb names the one file to open next. Knows neither Ray nor vLLM nor HTTP's wire: a `Client` takes the answer, `Engines` give it.
Who may ask (auth, quota) will stand before the model's choice, and what is safe between the choice of model and of replica.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from configs.schema import Limits
from deployments.asked import Asked
from deployments.forward import Forward
from deployments.policy import media, resume
from deployments.policy.calls import GENERATING, Call, Priority, decoded, priority_of, session_of, with_field
from deployments.policy.catalog import Catalog, Chosen, Served
from deployments.policy.errors import BadRequest, EngineFailed, EngineLost, HerdError, Overloaded, Timeout, Unavailable
from deployments.policy.media import RemoteImage
from deployments.policy.prompt import NO_PROMPT, prompt_of
from deployments.policy.routing import Ask
from deployments.relay import Client, Relay
from monitoring.export import Meter
from monitoring.metrics import Outcome


class Images(Protocol):
    """Fetches an image by address, as a `data:` URL; `deployments.remote_images` over HTTP."""

    async def fetch(self, url: str) -> str: ...


@dataclass(frozen=True, slots=True)
class Rules:
    """What the config says about requests; replaced as a whole when it changes."""

    catalog: Catalog
    limits: Limits
    images: Images


class Pipeline:
    """Carries requests from clients to engines."""

    def __init__(self, rules: Rules, forward: Forward, meter: Meter, clock: Callable[[], float] = time.perf_counter) -> None:
        self.rules = rules
        self._forwarded = forward
        self._meter = meter
        self._clock = clock

    async def serve(self, call: Call, client: Client) -> None:
        """Answers one call, whatever happens, and counts how it ended. Only a cancelled task leaves a client without an answer."""
        arrived = self._clock()
        outcome, model = Outcome.INTERNAL_ERROR, "unknown"
        rules = self.rules
        try:
            body = decoded(call.body)
            resume.refuse_forged(body)
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
        except (Unavailable, Overloaded) as error:
            refusal = error
        others = call.fallback and call.endpoint in GENERATING and not body.get("background")
        for chosen in self.rules.catalog.in_place_of(named, body) if others else ():
            if client.started:
                break
            with contextlib.suppress(Unavailable, Overloaded):
                outcome = await self._by(call, body, chosen, client, arrived)
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
        """The body as the engine shall get it: as it came, unless an alias or an image's address had to be replaced."""
        remote = media.inspect(body, served.id, served.images_per_prompt)
        if not remote and body["model"] == served.id:
            return call.body
        await self._inline(remote)
        return msgspec.json.encode({**body, "model": served.id})

    async def _inline(self, remote: Sequence[RemoteImage]) -> None:
        async with asyncio.TaskGroup() as group:
            fetches = [group.create_task(_caught(self.rules.images.fetch(image.url))) for image in remote]
        for image, fetch in zip(remote, fetches, strict=True):
            image.inline(_released(fetch.result()))


def tell(client: Client, error: HerdError, request_id: str) -> None:
    """An error to a client: as the answer, or as the last event of a stream that has begun. One who has a whole answer gets no more."""
    if client.finished:
        return
    if client.started:
        client.write(error.event())
        client.finish()
    else:
        client.refuse(error, ((b"x-request-id", request_id.encode("ascii")),))


async def _caught(fetch: Any) -> "str | HerdError":  # noqa: ANN401 (an awaitable)
    """An error as a value: a group of tasks would wrap it."""
    try:
        image: str = await fetch
    except HerdError as error:
        return error
    return image


def _released(image: "str | HerdError") -> str:
    if isinstance(image, HerdError):
        raise image
    return image


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
