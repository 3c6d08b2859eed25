"""One answer on its way through its readers to its client.

Decides how it ends: as its engine said, or early, in the form of its API, where a reader has ended it.
"""

from collections.abc import Callable

from deployments.gateway.readers.reader import Piece, Readers
from deployments.gateway.readers.screen import Refusal, Screen
from deployments.gateway.request import Asked, Client
from deployments.policy.request import cut_answers
from deployments.wire.brake import Brake
from deployments.wire.types import Headers

Show = Callable[[bytes], None]


class Reading:
    """The readers' side of one delivery."""

    def __init__(self, readers: Readers, asked: Asked, brake: Brake, stop: Callable[[], object], show: Show) -> None:
        """Args:
        readers: who reads, at least one.
        asked: the request.
        brake: makes the engine wait.
        stop: ends what the engine says.
        show: shows the client a piece of a stream.
        """
        self.screen = Screen(readers, brake, stop)
        self._endpoint = asked.call.endpoint
        self._outline = cut_answers.Outline(cut_answers.choices_of(asked.body))
        self._show = show
        self._streamed = bool(asked.body.get("stream"))
        self._body = b""

    def read(self, events: bytes) -> None:
        """Has events of a stream read."""
        self._outline.said(events)
        self.screen.read(Piece(events, streamed=True), self._pass)

    def read_whole(self, body: bytes, reply: Show) -> None:
        """Has a whole answer read, which goes to `reply` when it is let go."""
        self._streamed, self._body = False, body
        self.screen.read(Piece(body, streamed=False), reply)
        self.screen.end()

    async def closed(self, client: Client, head: tuple[int, Headers]) -> None:
        """Waits until all that was said is let go, or the answer is cut, and ends it for the client.

        Raises:
            Exception: of a reader that failed.
        """
        refusal = await self.screen.settled()
        if refusal is not None:
            self._end_early(refusal, client, head)
        if not client.finished:
            client.finish()

    def _end_early(self, refusal: Refusal, client: Client, head: tuple[int, Headers]) -> None:
        if self._streamed:
            self._show(self._outline.ending(self._endpoint, refusal.reason, begun=client.started))
        elif not client.finished:  # else its readers had let all of it go before
            client.reply(*head, cut_answers.cut_body(self._body, self._endpoint, refusal.reason, refusal.kept))

    def _pass(self, events: bytes) -> None:
        self._outline.shown(events)
        self._show(events)
