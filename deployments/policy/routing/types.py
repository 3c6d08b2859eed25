"""Which replica serves a request: what is known, who may serve, and what comes out, as frozen values.

Decides how many requests a replica may have. How to choose among those that may serve is `deployments.policy.routing.policies`', where
their facts come from `deployments.policy.routing.router`'s, and how a prompt becomes blocks `deployments.policy.request.prompt_blocks`'s.
"""

from collections.abc import Mapping
from enum import StrEnum
from math import inf
from typing import Any, NamedTuple

import msgspec

from deployments.policy.errors.client_errors import Unavailable
from deployments.policy.request.calls import Priority
from deployments.policy.request.prompt_blocks import NO_PROMPT, Prompt


class ReplicaState(StrEnum):
    """The state of a replica, by its own words."""

    READY = "ready"
    LEAVING = "leaving"
    """Finishes what it has and takes nothing new."""
    DEAD = "dead"
    """Its process lives and its engine does not."""
    SICK = "sick"
    """Its engine lives, and its canary says that it must not be believed: it will be restarted."""


class Trust(StrEnum):
    """How far a replica's last report is believed; the roster says so by its age."""

    TRUSTED = "trusted"
    SUSPECTED = "suspected"
    """It has missed a report or two: taken where it is clearly the better one."""
    AVOIDED = "avoided"
    """Silent for longer: taken only where nobody else is left."""


class Reason(StrEnum):
    """Why a replica was picked; also a metric's label."""

    ONLY = "only"
    ROOM_LEFT = "room_left"
    """All others are full."""
    ROUND_ROBIN = "round_robin"
    LEAST_LOADED = "least_loaded"
    TWO_CHOICES = "two_choices"
    PREFIX = "prefix"
    """It has the most of the prompt."""
    SESSION = "session"
    """The session's own, or where every gateway would put a prompt that it has not seen."""
    ROOM = "room"
    """The blocks that its cache would forget for this prompt are the oldest."""
    KV = "kv"
    """It has memory left."""
    WARM = "warm"
    """The others have just started."""
    BALANCE = "balance"
    """The others have far more than their share of the requests."""
    TRUST = "trust"
    """The others have not been heard of lately."""


#: Reasons of picks where no other replica could be picked: nobody has looked for the prompt then.
UNCHOSEN = frozenset({Reason.ONLY, Reason.ROOM_LEFT})


class ReplicaView(msgspec.Struct, frozen=True):
    """One engine replica as a gateway sees it. What a replica does not report keeps its default, which favours nobody.

    A struct, because one is made per report: a frozen dataclass of as many fields takes twenty times as long to make.
    """

    id: str
    model: str
    host: str
    port: int
    state: ReplicaState
    ongoing: int
    """Requests inside it when it last spoke."""
    waiting: int = 0
    """Of these, requests that its scheduler has not begun."""
    running: int = 0
    """Of these, requests in its batch."""
    slots: int = 0
    """Requests that it runs at once (vLLM's `max_num_seqs`); 0 where it has not said."""
    prefill_tokens: int | None = None
    """Prompt tokens that it has still to compute, whoever sent them; None where it cannot say."""
    kv_usage: float = 0.0
    """Share of its KV cache that running requests hold, 0 to 1; what is only remembered does not count."""
    kv_tokens: int = 0
    """Tokens that its KV cache has room for; 0 where it has not said."""
    prefix_hit_rate: float = 0.0
    """Share of the prompt tokens, lately, that it had not to compute, 0 to 1."""
    step_s: float = 0.0
    """Seconds of one scheduling step, lately."""
    ready_s: float = float("inf")
    """Seconds since it became ready."""
    start_s: float = 0.0
    """Seconds that its start took; 0 where it has not said."""
    figures: Mapping[str, Any] = msgspec.field(default_factory=dict)
    """Its engine's memory beside the plan (`cluster.planner.started.figures`), for the pages; routing does not look at it. Empty where it
    has not said."""
    about: Mapping[str, Any] = msgspec.field(default_factory=dict)
    """Its release and its number of GPUs, for the pages; routing does not look at it. Empty where it has not said."""
    canary: str = ""
    """The fault of one that is sick (`policy.fleet.canary.Verdict`)."""
    slow: bool = False
    """Its canaries are far slower than those of the other replicas: it takes requests only while these are full."""
    number: int = 0
    """Which of its reports this is, counted from 1; 0 where it does not count them."""
    trust: Trust = Trust.TRUSTED

    def __hash__(self) -> int:
        """Hashes which report of which replica it is: mappings have no hash."""
        return hash((self.id, self.number))


