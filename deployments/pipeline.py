"""The straight line of a request: which model, which images, which replica, forward, count.

Every verb names the one file to open next. Knows neither Ray nor vLLM nor HTTP's wire: a `Client` takes the answer, `Engines` give it.
Who may ask (auth, quota) will stand before the model's choice, and what is safe between the choice of model and of replica.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from configs.schema import Limits
from deployments.connection import Address, Answer, EngineGone
from deployments.policy import engine_errors, media, usage
from deployments.policy.calls import Call, decoded
from deployments.policy.catalog import Catalog, Served
from deployments.policy.errors import BadRequest, EngineFailed, HerdError, Timeout, Unavailable
from deployments.policy.media import RemoteImage
from deployments.policy.routing import Pick, ReplicaView
from deployments.roster import RETRY_AFTER_S, Roster
from deployments.upstream import Engines
from monitoring.export import Meter
from monitoring.metrics import Outcome

Headers = Sequence[tuple[bytes, bytes]]

#: Headers of an engine's answer that go on to the client; the rest is the connection's own or says which software answers.
_FORWARDED = (b"content-type", b"cache-control")

#: An event that is longer goes on in parts.
MOST_HELD_BYTES = 1 << 16


class Flow(Protocol):
    """What can be slowed down."""

    def pause(self) -> None: ...
    def resume(self) -> None: ...


class Client(Protocol):
    """Where an answer goes; `deployments.edge.Exchange` over HTTP."""

    started: bool

    @property
    def finished(self) -> bool: ...
    def reply(self, status: int, headers: Headers, body: bytes) -> None: ...
    def refuse(self, error: HerdError, headers: Headers = ()) -> None: ...
    def start(self, status: int, headers: Headers, first: bytes) -> None: ...
    def write(self, data: bytes) -> None: ...
    def finish(self) -> None: ...
    def follow(self, flow: Flow | None) -> None: ...


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

    def __init__(
        self, rules: Rules, roster: Roster, engines: Engines, meter: Meter, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self.rules = rules
        self._roster = roster
        self._engines = engines
        self._meter = meter
        self._clock = clock

    async def serve(self, call: Call, client: Client) -> None:
        """Answers one call, whatever happens, and counts how it ended. Only a cancelled task leaves a client without an answer."""
        arrived = self._clock()
        outcome, model = Outcome.INTERNAL_ERROR, "unknown"
        rules = self.rules
        try:
            body = decoded(call.body)
            served = rules.catalog.choose(body.get("model"))
            model = served.id
            self._meter.opened(model)
            try:
                outcome = await self._forward(call, body, served, client, arrived)
            finally:
                self._meter.closed(model)
        except HerdError as error:
            outcome = _outcome(error)
            tell(client, error, call.request_id)
        except asyncio.CancelledError:
            outcome = Outcome.CANCELLED
            raise
        finally:
            self._meter.ended(model, call.endpoint, outcome, self._clock() - arrived)

    async def _forward(self, call: Call, body: dict[str, Any], served: Served, client: Client, arrived: float) -> Outcome:
        limits = self.rules.limits
        # Without a stream the first byte comes with the last.
        first_byte_s = limits.first_byte_s if body.get("stream") else limits.total_s
        try:
            async with asyncio.timeout(first_byte_s) as deadline:
                raw = await self._prepared(call, body, served)
                chosen = self._roster.choose(served.id)
                self._meter.picked(served.id, chosen.reason.value)
                with self._roster.sending(chosen):
                    stream = _Stream(client, deadline, limits.total_s - first_byte_s, self._clock)
                    return await self._exchange(call, raw, chosen, stream, arrived)
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

    async def _exchange(self, call: Call, raw: bytes, chosen: Pick, stream: "_Stream", arrived: float) -> Outcome:
        replica = chosen.replica
        headers = ((b"content-type", b"application/json"), (b"x-request-id", call.request_id.encode("ascii")))
        try:
            address = Address(replica.host, replica.port)
            answer = await self._engines.exchange(address, b"POST", call.path.encode("ascii"), headers, raw)
            try:
                return await self._answer(call, replica, answer, stream, arrived)
            finally:
                stream.client.follow(None)
                answer.close()
        except EngineGone as error:
            self._roster.suspect(replica)
            raise Unavailable(
                f"The engine of '{replica.model}' went away while serving this request. Try again.",
                code="engine_gone",
                retry_after_s=RETRY_AFTER_S,
            ) from error

    async def _answer(self, call: Call, replica: ReplicaView, answer: Answer, stream: "_Stream", arrived: float) -> Outcome:
        headers = [(name, value) for name in _FORWARDED if (value := answer.headers.get(name)) is not None]
        headers.append((b"x-request-id", call.request_id.encode("ascii")))
        if answer.headers.get(b"content-type", b"").startswith(b"text/event-stream"):
            return await self._streamed(replica.model, answer, stream, headers, arrived)
        body = await answer.read()
        if answer.status >= 400:
            raise engine_errors.translate(answer.status, _json(body))
        stream.client.reply(answer.status, headers, body)
        self._count(replica.model, usage.of_body(body))
        return Outcome.OK

    async def _streamed(self, model: str, answer: Answer, stream: "_Stream", headers: Headers, arrived: float) -> Outcome:
        stream.head = (answer.status, headers)
        stream.client.follow(answer)
        self._meter.stream_opened(model)
        try:
            await answer.pipe(stream)
            stream.end()
        finally:
            self._meter.stream_closed(model)
            self._meter.streamed(model, arrived, stream.times)
        self._count(model, usage.of_stream(stream.tail))
        return Outcome.ENGINE_FAILED if engine_errors.ends_in_error(stream.tail) else Outcome.OK

    def _count(self, model: str, used: usage.Usage | None) -> None:
        if used is not None:
            self._meter.used(model, used.prompt_tokens, used.completion_tokens)


class _Stream:
    """The client's side of a streamed answer. Runs once per piece, so it does nothing but pass it on and note the time.

    Only whole events go on: an engine that dies inside one leaves a stream that another event can still follow.
    """

    __slots__ = ("_before", "_clock", "_deadline", "_held", "_last", "_rest_s", "client", "head", "times")

    def __init__(self, client: Client, deadline: asyncio.Timeout, rest_s: float, clock: Callable[[], float]) -> None:
        self.client = client
        self.head: tuple[int, Headers] = (200, ())
        self.times: list[float] = []
        self._deadline = deadline
        self._rest_s = rest_s
        self._clock = clock
        self._held = self._before = self._last = b""

    def write(self, data: bytes) -> None:
        if self._held or not data.endswith(b"\n\n"):
            self._part(self._held + data)
        else:
            self._pass(data)

    def _part(self, data: bytes) -> None:
        """The network cut the engine's events: what is whole goes on, the rest waits for its end."""
        end = data.rfind(b"\n\n") + 2 if len(data) < MOST_HELD_BYTES else len(data)
        whole, self._held = (data[:end], data[end:]) if end > 1 else (b"", data)
        if whole:
            self._pass(whole)

    def _pass(self, data: bytes) -> None:
        if self.times:
            self.client.write(data)
        else:
            self._first(data)
        self.times.append(self._clock())
        self._before, self._last = self._last, data

    def _first(self, data: bytes) -> None:
        """Only now is the client told a status: until here the request could have been refused, or served elsewhere."""
        self.client.start(*self.head, data)
        until = self._deadline.when()
        if until is not None:
            self._deadline.reschedule(until + self._rest_s)

    def end(self) -> None:
        """The engine has said all; that may be nothing, and it need not have ended in a whole event."""
        if self._held:
            self._pass(self._held)
        if self.times:
            self.client.finish()
        else:
            self.client.reply(*self.head, b"")

    @property
    def tail(self) -> bytes:
        """The last two pieces: what states the usage stands in one of them."""
        return self._before + self._last


def tell(client: Client, error: HerdError, request_id: str) -> None:
    """An error to a client: as the answer, or as the last event of a stream that has begun. One who has a whole answer gets no more."""
    if client.finished:
        return
    if client.started:
        client.write(error.event())
        client.finish()
    else:
        client.refuse(error, ((b"x-request-id", request_id.encode("ascii")),))


def _json(body: bytes) -> object:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


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
        case EngineFailed():
            return Outcome.ENGINE_FAILED
        case Unavailable():
            return Outcome.ENGINE_FAILED if error.__cause__ is not None else Outcome.UNAVAILABLE
        case BadRequest():
            return Outcome.CLIENT_ERROR
        case _:
            return Outcome.CLIENT_ERROR if error.status < 500 else Outcome.INTERNAL_ERROR
