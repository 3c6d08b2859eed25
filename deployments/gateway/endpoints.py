"""The HTTP face of a gateway: its own pages, and what every request gets whatever goes wrong.

Decides which page a path means; calls for engines go to the pipeline. Knows no Ray: what only the cluster can say is asked through the
two functions that it is given.
"""

import asyncio
import itertools
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any
from urllib.parse import unquote

import msgspec
import structlog

from configs.schema import Limits
from deployments.gateway.body.budget import Bodies, Body
from deployments.gateway.figures.figures import Figures
from deployments.gateway.pipeline import Pipeline, tell
from deployments.gateway.replicas.roster import Roster
from deployments.policy.errors.client_errors import Unavailable, UnknownModel, UnknownPath
from deployments.policy.errors.herd_error import HerdError
from deployments.policy.request import browsers
from deployments.policy.request.calls import ENDPOINTS, Call, endpoint, request_id
from deployments.policy.request.pages import Pages
from deployments.policy.request.served_models import Catalog, Served
from deployments.policy.routing.availability import RETRY_AFTER_S
from deployments.wire.client.exchange import JSON, MOST_UNASKED_BYTES, Exchange
from deployments.wire.shared_answer import SharedAnswer
from deployments.wire.types import Headers
from monitoring.export import CONTENT_TYPE, Meter
from monitoring.trace_context import HEADER

Page = Callable[[Exchange], Awaitable[None]]
Generated = Callable[[str], Awaitable[int]]
"""How many replicas of a model generate a token now."""

#: `/health?generate=true` is a generation on every replica, for anybody who asks: those that ask within so many seconds share one.
GENERATED_KEPT_S = 5.0