class Ask(NamedTuple):
    """A request, as far as routing needs to know it. A tuple, because one is made per request."""

    prompt: Prompt = NO_PROMPT
    session: str | None = None
    """A key of the client's (`x-session-id`, `prompt_cache_key`, `user`): requests that share it share a replica if all else is equal."""
    tried: frozenset[str] = frozenset()
    """Replicas that this request has failed on."""
    priority: Priority = Priority.INTERACTIVE
    begun: bool = False
    """It has had a place: its client has a part of the answer already, or it made way for a request in a hurry. For another one it waits
    longer than who is new, however long the line is."""
    on_demand: bool = False
    """Its model may have no replica while nobody asks for it. A new request then waits for a replica to start."""
    hurried: bool = False
    """Another model can answer it at once, so that it does not wait for a replica to start."""
    ttft_s: float = inf
    """Its answer should begin within so many seconds of when it came here; infinite where nothing is lost later."""
    lost: frozenset[str] = frozenset()
    """Those of `tried` to which only a connection was lost, once: the replica may be there all the same."""


class Pick(NamedTuple):
    """The replica that serves a request, and why this one. A tuple, because one is made per request."""

    replica: ReplicaView
    reason: Reason
    hit_tokens: int = 0
    """Tokens of the prompt that it is believed to have."""


#: Above it, with requests waiting, a KV cache is full.
KV_FULL = 0.95
#: One place in so many is kept free of batch requests.
BATCH_LEAVES = 8


class RunsAtOnce:
    """How many requests a replica can run at once: its slots, or what its memory has shown to hold.

    A limit of memory is seen only while it holds requests up, and would be forgotten as soon as more replicas carry the load; so the last
    one that was seen stays, until the replica runs more than it without being held up.
    """

    def __init__(self) -> None:
        self._seen: int | None = None

    def after(self, slots: int, ongoing: int, waiting: int, kv_usage: float) -> int:
        """Returns the number; 0 where it is unknown.

        Args:
            slots: as the engine reports.
            ongoing: requests inside the engine.
            waiting: of these, requests that its scheduler has not begun.
            kv_usage: share of its KV cache that running requests hold.
        """
        running = ongoing - waiting
        if kv_usage > KV_FULL and waiting:
            self._seen = max(1, running)
        elif self._seen is not None and running > self._seen:
            self._seen = running
        return slots if self._seen is None else min(slots, self._seen)


def most_requests(view: ReplicaView, priority: Priority) -> float:
    """Returns how many requests a replica may not have yet, so that it would begin another one at once; infinite where it has not said how
    many it runs.

    A part of its places is not for batch requests, so that a request in a hurry finds one free. One whose memory is full and before which
    requests wait has no room, however many places it has.
    """
    if view.kv_usage > KV_FULL and view.waiting:
        return 0
    if not view.slots:
        return inf
    kept_free = max(1, view.slots // BATCH_LEAVES) if priority is Priority.BATCH and view.slots > 1 else 0
    return view.slots - kept_free


def unavailable(model: str, ever_ready: bool, retry_after_s: int) -> Unavailable:
    """The error for a model that no replica serves now: it is starting, or it was there and has gone."""
    if ever_ready:
        message, code = f"No engine of '{model}' is alive at the moment; a replacement is starting.", "engine_gone"
    else:
        message, code = f"The model '{model}' is starting.", "engine_starting"
    return Unavailable(f"{message} Try again in {retry_after_s} s.", code=code, retry_after_s=retry_after_s)
