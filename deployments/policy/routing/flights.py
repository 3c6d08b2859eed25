"""Requests that one replica has from this gateway, and in all by now: its last report, and what has changed since.

Decides over numbers. Reports are told apart by their number, so a view that was only doubted meanwhile is still the same report.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from types import TracebackType

from deployments.policy.routing.types import ReplicaView


class Flight:
    """Requests that one replica has from this gateway."""

    __slots__ = (
        "_changed",
        "_ended",
        "_since",
        "_since_tokens",
        "_unanswered",
        "held_tokens",
        "place",
        "prefill_tokens",
        "report",
        "requests",
        "sent",
        "view",
    )

    def __init__(self, view: ReplicaView, place: int, changed: Callable[["Flight"], None] | None = None) -> None:
        """Args:
        view: what the replica said last.
        place: its number among the replicas.
        changed: told whenever what it has from here has changed; None where nobody wants to know.
        """
        self.view = view
        self.place = place
        self.held_tokens = 0
        """Tokens that it is believed to remember, at most."""
        self.report = 0
        """Its reports that have come."""
        self.requests = 0
        """Requests from here that it has."""
        self.sent = 0
        """Requests that it ever got from here."""
        self.prefill_tokens = 0
        """Prompt tokens from here that it has still to compute."""
        self._changed = changed
        self._unanswered = 0
        self._ended = 0
        """Requests sent before the replica's report, so that they are in it, and ended after it."""
        self._since = 0
        """Requests sent after the replica's report, and not ended."""
        self._since_tokens = 0
        """Prompt tokens of requests sent after the replica's report, and not answered."""

    def by_now(self) -> tuple[int, int, int]:
        """Returns what the replica has by now.

        Returns:
            Its requests: what it reported, without what ended and with what was sent since; at least all from here. The prompt tokens that
            it must compute before it gets to a new request, as far as it or this gateway knows of them. The requests of other gateways that
            wait there, and of whose prompts nothing is known.
        """
        view, requests, wait = self.view, self.requests_now, self.prefill_tokens
        reported = view.prefill_tokens
        if reported is None:
            return requests, wait, max(0, view.waiting - self._unanswered)
        reported += self._since_tokens
        return requests, reported if reported > wait else wait, 0

    @property
    def requests_now(self) -> int:
        """Requests that the replica has by now, as it reported and as they changed since; at least all from here."""
        by_report = self.view.ongoing - self._ended + self._since
        return by_report if by_report > self.requests else self.requests

    @property
    def others(self) -> int:
        """Requests that other gateways have there by its last report."""
        return max(0, self.view.ongoing - self._ended + self._since - self.requests)

    def told(self, view: ReplicaView, held_tokens: int) -> None:
        """Takes a view. What was sent before a new report is in it; one without a number is new unless it is the very same.

        Args:
            view: what the replica says, or what is thought of its last report now.
            held_tokens: tokens that it is believed to remember, at most.
        """
        if view is not self.view and not 0 < view.number == self.view.number:
            self.report += 1
            self._ended = self._since = self._since_tokens = 0
        self.view, self.held_tokens = view, held_tokens

    def change(self) -> None:
        """Says that what is known of the replica has changed."""
        if self._changed is not None:
            self._changed(self)

    def leave(self) -> None:
        """Marks that the replica has gone: what becomes of its requests is told nobody any more."""
        self._changed = None

    def begin(self, prefill_tokens: int) -> None:
        """Counts a request that is sent, with so many prompt tokens to compute."""
        self.sent += 1
        self.requests += 1
        self.prefill_tokens += prefill_tokens
        self._unanswered += 1
        self._since += 1
        self._since_tokens += prefill_tokens

    def answer(self, prefill_tokens: int, report: int) -> None:
        """Counts a first token. `report` is what the replica's reports were when the request was sent."""
        self.prefill_tokens -= prefill_tokens
        self._unanswered -= 1
        if self.report == report:
            self._since_tokens -= prefill_tokens

    def end(self, report: int) -> None:
        """Counts an end; `report` as for `answer`."""
        self.requests -= 1
        if self.report == report:
            self._since -= 1
        else:
            self._ended += 1


class Sending(AbstractContextManager["Sending"]):
    """One request on its way to a replica, from now until it ends."""

    __slots__ = ("_answered", "_ended", "_first", "_flight", "_number", "_report", "prefill_tokens")

    def __init__(self, flight: Flight, prefill_tokens: int) -> None:
        self.prefill_tokens = prefill_tokens
        """Of its prompt, tokens that must be computed, as far as is known."""
        self._flight = flight
        self._answered = self._ended = False
        self._report = flight.report
        self._first = not flight.requests
        flight.begin(prefill_tokens)
        self._number = flight.sent
        flight.change()

    @property
    def alone(self) -> bool:
        """Whether no other request from here has been at the replica since this one went there."""
        return self._first and self._number == self._flight.sent

    def answered(self) -> None:
        """Its first token is here: its prompt has been computed. Not calling it is safe, and makes the replica look busier than it is."""
        if not self._answered:
            self._answered = True
            self._flight.answer(self.prefill_tokens, self._report)
            self._flight.change()

    def end(self) -> None:
        """It has ended. Saying so again does nothing."""
        if self._ended:
            return
        self._ended = True
        if not self._answered:
            self._answered = True
            self._flight.answer(self.prefill_tokens, self._report)
        self._flight.end(self._report)
        self._flight.change()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.end()