class Front:
    """Answers every exchange of a gateway."""

    def __init__(self, roster: Roster, pipeline: Pipeline, meter: Meter, figures: Figures, generated: Generated, pages: Pages) -> None:
        self._log = structlog.get_logger("herd.gateway")
        # A random number for each request would cost a system call.
        self._process, self._number = uuid.uuid4().hex, itertools.count(1)
        self._roster = roster
        self._pipeline = pipeline
        self._meter = meter
        self._figures = figures
        self._generated = SharedAnswer(lambda: _counts(roster.models, generated), GENERATED_KEPT_S)
        self._bodies = Bodies()
        self._metrics_page = SharedAnswer(self._written_metrics, kept_s=0.0)
        self._shown = pages
        self._pages: dict[str, Page] = {
            "/health": self._health,
            "/v1/models": self._models,
            "/-/targets": self._targets,
        }

    def show(self, pages: Mapping[str, Page]) -> None:
        """Shows further pages of this gateway's own, by their paths."""
        self._pages |= pages

    async def serve(self, exchange: Exchange) -> None:
        """The herd's one port."""
        asks = exchange.once(self._pipeline.rules, self._ordinary)
        given = request_id(_said(exchange, b"x-request-id"), "") if asks is None else asks.request_id
        identity = given or f"req-{self._process}-{next(self._number):x}"
        try:
            if asks is not None and exchange.has_small_body(asks.most_bytes):
                # Nothing has to be looked at or waited for, as nearly always.
                if asks.told:
                    exchange.always(asks.told)
                await self._pipeline.serve(asks.call(identity, exchange.small_body()), exchange)
            elif not self._is_preflight(exchange):
                page = self._page(exchange)
                await (self._forward(exchange, identity) if page is None else page(exchange))
        except HerdError as error:  # what the pipeline tells it counts itself
            self._meter.refused(error.reason)
            tell(exchange, error.told_in(ENDPOINTS.get(exchange.path, "")), identity)
        except asyncio.CancelledError:
            if exchange.gone:
                raise
            tell(exchange, Unavailable("This gateway is stopping. Try again.", retry_after_s=RETRY_AFTER_S), identity)
        except Exception as error:  # noqa: BLE001 (the edge: whatever is wrong, a client gets an answer and no stack trace)
            self._log.error("defect", request_id=identity, path=exchange.path, exc_info=error)
            tell(exchange, HerdError("The server has a defect; its log has more under this request's id."), identity)

    async def metrics(self, exchange: Exchange) -> None:
        """The port that Prometheus asks."""
        if self._pipeline.rules.guests.loopback:
            try:
                browsers.admitted(self._pipeline.rules.guests, exchange.headers)
            except HerdError as error:
                exchange.refuse(error)
                return
        if exchange.path != "/metrics":
            exchange.refuse(UnknownPath(exchange.method, exchange.path))
            return
        exchange.reply(200, ((b"content-type", CONTENT_TYPE),), await self._metrics_page.get())

    async def _written_metrics(self) -> bytes:
        """Writes the page of metrics, for all that ask meanwhile. Requests have their turn in between: a large herd's takes its time."""
        self._figures.show()
        pieces = []
        for piece in self._meter.pieces():
            pieces.append(piece)
            await asyncio.sleep(0)
        return b"".join(pieces)

    async def _forward(self, exchange: Exchange, identity: str) -> None:
        """Carries a request to an engine, when its body has arrived and is known to be one."""
        name, limits = endpoint(exchange.method, exchange.path, self._pages), self._pipeline.rules.limits
        # The body has no name here: it would be held for as long as the answer takes, where the pipeline needs a changed one only.
        with self._bodies.one(limits.bodies_mib, exchange.address) as held:
            body = self._body(exchange, (name, identity), limits, held)
            await self._pipeline.serve(_asks(exchange, name).call(identity, await body), exchange)

    def _ordinary(self, exchange: Exchange) -> "_Asks | None":
        """Returns what a request's head says; None where it is not that of an ordinary call, which has nothing wrong in it."""
        name = ENDPOINTS.get(exchange.path)
        if name is None or exchange.method != "POST" or exchange.headers.get(b"content-type") != b"application/json":
            return None
        if b"content-encoding" in exchange.headers:
            return None
        rules = self._pipeline.rules
        try:
            told = browsers.admitted(rules.guests, exchange.headers)
        except Exception:  # noqa: BLE001 (looked at again, where whatever is wrong is told)
            return None
        return _asks(exchange, name, told, min(MOST_UNASKED_BYTES, int(rules.limits.body_mib * (1 << 20))))

    def _is_preflight(self, exchange: Exchange) -> bool:
        """Whether it was a browser's question about another request, and has been answered.

        Raises:
            Forbidden: the request comes from a page that may not use the herd.
        """
        guests = self._pipeline.rules.guests
        told = browsers.admitted(guests, exchange.headers)
        if told:
            exchange.always(told)
        if exchange.method != "OPTIONS" or (said := browsers.preflight(guests, exchange.headers)) is None:
            return False
        exchange.reply(204, said, b"")
        return True

    async def _body(self, exchange: Exchange, call: tuple[str, str], limits: Limits, held: Body) -> bytes:
        began = time.perf_counter()
        try:
            browsers.check_content_type(exchange.headers)
            return await exchange.body(limits.body_mib, limits.body_read_s, held.add)
        except HerdError as error:  # it is no call for the pipeline yet
            self._pipeline.never_read(*call, error, began)
            raise

    def _page(self, exchange: Exchange) -> Page | None:
        page = self._pages.get(exchange.path)  # the path as it came: no other spelling means a page
        if page is None and exchange.path.startswith("/v1/models/") and exchange.path != "/v1/models/":
            page = self._model
        if page is not None and exchange.method not in ("GET", "HEAD"):
            raise UnknownPath(exchange.method, exchange.path, allowed=("GET", "HEAD"))
        if page is not None:
            self._shown.check(exchange.path, exchange.headers.get(b"authorization", b""))
        return page

    @property
    def _catalog(self) -> Catalog:
        return self._pipeline.rules.catalog

    async def _models(self, exchange: Exchange) -> None:
        starts = {served.id: self._start(served) for served in self._catalog.models if served.on_demand}
        _reply(
            exchange,
            {"object": "list", "data": [{**card, **starts.get(card.get("root", card["id"]), {})} for card in self._catalog.listed]},
        )

    async def _model(self, exchange: Exchange) -> None:
        name = unquote(exchange.path.removeprefix("/v1/models/"))
        served = self._catalog.by_name.get(name)
        card = served.card if served is not None else self._catalog.cards.get(name)
        if card is None:
            raise UnknownModel(name, self._catalog.cards)
        _reply(exchange, {**card, **(self._start(served) if served is not None and served.on_demand else {})})

    def _start(self, served: Served) -> dict[str, Any]:
        """Returns what `/v1/models` says further of a model that starts with its first requests."""
        start_s = self._pipeline.start_s(served.id)
        return {"at_zero": served.id in self._at_zero, "start_s": round(start_s, 1) if start_s else None}

    @property
    def _at_zero(self) -> list[str]:
        """The models without a replica that takes requests, which start with their first ones."""
        models = self._roster.models
        return [one.id for one in self._catalog.models if one.on_demand and one.id in models and not self._roster.ready(one.id)]

    async def _health(self, exchange: Exchange) -> None:
        """Whether every model has a replica that takes requests; with `?generate=true`, whether every replica generates."""
        models = self._roster.models
        ready = {model: self._roster.ready(model) for model in models}
        # Engines that only compute prompts may be away: the others do their work. A model that is stopped has no engines to be ready, and
        # one that is at zero need have none.
        at_zero = {model for model in self._at_zero if not self._roster.is_down(model)}
        healthy = all(ready[served.id] for served in self._catalog.models if served.id in ready and served.id not in at_zero)
        answer: dict[str, Any] = {"status": "ok" if healthy else "degraded", "ready": ready}
        if b"generate=true" in exchange.query:
            answer["generated"] = {model: count for model, count in (await self._generated.get()).items() if model in ready}
            healthy = healthy and answer["generated"] == ready
        _reply(exchange, answer, 200 if healthy else 503)

    async def _targets(self, exchange: Exchange) -> None:
        """Prometheus' HTTP service discovery: every page of metrics of the herd."""
        _reply(exchange, await self._figures.targets(self._shown.engine_labels))


