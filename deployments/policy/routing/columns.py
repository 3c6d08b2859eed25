"""All replicas of one model, in columns: a replica is a place, and each fact is an array over all places.

A choice looks at every replica by a few array operations instead of a loop, each about a nanosecond per replica. News of one replica
writes one place. Whole numbers are kept as doubles, which are exact up to 2**53.
"""

from collections.abc import Callable, Mapping, Sequence, Set

import numpy as np
from numpy.typing import NDArray

from deployments.policy.request.calls import Priority
from deployments.policy.routing.flights import Flight
from deployments.policy.routing.hashing import mixed, of_text
from deployments.policy.routing.types import ReplicaState, ReplicaView, Trust, most_requests

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Places = NDArray[np.intp]

#: Rows of `rows`: each times a number that only the request tells is a part of a replica's score. Scores of reports alone follow, by their
#: weights.
HIT, LOAD, MEMORY, REQUESTS, LAST_USED = range(5)
#: What a running request delays a new one, in prompt tokens: its decoding takes a share of every step. Tuned on the replay of a trace.
REQUEST_TOKENS = 64
#: Up to here, a KV cache has easily enough room. Above it vLLM soon has to let requests wait, or to begin them again.
KV_EASY = 0.8
_READY, _HEARD = range(2)
#: Sets of so few places are unpacked one by one.
_FEW = 4


class Able:
    """Which replicas may be picked for a request."""

    __slots__ = ("mask", "requests", "several")

    def __init__(self, mask: Bools, several: int, requests: float) -> None:
        self.mask = mask
        self.several = several
        """How many these are."""
        self.requests = requests
        """Requests that they have in all."""


