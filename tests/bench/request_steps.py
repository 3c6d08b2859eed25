"""The steps of a request through the gateway, each as one call on real values, in the order in which a request takes them.

Decides which part of the gateway's code a step is. What stands between them is left over: the task, the coroutines, the turns of the loop.
"""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, cast

import msgspec

from configs.schema import Limits
from deployments.gateway.admission import Admission, Place
from deployments.gateway.body.reading import read_small
from deployments.gateway.delivery import Delivery
from deployments.gateway.engine_requests import Asking
from deployments.gateway.pipeline import _checked
from deployments.gateway.request import Asked, Request
from deployments.policy.body import fields
from deployments.policy.images import media
from deployments.policy.request import browsers, usage
from deployments.policy.request.calls import Call, Priority, endpoint, request_id, session_of
from deployments.policy.request.prompt_blocks import NO_PROMPT, prompt_of
from deployments.policy.request.served_models import Chosen
from deployments.policy.routing.types import Ask
from deployments.wire.client.connection import ClientConnection
from deployments.wire.client.exchange import Exchange
from deployments.wire.client.request_framing import RequestReader
from deployments.wire.deadlines import Deadlines
from monitoring.export import Meter
from monitoring.journal import Journal
from monitoring.labels import Outcome
from tests.bench import in_memory
from tests.path.herd import Herd


@dataclass(frozen=True, slots=True)
class Step:
    """One step."""

    name: str
    run: Callable[[], object]
    without: Callable[[], object] | None = None
    """What `run` does before the step; its time is taken off."""


def steps(herd: Herd, asked: dict[str, Any]) -> Iterator[Step]:
    """Yields the steps of a chat request with this body."""
    raw = in_memory.request(asked)
    of_connection = RequestReader()

    def head(reader: RequestReader) -> Exchange:
        reader.feed(raw)
        found = reader.head()
        assert found is not None
        exchange = Exchange(found, client, reader.whole)
        exchange.take(reader.body(), reader.whole)
        return exchange

    client = ClientConnection(herd.serving.server)
    client.connection_made(cast(asyncio.Transport, in_memory.Transport(lambda data: None)))
    exchange = head(of_connection)
    body_bytes = exchange.small_body()
    yield Step("read a connection's first head, and the body", lambda: head(RequestReader()))
    yield Step("the same, when the head comes again", lambda: head(of_connection))
    yield from _checks(herd, exchange, body_bytes)
    yield from _asking(herd, _asked(herd, exchange, body_bytes))
    yield from _answering(herd, _asked(herd, exchange, body_bytes), exchange)


def _checks(herd: Herd, exchange: Exchange, raw: bytes) -> Iterator[Step]:
    """What is decided before an engine is chosen."""
    rules, body = herd.serving.pipeline.rules, msgspec.json.decode(raw)
    request = _asked(herd, exchange, raw).request
    model = rules.catalog.choose(body)

    def doorway() -> Call:
        browsers.admitted(rules.guests, exchange.headers)
        name = endpoint(exchange.method, exchange.path)
        return Call(exchange.path, name, request_id(None, "req-1"), raw)

    yield Step("doorway: host, path, headers", doorway)
    yield Step("decode the body", lambda: read_small(raw, rules.catalog))
    yield Step("check the fields", lambda: fields.unknown("chat", body, rules.requests))
    yield Step("model, sizes, class", lambda: (rules.catalog.choose(body), _checked(request, model), session_of(None, body)))
    yield Step("look for images", lambda: media.inspect(body, model.id, model.images_per_prompt))
    yield Step("blocks of the prompt, where there is a choice", lambda: prompt_of(body, model.id))


def _asking(herd: Herd, asked: Asked) -> Iterator[Step]:
    """A replica is picked, and asked."""
    roster, meter = herd.roster, Meter()
    admission, limits = Admission(roster, meter), Limits()
    deadlines = Deadlines()

    def place() -> None:
        with cast(Place, admission.offer(asked.chosen.model.id, asked.ask, limits)):
            pass

    def deadline() -> None:
        with deadlines.within(600):
            pass

    yield Step("a deadline", deadline)
    yield Step("pick a replica, and leave it", place)
    engines = herd.serving.engines
    held = cast(Place, admission.offer(asked.chosen.model.id, asked.ask, limits))
    connection = in_memory.engine_connection(herd, lambda data: None)

    def send() -> None:
        lines = asking.headers(held, asked.call.request_id, asked.ask)
        head = engines._head(connection.address, b"POST", b"/v1/chat/completions", lines, len(asked.raw))
        connection.send(head + asked.raw)

    asking = Asking(engines, "own")
    yield Step("write to the engine", send)

    def read() -> None:
        send()
        connection.data_received(in_memory.ANSWER)

    yield Step("read the engine's answer", read, send)


def _answering(herd: Herd, asked: Asked, exchange: Exchange) -> Iterator[Step]:
    """The answer goes to the client, and is counted."""
    engines = {b"content-type": b"application/json"}
    journal, deadline = Journal(Meter()), Deadlines().within(600)
    clock = asyncio.get_running_loop().time

    def count() -> None:
        entry = journal.begins("chat", 0.0)
        entry.names(asked.chosen.model.id)
        with entry.asks(asked.chosen.model.id) as trial:
            trial.picked("only")
            with trial.asks("replica-1", "only"):
                pass
            trial.used(12, 1)
            served = trial.served()
        journal.ended(entry, Outcome.OK, served, 1.0)

    yield Step("begin to deliver", lambda: Delivery(cast(Any, exchange), asked, deadline, clock))
    yield Step("answer the client", lambda: exchange.reply(200, asked.headers(engines, streamed=False), in_memory.ANSWER_BODY))
    yield Step("read the usage", lambda: usage.of_body(in_memory.ANSWER_BODY))
    yield Step("count it", count)


def _asked(herd: Herd, exchange: Exchange, raw: bytes) -> Asked:
    """The request as it is when an engine is asked."""
    rules, body = herd.serving.pipeline.rules, msgspec.json.decode(raw)
    served = rules.catalog.choose(body)
    call = Call(exchange.path, "chat", "req-0123456789abcdef0123456789abcdef-1", raw)
    entry = Journal(Meter()).begins("chat", 0.0)
    several = len(herd.roster.replicas(served.id)) > 1
    ask = Ask(prompt_of(body, served.id) if several else NO_PROMPT, None, priority=Priority.INTERACTIVE)
    return Asked(Request(call, body, rules, entry), call, body, raw, Chosen(served), ask, entry.asks(served.id), tokens=12)