def _said(exchange: Exchange, header: bytes) -> str | None:
    value = exchange.headers.get(header)
    return None if value is None else value.decode("ascii", "replace")


class _Asks(msgspec.Struct, frozen=True):
    """A call, as far as its head tells of it."""

    path: str
    endpoint: str
    request_id: str
    """The client's own; empty where it gives none that can be used."""
    session: str | None
    priority: str | None
    fallback: bool
    traceparent: bytes | None
    told: Headers
    """Headers that its answer must have for a browser."""
    most_bytes: int
    """Of its body: up to this size, nothing is to be done for one that has arrived."""

    def call(self, request_id: str, body: bytes) -> Call:
        """Returns the call, whole."""
        return Call(self.path, self.endpoint, request_id, body, self.session, self.priority, self.fallback, self.traceparent)


def _asks(exchange: Exchange, name: str, told: Headers = (), most_bytes: int = 0) -> _Asks:
    fallback = exchange.headers.get(b"x-fallback", b"").lower() != b"off"
    session, priority = _said(exchange, b"x-session-id"), _said(exchange, b"x-priority")
    given = request_id(_said(exchange, b"x-request-id"), "")
    return _Asks(exchange.path, name, given, session, priority, fallback, exchange.headers.get(HEADER), told, most_bytes)


async def _counts(models: Sequence[str], generated: Generated) -> Mapping[str, int]:
    counts = await asyncio.gather(*(generated(model) for model in models))
    return dict(zip(models, counts, strict=True))


def _reply(exchange: Exchange, body: object, status: int = 200) -> None:
    exchange.reply(status, (JSON,), msgspec.json.encode(body))