class Columns:
    """Facts of all replicas. Its arrays are for reading; a place in them is a replica's, or free."""

    def __init__(self, of_reports: Sequence[tuple[Callable[[ReplicaView], float], float]] = ()) -> None:
        """Args:
        of_reports: scores that are made of a view alone, once when it comes, each with its weight; their products are the last rows of
            `rows`.
        """
        self._of_reports = of_reports
        self._free: list[int] = []
        self.views: dict[int, ReplicaView] = {}
        """The replicas by their places."""
        self.order: Places = np.empty(0, np.intp)
        """The places of the replicas in the order of the list."""
        self.seeds: NDArray[np.uint64] = np.empty(0, np.uint64)
        """A number of each replica's id that looks like chance."""
        self.rows: Floats = np.empty((LAST_USED + 1 + len(of_reports), 0))
        self._facts: Floats = np.empty((7, 0))
        self._flags: Bools = np.empty((4, 0), np.bool_)
        self._counted: list[int] = []
        """The requests of each replica that is open, as they are in `_open`; -1 of others."""
        self._is_heard: list[bool] = []
        self._room: list[float] = []
        """`_heard` and `_most`, and here they are fast to read one by one."""
        self.scores: list[list[float]] = []
        """The last rows of `rows`, by places."""
        self._open_several = self._open_requests = 0
        self._heard_several = self._slow_several = 0
        self._untold = 0
        self.most_memory = 0.0
        """No number of `memory` has ever been higher."""
        self.reserve(1)

    @property
    def size(self) -> int:
        """Places, free ones too."""
        return self.seeds.size

    @property
    def has_untold(self) -> bool:
        """Whether requests of other gateways wait anywhere with prompts of unknown length."""
        return self._untold > 0

    def reserve(self, places: int) -> None:
        """Makes so many places, if there are fewer."""
        more = places - self.size
        if more <= 0:
            return
        self._free[:0] = range(places - 1, self.size - 1, -1)
        self._counted += [-1] * more
        self._is_heard += [False] * more
        self._room += [0.0] * more
        self.scores += [[0.0] * len(self._of_reports)] * more
        self.seeds = np.concatenate((self.seeds, np.zeros(more, np.uint64)))
        self.rows, self._facts = (np.hstack((rows, np.zeros((len(rows), more)))) for rows in (self.rows, self._facts))
        self._flags = np.hstack((self._flags, np.zeros((len(self._flags), more), np.bool_)))
        self._ready, self._heard, self._slow, self._open = self._flags
        self.hit, self.load, self.memory, self.requests, self.last_used = self.rows[: LAST_USED + 1]
        (
            self.easy,  # the score of its KV cache before the prompt, above 1 too: the prompt's tokens times `memory` are taken off it
            self.untold,  # requests of other gateways that wait there with prompts of unknown length
            self.spare,  # blocks that it would take before it forgets one; infinite where it has none to forget
            self.depth,  # blocks of the prompt that it has, by `spread`
            self.rank,  # of its id among all ids
            self._most,  # requests, so that it would begin another one at once: fewer than this
            self._most_batch,  # the same for batch requests
        ) = self._facts

    def join(self, replica: str) -> int:
        """Returns the place of a new replica, for which there must be room (`reserve`); `tell` is next."""
        place = self._free.pop()
        self.seeds[place] = mixed(of_text(replica))
        return place

    def leave(self, place: int) -> None:
        """Frees the place of a replica that has gone."""
        self._flag(place, False, False, False)
        self._count(place, -1)
        self._untold -= self.untold[place] > 0
        for rows in (self.rows, self._facts):
            rows[:, place] = 0
        self._room[place], self.scores[place] = 0.0, [0.0] * len(self._of_reports)
        del self.views[place]
        self._free.append(place)

    def arrange(self, places: Sequence[int]) -> None:
        """Takes the order of all replicas."""
        if self.order.tolist() != places:
            self.order = np.array(places, np.intp)
            self.rank[sorted(places, key=lambda place: self.views[place].id)] = np.arange(len(places))

    def tell(self, place: int, view: ReplicaView) -> None:
        """Notes what a replica says, as far as that is new; `write` is next."""
        before = self.views.get(place)
        self.views[place] = view
        if before is None or view.state is not before.state or view.trust is not before.trust or view.slow != before.slow:
            is_ready = view.state is ReplicaState.READY
            self._flag(place, is_ready, is_ready and view.trust is not Trust.AVOIDED, view.slow)
        most = most_requests(view, Priority.INTERACTIVE)
        if before is None or most != self._room[place]:
            self._room[place] = self._most[place] = most
            self._most_batch[place] = most_requests(view, Priority.BATCH)  # as many slots, so that it changes with the other one only
        if before is None or view.kv_tokens != before.kv_tokens:
            self.memory[place] = memory = 1 / (view.kv_tokens * (1 - KV_EASY)) if view.kv_tokens else 0.0
            self.most_memory = max(self.most_memory, memory)
        scores = [score(view) * weight for score, weight in self._of_reports]
        if scores != self.scores[place]:
            self.scores[place] = scores
            self.rows[LAST_USED + 1 :, place] = scores

    def write(self, flight: Flight, spare: float, last_used: int) -> None:
        """Notes what a replica has by now, how many blocks it would take before it forgets one, and when that one was used."""
        place, view = flight.place, flight.view
        requests, wait, untold = flight.by_now()
        self.requests[place] = requests
        self.load[place] = wait + requests * REQUEST_TOKENS
        kv_tokens = view.kv_tokens
        usage = view.kv_usage + wait / kv_tokens if kv_tokens else 0.0
        self.easy[place] = (1 - usage) / (1 - KV_EASY)
        self.spare[place] = spare
        self.last_used[place] = last_used
        if untold or self._untold:
            self._untold += (untold > 0) - int(self.untold[place] > 0)
            self.untold[place] = untold
        counted = requests if self._is_heard[place] and requests < self._room[place] else -1
        if counted != self._counted[place]:
            self._count(place, counted)

    def _flag(self, place: int, is_ready: bool, is_heard: bool, is_slow: bool) -> None:
        self._heard_several += is_heard - self._is_heard[place]
        self._slow_several += is_slow - int(self._slow[place])
        self._is_heard[place] = is_heard
        self._ready[place], self._heard[place], self._slow[place] = is_ready, is_heard, is_slow

    def _count(self, place: int, requests: int) -> None:
        """Counts a replica among those that are open, with so many requests; -1: it is not open."""
        before = self._counted[place]
        self._counted[place] = requests
        if requests >= 0 <= before:
            self._open_requests += requests - before
        elif requests >= 0 or before >= 0:
            self._open_requests += requests if before < 0 else -before
            self._open_several += 1 if before < 0 else -1
            self._open[place] = before < 0

    def taking(self, tried: Set[int]) -> Bools:
        """Returns the replicas that are ready and have not failed a request: silent ones only where there are no others.

        Args:
            tried: places of replicas that the request has failed on.
        """
        untried: Bools = self._flags[:2].copy()
        untried[:, list(tried)] = False
        ready: Bools = untried[_HEARD] if np.count_nonzero(untried[_HEARD]) else untried[_READY]
        return ready

    def able(self, tried: Set[int], priority: Priority) -> Able:
        """Returns the replicas that take a request and have room for it; slow ones only where no other has.

        Args:
            tried: places of replicas that the request has failed on.
            priority: its class.
        """
        if self._heard_several and not self._slow_several and not tried and priority is not Priority.BATCH:
            return Able(self._open, self._open_several, self._open_requests)
        able: Bools = np.logical_and(self.taking(tried), self.requests < (self._most_batch if priority is Priority.BATCH else self._most))
        if np.count_nonzero(fast := np.greater(able, self._slow)):
            able = fast
        return Able(able, int(np.count_nonzero(able)), float(self.requests.sum(where=able)))

    def spread(self, depths: Mapping[int, int]) -> Floats:
        """Returns `depth`, in which each place now has the number that belongs to the set of places that it is in, or 0."""
        row: Floats = self.depth
        most = max(depths, key=int.bit_count)
        row.fill(depths[most] if sum(depths) == (1 << self.size) - 1 else 0)
        for places, depth in depths.items():
            if places.bit_count() <= _FEW:
                left = places
                while left:
                    place = left.bit_length() - 1
                    row[place] = depth
                    left ^= 1 << place
            elif row[places.bit_length() - 1] != depth:
                row[self._is_in(places)] = depth
        return row

    def _is_in(self, places: int) -> Bools:
        packed = np.frombuffer(places.to_bytes(self.size // 8 + 1, "little"), np.uint8)
        return np.unpackbits(packed, count=self.size, bitorder="little").view(np.bool_)
