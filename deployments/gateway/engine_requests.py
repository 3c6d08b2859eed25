"""The way in which every engine is asked: for a client, or for a whole answer that the herd itself needs.

Decides which headers an engine gets: none of the client's. Where a request's spans are sent to a collector of traces, the engine is told of
which span its part is.
"""

from collections.abc import Awaitable
from dataclasses import dataclass

from configs.schema import Limits
from deployments.gateway.admission import Admission, Place
from deployments.gateway.replicas.roster import Roster
from deployments.policy.errors import engine_errors
from deployments.policy.errors.client_errors import EngineLost
from deployments.policy.request import answer_texts
from deployments.policy.routing import prompt_gossip as sent
from deployments.policy.routing.types import Ask
from deployments.wire.engine.answer import MOST_WHOLE_MIB, Answer, Broken, Cut, EngineGone, NeverReached
from deployments.wire.engine.client import Engines
from deployments.wire.types import Address
from monitoring.steps import Step
from monitoring.trace_context import HEADER


@dataclass(frozen=True, slots=True)
class Inquiry:
    """A question to a model from inside the herd. Its answer is not streamed."""

    model: str
    """The model's id, or that of its engines for prompts."""
    path: str
    request_id: str
    """The client's request that it is asked for; it goes with it into the engine's log."""
    raw: bytes
    """The request's body."""
    ask: Ask
    """The request as routing knows it."""
    limits: Limits
    """How long it may wait for room."""
    step: Step | None = None
    """The part of a client's request that it is."""


@dataclass(frozen=True, slots=True)
class Reply:
    """The result of an inquiry."""

    place: Place
    """Where it was asked."""
    status: int = 0
    body: bytes = b""
    lost: EngineLost | None = None
    """The engine went away meanwhile, and this is how; then there is no answer."""

    @property
    def text(self) -> str:
        """Returns the text that the model wrote; nothing where it refused."""
        return answer_texts.of_body(self.body).get(0, "") if self.status == 200 else ""


def engine_lost(roster: Roster, place: Place, broken: Broken) -> EngineLost:
    """Returns the error for a request whose answer broke. Only a lost connection makes the replica suspect.

    Args:
        roster: the replicas; it hears of the lost one.
        place: the request's place at the replica.
        broken: how its answer ended.
    """
    replica = place.pick.replica
    is_lost = broken.cut is Cut.LOST
    had_it = is_lost and not isinstance(broken, NeverReached)
    alone = is_lost and roster.lost(replica, place.sending)
    return EngineLost(replica.model, roster.retry_after_s(replica.model), had_it=had_it, alone=alone)


class Asking:
    """Asks engines, in this gateway's name."""

    def __init__(self, engines: Engines, own: str) -> None:
        """Args:
        engines: the way to them.
        own: this gateway's name, which goes with every prompt.
        """
        self._engines = engines
        self._own = own

    def ask(self, place: Place, path: str, request_id: str, ask: Ask, raw: bytes, traceparent: bytes | None = None) -> Awaitable[Answer]:
        """Asks the engine of a place, and returns its answer, as far as its head.

        Raises (when it is awaited):
            EngineGone: there is none.
        """
        replica = place.pick.replica
        headers = self.headers(place, request_id, ask)
        if traceparent is not None:
            headers.append((HEADER, traceparent))
        return self._engines.exchange(Address(replica.host, replica.port), b"POST", path.encode("ascii"), headers, raw)

    def headers(self, place: Place, request_id: str, ask: Ask) -> list[tuple[bytes, bytes]]:
        """Returns what the engine of a place is told beside a request."""
        headers = [(b"content-type", b"application/json"), (b"x-request-id", request_id.encode("ascii"))]
        if ask.prompt.tokens:
            headers.append((sent.HEADER, sent.written(sent.Sent(self._own, place.sending.prefill_tokens, ask.prompt))))
        return headers


class Inquiries:
    """Asks models for what the herd itself needs."""

    def __init__(self, roster: Roster, admission: Admission, asking: Asking) -> None:
        self._roster = roster
        self._admission = admission
        self._asking = asking

    async def ask(self, inquiry: Inquiry) -> Reply:
        """Asks one replica of a model, and reads its whole answer. A replica that is lost meanwhile is suspect from then on.

        Raises:
            Unavailable: no replica takes requests.
            Overloaded: there is no room.
        """
        place = await self._admission.place(inquiry.model, inquiry.ask, inquiry.limits)
        try:
            with place:
                status, body = await self._whole(inquiry, place)
        except EngineGone as error:
            return Reply(place, lost=engine_lost(self._roster, place, error))
        return Reply(place, status, body)

    async def _whole(self, inquiry: Inquiry, place: Place) -> tuple[int, bytes]:
        step = inquiry.step
        if step is not None:
            step.at(place.pick.replica.id)
        traceparent = None if step is None else step.traceparent
        answer = await self._asking.ask(place, inquiry.path, inquiry.request_id, inquiry.ask, inquiry.raw, traceparent)
        try:
            body = await answer.read(MOST_WHOLE_MIB << 20 if answer.status < 400 else engine_errors.MOST_BYTES)
        finally:
            answer.close()
        if answer.status >= 400 and engine_errors.said(answer.status, body).of_death:
            raise EngineGone
        return answer.status, body
