"""One request for an engine, from its arrival to the end of its answer, the rules under which it is answered, and the client.

Decides nothing. A request keeps the rules that held when it arrived: a config that changes meanwhile holds for the next request.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from configs.requests import Requests
from configs.schema import Limits
from deployments.gateway.body.images import Images
from deployments.gateway.readers.reader import Readers
from deployments.policy.errors.herd_error import HerdError
from deployments.policy.request.browsers import ANYBODY, Guests
from deployments.policy.request.calls import Call
from deployments.policy.request.served_models import Catalog, Chosen
from deployments.policy.request.usage import Usage
from deployments.policy.routing.types import Ask
from deployments.wire.types import Flow, Headers
from monitoring.journal import Entry, Trial

#: What an event stream says to proxies on its way (nginx reads the second): pass each event on at once.
_UNBUFFERED = ((b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no"))
#: The bounds of a config that says nothing of them.
DEFAULT_BOUNDS = Requests()


class Client(Protocol):
    """Where an answer goes; `deployments.wire.client.exchange.Exchange` over HTTP."""

    started: bool
    gone: bool
    """It has hung up."""

    @property
    def finished(self) -> bool: ...
    def reply(self, status: int, headers: Headers, body: bytes) -> None: ...
    def refuse(self, error: HerdError, headers: Headers = ()) -> None: ...
    def start(self, status: int, headers: Headers, first: bytes, flow: Flow) -> None: ...
    def write(self, data: bytes) -> None: ...
    def hold(self, holds: bool) -> None: ...
    def finish(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Rules:
    """The config's part about requests; replaced as a whole when it changes."""

    catalog: Catalog
    limits: Limits
    images: Images
    guests: Guests = ANYBODY
    """Which web pages may ask."""
    requests: Requests = DEFAULT_BOUNDS
    readers: "Callable[[Asked], Readers] | None" = None
    """Makes the readers of the answer to a request, which get it before its client does. None: no answer has readers."""


class Request(msgspec.Struct, frozen=True):
    """One request of a client. A struct, because one is made per request: making a tuple with names takes four times as long.

    Times are seconds of the pipeline's clock.
    """

    call: Call
    body: dict[str, Any]
    """The call's body, decoded. Images are put into it before an engine gets it."""
    rules: Rules
    """The config's rules at the request's arrival."""
    entry: Entry
    """The journal of the request."""

    @property
    def arrived_s(self) -> float:
        """The time of its arrival."""
        return self.entry.arrived_s

    @property
    def due_s(self) -> float:
        """The time by which the answer must be whole, whichever models are asked for it."""
        return self.entry.arrived_s + self.rules.limits.total_s

    @property
    def begins_by_s(self) -> float:
        """The time by which the answer must begin. A whole answer begins when it ends."""
        limits = self.rules.limits
        return self.entry.arrived_s + (limits.first_byte_s if self.body.get("stream") else limits.total_s)


class Asked(msgspec.Struct, frozen=True):
    """A request, ready for the engines of one model. A struct, as `Request`."""

    request: Request
    call: Call
    body: Mapping[str, Any]
    """As the client sent it, decoded, with the fields that the gateway has added."""
    raw: bytes
    """As an engine gets it."""
    chosen: Chosen
    ask: Ask
    """The request as routing knows it."""
    trial: Trial
    """The journal of this model's part."""
    tokens: int
    """Of its prompt, about."""

    @property
    def limits(self) -> Limits:
        """The limits under which it is answered."""
        return self.request.rules.limits

    def took(self, used: Usage | None) -> None:
        """Notes the tokens that its answer took, where its engine has stated them."""
        if used is not None:
            self.trial.used(used.prompt_tokens, used.completion_tokens, used.cached_tokens)

    def headers(self, engines: Mapping[bytes, bytes], streamed: bool) -> list[tuple[bytes, bytes]]:
        """Returns the headers of the client's answer, which may be streamed, from those of an engine's.

        Two of the engine's go on to the client; the rest is the connection's own, or says which software answers.
        """
        headers = [(b"x-request-id", self.call.request_id.encode("ascii"))]
        if (kind := engines.get(b"content-type")) is not None:
            headers.append((b"content-type", kind))
        if (kept := engines.get(b"cache-control")) is not None:
            headers.append((b"cache-control", kept))
        if self.chosen.instead_of is not None:
            headers.append((b"x-fallback-from", self.chosen.instead_of.encode("ascii")))
        if streamed:
            headers.extend(_UNBUFFERED[b"cache-control" in engines :])
        return headers


def is_stream(headers: Mapping[bytes, bytes]) -> bool:
    """Whether an engine's answer is a stream of events."""
    return headers.get(b"content-type", b"").startswith(b"text/event-stream")
